//! The guest's first file system: a tree of files, written as a cpio archive.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::BufWriter;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::busybox;
use crate::cpio::{self, DIRECTORY, REGULAR, SYMLINK};
use crate::say;

const JOB_FOLDER: &str = "etc/rux";
const BUSYBOX: &str = "bin/busybox";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";
const PROFILE: &str = "export PATH=/bin:/sbin:/usr/bin:/usr/sbin\nexport PS1='\\w # '\n";

/// Where our own test programs are, in the guest.
pub(crate) const PROGRAMS: &str = "/usr/libexec/rux";

/// What the guest is asked to do; read by `user/init/src/job.rs`, which documents the form.
#[derive(Default)]
pub(crate) struct Job {
    pub settings: Vec<(&'static str, String)>,
    pub program: Vec<OsString>,
}

impl Job {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in &self.settings {
            bytes.extend_from_slice(format!("{key}={value}\0").as_bytes());
        }
        bytes.push(0);
        for arg in &self.program {
            bytes.extend_from_slice(arg.as_bytes());
            bytes.push(0);
        }
        bytes
    }
}

struct Node {
    mode: u32,
    data: Vec<u8>,
}

/// Files by path without a leading slash; the order of a `BTreeMap` puts a folder before what is in it.
#[derive(Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// The folders and files that every boot has.
    pub(crate) fn base() -> Tree {
        let mut tree = Tree::default();
        for dir in ["bin", "sbin", "dev", "proc", "sys", "mnt", "run", "etc", "usr", "var"] {
            tree.put(dir, DIRECTORY | 0o755, Vec::new());
        }
        tree.put("tmp", DIRECTORY | 0o1777, Vec::new());
        tree.put("root", DIRECTORY | 0o700, Vec::new());
        tree.link("usr/bin", "../bin");
        tree.link("usr/sbin", "../sbin");
        tree.file("/etc/passwd", 0o644, PASSWD.into());
        tree.file("/etc/group", 0o644, GROUP.into());
        tree.file("/etc/profile", 0o644, PROFILE.into());
        tree
    }

    /// A file at an absolute guest path; folders above it are made, one that is there is replaced.
    pub(crate) fn file(&mut self, path: &str, mode: u32, data: Vec<u8>) {
        self.put(path, REGULAR | mode, data);
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.put(path, SYMLINK | 0o777, target.into());
    }

    /// A file or folder of the host, links kept as links (but the one named itself is followed).
    pub(crate) fn copy(&mut self, host: &Path, guest: &str) -> Result<()> {
        let real = host.canonicalize().with_context(|| format!("cannot copy {}", host.display()))?;
        self.copy_into(&real, guest.trim_end_matches('/'))
    }

    fn copy_into(&mut self, host: &Path, guest: &str) -> Result<()> {
        let cannot = || format!("cannot copy {}", host.display());
        let meta = fs::symlink_metadata(host).with_context(cannot)?;
        let mode = meta.permissions().mode() & 0o7777;
        if meta.is_symlink() {
            let target = fs::read_link(host).with_context(cannot)?;
            self.put(guest, SYMLINK | 0o777, target.into_os_string().into_vec());
        } else if meta.is_file() {
            self.file(guest, mode, fs::read(host).with_context(cannot)?);
        } else if meta.is_dir() {
            self.put(guest, DIRECTORY | mode, Vec::new());
            for entry in fs::read_dir(host).with_context(cannot)? {
                let entry = entry.with_context(cannot)?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else {
                    bail!("cannot copy {}: its name is not UTF-8", entry.path().display())
                };
                self.copy_into(&entry.path(), &format!("{guest}/{name}"))?;
            }
        } else {
            say!("{} is neither a file nor a folder: left out", host.display());
        }
        Ok(())
    }

    /// Puts a link to busybox for each of its applets into `/bin`, where no file has that name. Says what to do when
    /// there is no busybox.
    pub(crate) fn link_applets(&mut self) {
        let Some(node) = self.nodes.get(BUSYBOX) else { return };
        let applets = busybox::applets(&node.data);
        if applets.is_empty() {
            say!("no applet names found in /{BUSYBOX}: no links made");
        }
        for applet in applets {
            let path = format!("bin/{applet}");
            if !self.nodes.contains_key(&path) {
                self.link(&path, "busybox");
            }
        }
    }

    pub(crate) fn has_busybox(&self) -> bool {
        self.nodes.contains_key(BUSYBOX)
    }

    fn put(&mut self, path: &str, mode: u32, data: Vec<u8>) {
        let path = path.trim_matches('/');
        for (slash, _) in path.match_indices('/') {
            let folder = Node { mode: DIRECTORY | 0o755, data: Vec::new() };
            self.nodes.entry(path[..slash].into()).or_insert(folder);
        }
        if !path.is_empty() {
            self.nodes.insert(path.into(), Node { mode, data });
        }
    }

    /// Writes the archive, with the job as its last file.
    pub(crate) fn write(&self, path: &Path, job: &Job) -> Result<()> {
        let cannot = || format!("cannot write {}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(cannot)?;
        }
        let file = fs::File::create(path).with_context(cannot)?;
        let mut writer = cpio::Writer::new(BufWriter::new(file));
        for (name, node) in &self.nodes {
            writer.entry(name, node.mode, &node.data).with_context(cannot)?;
        }
        let mode = DIRECTORY | 0o755;
        writer.entry(JOB_FOLDER, mode, &[]).with_context(cannot)?;
        writer.entry(&format!("{JOB_FOLDER}/job"), REGULAR | 0o644, &job.bytes()).with_context(cannot)?;
        writer.finish().with_context(cannot)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them() {
        let mut tree = Tree::default();
        tree.file("/a/b/c", 0o644, Vec::new());
        tree.link("/a/b-c", "b");
        let names: Vec<_> = tree.nodes.keys().map(String::as_str).collect();
        for (at, name) in names.iter().enumerate() {
            if let Some((folder, _)) = name.rsplit_once('/') {
                assert!(names[..at].contains(&folder), "{name} in {names:?}");
            }
        }
    }

    #[test]
    fn a_job_lists_settings_then_arguments() {
        let job = Job { settings: vec![("stdin", "pipe".into())], program: vec!["a".into(), "".into()] };
        assert_eq!(job.bytes(), b"stdin=pipe\0\0a\0\0");
    }
}
