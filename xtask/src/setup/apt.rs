//! Installing Debian packages. On Debian 12, whose own QEMU is old, through a private configuration under `target/`
//! with the mirror's backports added, so that the system's apt stays as it is; elsewhere through the ordinary apt.
//!
//! Names of mirrors come from the machine's own configuration, signatures are checked with its keyring.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{paths, say, shell};

/// The release whose QEMU is too old, and where a newer one is.
const OLD_RELEASE: &str = "bookworm";
const BACKPORTS: &str = "bookworm-backports";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A way to install packages.
pub(crate) enum Apt {
    Ordinary,
    /// The private configuration's file; the second says whether the mirror has backports.
    Private {
        config: PathBuf,
        sources: Vec<Source>,
    },
}

/// A line of a sources list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub uri: String,
    pub suite: String,
    pub signed_by: String,
}

impl Source {
    pub(crate) fn line(&self) -> String {
        format!("deb [signed-by={}] {} {} main\n", self.signed_by, self.uri, self.suite)
    }
}

impl Apt {
    /// `None` where there is no apt.
    pub(crate) fn find() -> Option<Apt> {
        if !shell::succeeds(Command::new("apt-get").arg("--version")) {
            return None;
        }
        let sources = sources();
        if os_release("ID").as_deref() == Some("debian")
            && os_release("VERSION_CODENAME").as_deref() == Some(OLD_RELEASE)
            && !sources.is_empty()
        {
            return Some(Apt::Private { config: paths::setup().join("apt/apt.conf"), sources });
        }
        Some(Apt::Ordinary)
    }

    /// Reads the mirror's lists.
    pub(crate) fn update(&self) -> Result<()> {
        match self {
            Apt::Ordinary if !is_root() => Ok(()),
            Apt::Ordinary => {
                say!("reading the mirror's package lists");
                shell::run(self.get().arg("update")).context("is the mirror within reach?")
            }
            Apt::Private { config, sources } => {
                let folder = config.parent().unwrap_or(config);
                let mut with_backports = sources.clone();
                let main = &sources[0];
                with_backports.push(Source { suite: BACKPORTS.into(), ..main.clone() });
                say!("reading the package lists of {} ({OLD_RELEASE}, {BACKPORTS})", main.uri);
                configure(folder, &with_backports, None)?;
                if shell::run(self.get().arg("update")).is_ok() {
                    return Ok(());
                }
                say!("the mirror has no {BACKPORTS}: QEMU will be {OLD_RELEASE}'s own, 7.2");
                configure(folder, sources, None)?;
                shell::run(self.get().arg("update")).context("is the mirror within reach?")
            }
        }
    }

    /// Whether a package can be installed.
    pub(crate) fn has(&self, package: &str) -> bool {
        let policy = shell::output(self.command("apt-cache").args(["policy", package]));
        policy.is_ok_and(|text| {
            let text = String::from_utf8_lossy(&text).into_owned();
            text.lines().any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)"))
        })
    }

    /// Installs packages, or says what to type.
    pub(crate) fn install(&self, packages: &[&str]) -> Result<()> {
        let mut command = self.get();
        command.args(["install", "--yes", "--no-install-recommends"]);
        if let Apt::Private { .. } = self {
            // Takes them from backports where those have them.
            command.arg(format!("--target-release={BACKPORTS}"));
        }
        command.args(packages);
        if !is_root() {
            let update = if matches!(self, Apt::Ordinary) { "sudo apt-get update && " } else { "" };
            bail!("only root can install packages. Type: {update}sudo {}", shell::shown(&command));
        }
        say!("installing {} (apt shows its progress)", packages.join(" "));
        shell::run(command.env("DEBIAN_FRONTEND", "noninteractive"))
    }

    fn get(&self) -> Command {
        self.command("apt-get")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C");
        if let Apt::Private { config, .. } = self {
            command.arg("-c").arg(config);
        }
        if program == "apt-get" && !crate::console::stderr_is_terminal() {
            command.arg("-q");
        }
        command
    }
}

