//! The first tree: a cpio archive of the form `newc`, unpacked into the root (Linux: `init/initramfs.c`,
//! Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! The archive comes from the boot loader: what is wrong with it is said in the log, and the tree is
//! what came before. Several archives may follow each other.

use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};

use super::dentry::Dentry;
use super::inode::{Attributes, Inode, Link, New};
use super::mount::{self, Mount, MountFlags, Path, global_root};
use super::superblock::SuperBlock;
use super::types::{Dev, FileKind, MAX_SYMLINKS, Timestamp};
use super::{anon, devtmpfs, mounting, procfs, tmpfs};
use crate::errno::{Errno, Result};

/// Bytes of the header of a member.
const HEADER: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";

/// One member of the archive.
struct Member<'a> {
    name: &'a [u8],
    data: &'a [u8],
    ino: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    mtime: u32,
    dev: (u32, u32),
    rdev: Dev,
}

/// Field `n` of a header: eight hexadecimal digits.
fn field(header: &[u8], n: usize) -> Option<u32> {
    let digits = header.get(6 + 8 * n..14 + 8 * n)?;
    u32::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
}

/// The member at the start of `rest`, and what follows it.
fn member(rest: &[u8]) -> Option<(Member<'_>, &[u8])> {
    let header = rest.get(..HEADER)?;
    if !matches!(&header[..6], b"070701" | b"070702") {
        return None;
    }
    let name_len = field(header, 11)? as usize;
    let data_len = field(header, 6)? as usize;
    let name = rest.get(HEADER..HEADER.checked_add(name_len)?)?.strip_suffix(&[0])?;
    let data_start = (HEADER + name_len).next_multiple_of(4);
    let data_end = data_start.checked_add(data_len)?;
    let data = rest.get(data_start..data_end)?;
    let next = rest.get(data_end.next_multiple_of(4)..).unwrap_or_default();
    let member = Member {
        name,
        data,
        ino: field(header, 0)?,
        mode: field(header, 1)?,
        uid: field(header, 2)?,
        gid: field(header, 3)?,
        nlink: field(header, 4)?,
        mtime: field(header, 5)?,
        dev: (field(header, 7)?, field(header, 8)?),
        rdev: Dev::new(field(header, 9)?, field(header, 10)?),
    };
    Some((member, next))
}

/// An inode with several names, under its first one.
struct Linked {
    key: (u32, (u32, u32)),
    inode: KArc<Inode>,
}

/// The unpacking of one archive.
struct Unpack {
    root: KArc<Dentry>,
    /// The directory of the member before, which is most often the next one's too.
    last_dir: Option<(KVec<u8>, KArc<Dentry>)>,
    linked: KVec<Linked>,
    /// Directories' times, set once nothing more is made in them.
    dir_times: KVec<(KArc<Inode>, Timestamp)>,
}

impl Unpack {
    /// The directory `path`, which the archive named before, or which is made.
    fn directory(&mut self, path: &[u8]) -> Result<KArc<Dentry>> {
        if let Some((last, dentry)) = &self.last_dir
            && **last == *path
        {
            return Ok(dentry.clone());
        }
        let at = self.descend(self.root.clone(), path, MAX_SYMLINKS)?;
        self.last_dir = Some((KVec::from_slice(path, Gfp::KERNEL)?, at.clone()));
        Ok(at)
    }

    /// Goes down `path` from `at`, through at most `links` symbolic links; what is missing is made.
    fn descend(&self, at: KArc<Dentry>, path: &[u8], links: u32) -> Result<KArc<Dentry>> {
        let mut at = if path.first() == Some(&b'/') { self.root.clone() } else { at };
        for name in path.split(|&b| b == b'/').filter(|name| !name.is_empty() && *name != b".") {
            if name == b".." {
                at = at.parent().unwrap_or(at);
                continue;
            }
            let dir = at.inode.ops();
            let next = match dir.lookup(&at, name) {
                Err(Errno::ENOENT) => {
                    dir.create(&at, name, New::Directory, Attributes::new(FileKind::Directory, 0o755, 0, 0))?
                }
                found => found?,
            };
            at = match next.inode.kind {
                FileKind::Symlink => match next.inode.ops().follow(&next.inode, true)? {
                    Link::Text(text) => self.descend(at, &text, links.checked_sub(1).ok_or(Errno::ELOOP)?)?,
                    Link::Place(place) => place.dentry,
                },
                _ => next,
            };
        }
        Ok(at)
    }