/// The Debian sources of this machine's apt, its main one first. Never empty on a Debian that can install anything.
pub(crate) fn sources() -> Vec<Source> {
    let format = "$(LABEL)|$(REPO_URI)|$(RELEASE)|$(SIGNED_BY)";
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", format, "Created-By: Packages"]);
    let Ok(text) = shell::output(&mut command) else { return Vec::new() };
    let codename = os_release("VERSION_CODENAME").unwrap_or_default();
    let keyring = fs::metadata(KEYRING).is_ok();
    choose(&String::from_utf8_lossy(&text), &codename, if keyring { KEYRING } else { "" })
}

/// Picks Debian's own from `label|uri|suite|keyring` lines. Before apt's first update no label is known: then the first
/// source of the system's release is taken to be Debian's.
fn choose(targets: &str, codename: &str, keyring: &str) -> Vec<Source> {
    let mut labelled: Vec<Source> = Vec::new();
    let mut unlabelled: Vec<Source> = Vec::new();
    for line in targets.lines() {
        let mut fields = line.split('|');
        let (Some(label), Some(uri), Some(suite), Some(signed_by)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let signed_by = if signed_by.starts_with('/') { signed_by } else { keyring };
        let source = Source { uri: uri.into(), suite: suite.into(), signed_by: signed_by.into() };
        let list = match label {
            "Debian" | "Debian-Security" => &mut labelled,
            "" if suite == codename => &mut unlabelled,
            _ => continue,
        };
        if !list.contains(&source) {
            list.push(source);
        }
    }
    if labelled.is_empty() {
        unlabelled.truncate(1);
        return unlabelled;
    }
    // The release itself first: its mirror is the one that has everything else.
    labelled.sort_by_key(|source| source.suite != codename);
    labelled
}

/// Writes a private apt root into `folder`: sources, lists and caches of its own. The packages installed on the system
/// are its packages, unless it is for another architecture.
pub(crate) fn configure(folder: &Path, sources: &[Source], architecture: Option<&str>) -> Result<()> {
    let cannot = || format!("cannot write the apt configuration in {}", folder.display());
    for dir in ["lists/partial", "cache/archives/partial", "sources.d"] {
        fs::create_dir_all(folder.join(dir)).with_context(cannot)?;
    }
    let lines: String = sources.iter().map(Source::line).collect();
    fs::write(folder.join("sources.list"), lines).with_context(cannot)?;
    let at = folder.display();
    let mut config = format!(
        "Dir::Etc::SourceList \"{at}/sources.list\";\n\
         Dir::Etc::SourceParts \"{at}/sources.d\";\n\
         Dir::State::Lists \"{at}/lists\";\n\
         Dir::Cache \"{at}/cache\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"3\";\n\
         APT::Update::Error-Mode \"any\";\n"
    );
    if is_root() {
        // apt's own user may not be able to come into this folder.
        config.push_str("APT::Sandbox::User \"root\";\n");
    }
    if let Some(architecture) = architecture {
        fs::write(folder.join("status"), "").with_context(cannot)?;
        config.push_str(&format!(
            "Dir::State::Status \"{at}/status\";\n\
             APT::Architecture \"{architecture}\";\n\
             #clear APT::Architectures;\n\
             APT::Architectures {{ \"{architecture}\"; }};\n"
        ));
    }
    fs::write(folder.join("apt.conf"), config).with_context(cannot)
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A field of `/etc/os-release`.
fn os_release(field: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix('='))?;
    Some(value.trim_matches('"').into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_own_sources_are_chosen_by_label() {
        let targets = "Other|http://other/|bookworm|/k\n\
                       Debian-Security|http://d-sec/|bookworm-security|/k\n\
                       Debian|http://d/|bookworm|/k\nDebian|http://d/|bookworm|/k\n";
        let chosen = choose(targets, "bookworm", "/keyring");
        assert_eq!(chosen.len(), 2);
        assert_eq!((chosen[0].uri.as_str(), chosen[0].signed_by.as_str()), ("http://d/", "/k"));
    }

    #[test]
    fn without_labels_the_release_decides() {
        let targets = "|http://d/|bookworm-updates|\n|http://d/|bookworm|\n|http://x/|bookworm|\n";
        let chosen = choose(targets, "bookworm", "/keyring");
        assert_eq!(chosen.len(), 1);
        assert_eq!(chosen[0].line(), "deb [signed-by=/keyring] http://d/ bookworm main\n");
        assert!(choose("garbage\n", "bookworm", "").is_empty());
    }
}