    fn add(&mut self, member: &Member<'_>) -> Result<()> {
        let path = member.name.strip_prefix(b"./").unwrap_or(member.name);
        let path = &path[path.iter().take_while(|&&b| b == b'/').count()..];
        let mtime = Timestamp { sec: i64::from(member.mtime), nsec: 0 };
        let kind = FileKind::of_mode(member.mode).ok_or(Errno::EINVAL)?;
        if path.is_empty() || path == b"." {
            let mode = member.mode & 0o7777;
            self.root.inode.update(|a| (a.mode, a.uid, a.gid) = (mode, member.uid, member.gid));
            return Ok(());
        }
        let (above, name) = match path.iter().rposition(|&b| b == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        let parent = self.directory(above)?;
        let dir = parent.inode.ops();
        let key = (member.ino, member.dev);
        let shares = member.nlink > 1 && kind != FileKind::Directory;
        if shares && let Some(linked) = self.linked.iter().find(|linked| linked.key == key) {
            let inode = linked.inode.clone();
            dir.link(&parent, name, &inode)?;
            return fill(&inode, member, mtime);
        }
        let new = match kind {
            FileKind::Regular => New::Regular,
            FileKind::Directory => New::Directory,
            FileKind::Symlink => New::Symlink(member.data),
            _ => New::Special(kind, member.rdev),
        };
        let attributes = Attributes::new(kind, member.mode, member.uid, member.gid);
        let dentry = match dir.create(&parent, name, new, attributes) {
            // A later archive replaces what an earlier one has.
            Err(Errno::EEXIST) => {
                let old = dir.lookup(&parent, name)?;
                if kind == FileKind::Directory && old.inode.is_dir() {
                    old.inode
                        .update(|a| (a.mode, a.uid, a.gid) = (member.mode & 0o7777, member.uid, member.gid));
                    return Ok(());
                }
                dir.unlink(&parent, name, &old)?;
                dir.create(&parent, name, new, attributes)?
            }
            made => made?,
        };
        if shares {
            self.linked.push(Linked { key, inode: dentry.inode.clone() }, Gfp::KERNEL)?;
        }
        if kind == FileKind::Directory {
            self.dir_times.push((dentry.inode.clone(), mtime), Gfp::KERNEL)?;
            return Ok(());
        }
        fill(&dentry.inode, member, mtime)
    }
}

fn fill(inode: &Inode, member: &Member<'_>, mtime: Timestamp) -> Result<()> {
    if inode.kind == FileKind::Regular && !member.data.is_empty() {
        let mapping = inode.ops().mapping().ok_or(Errno::EINVAL)?;
        let _contents = inode.rwsem.write();
        if mapping.write(0, member.data)? < member.data.len() {
            return Err(Errno::ENOSPC);
        }
    }
    inode.update(|a| (a.mtime, a.atime) = (mtime, mtime));
    Ok(())
}

/// Unpacks the archives in `archive` below `root`; says how many members there were.
fn unpack(root: &KArc<Dentry>, archive: &[u8]) -> usize {
    let mut unpack =
        Unpack { root: root.clone(), last_dir: None, linked: KVec::new(), dir_times: KVec::new() };
    let mut rest = archive;
    let mut members = 0;
    loop {
        let zeroes = rest.iter().take_while(|&&b| b == 0).count();
        rest = &rest[zeroes..];
        if rest.is_empty() {
            break;
        }
        let Some((member, next)) = member(rest) else {
            log::error!("initramfs: no cpio archive at offset {}", archive.len() - rest.len());
            break;
        };
        rest = next;
        if member.name == TRAILER {
            unpack.linked.clear();
            continue;
        }
        members += 1;
        if let Err(error) = unpack.add(&member) {
            log::error!("initramfs: {}: {error}", member.name.escape_ascii());
            if error == Errno::ENOMEM || error == Errno::ENOSPC {
                break;
            }
        }
    }
    for (inode, mtime) in unpack.dir_times.iter() {
        inode.update(|a| (a.mtime, a.atime) = (*mtime, *mtime));
    }
    members
}

/// The directory `name` of the root, made if the archive has none.
fn mountpoint(at: &Path, name: &[u8], mode: u32) -> Result<Path> {
    let dir = at.inode().ops();
    let dentry = match dir.lookup(&at.dentry, name) {
        Err(Errno::ENOENT) => {
            dir.create(&at.dentry, name, New::Directory, Attributes::new(FileKind::Directory, mode, 0, 0))?
        }
        found => found?,
    };
    Ok(Path { mount: at.mount.clone(), dentry }.descend())
}

/// Mounts the root with the archive in it, /dev, /proc, /dev/shm and /tmp.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn mount_root(archive: &[u8]) -> Result<()> {
    anon::init()?;
    devtmpfs::init()?;
    procfs::init()?;
    let options = tmpfs::Options { mode: 0o755, ..tmpfs::Options::standard() };
    let (sb, root): (KArc<SuperBlock>, KArc<Dentry>) = tmpfs::mount(tmpfs::TMPFS, &options)?;
    let members = unpack(&root, archive);
    mount::set_global_root(Mount::new(sb, root, b"rootfs", MountFlags::RELATIME)?)?;
    let root = global_root();
    let quiet = MountFlags::NOSUID | MountFlags::NODEV;
    for (name, source, kind, flags) in [
        (&b"dev"[..], &b"devtmpfs"[..], &b"devtmpfs"[..], MountFlags::NOSUID),
        (b"proc", b"proc", b"proc", quiet | MountFlags::NOEXEC),
        (b"tmp", b"tmpfs", b"tmpfs", quiet),
    ] {
        let place = mountpoint(root, name, 0o755)?;
        mounting::mount(source, &place, kind, flags.bits(), b"")?;
    }
    let shm = mountpoint(&mountpoint(root, b"dev", 0o755)?, b"shm", 0o1777)?;
    mounting::mount(b"tmpfs", &shm, b"tmpfs", quiet.bits(), b"")?;
    log::info!("initramfs: {members} files from {} KiB", archive.len().div_ceil(1024));
    Ok(())
}
