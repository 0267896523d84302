//! Packages of Debian's riscv64, from the first suite of the machine's own mirror that has them, through a private apt
//! root, so that signatures are checked. Needs no root, and the system's apt stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::{self, Source};
use crate::{say, shell};

const SUITES: [&str; 3] = ["trixie", "forky", "sid"];
const ARCHITECTURE: &str = "riscv64";

/// Fetches `package`, or the one that it depends on if it is empty itself, and calls `take` with the folder in which
/// its files are; what `take` leaves there is removed. Works in a folder below `folder`.
pub(super) fn unpack(package: &str, folder: &Path, take: impl Fn(&Path) -> Result<()>) -> Result<()> {
    if !shell::succeeds(Command::new("apt-get").arg("--version")) {
        bail!("there is no apt here to get {package} with");
    }
    let sources = apt::sources();
    let Some(main) = sources.first() else { bail!("apt is configured with no Debian mirror") };
    let mut why = String::new();
    for suite in SUITES {
        say!("getting {package} for {ARCHITECTURE} from {} ({suite})", main.uri);
        let root = folder.join(suite);
        match Root::new(root, &Source { suite: suite.into(), ..main.clone() })
            .and_then(|root| root.unpack(package).and_then(|unpacked| take(&unpacked)))
        {
            Ok(()) => return Ok(()),
            Err(error) => {
                say!("not in {suite}: {error:#}");
                why = format!("{error:#}");
            }
        }
    }
    bail!("{} has no {ARCHITECTURE} {package} in {SUITES:?} ({why})", main.uri)
}

/// A private apt root with one suite's lists; its folder goes when it is dropped.
struct Root(PathBuf);

impl Root {
    fn new(folder: PathBuf, source: &Source) -> Result<Root> {
        // What an interrupted try left is in the way.
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        let root = Root(folder);
        apt::configure(&root.0, std::slice::from_ref(source), Some(ARCHITECTURE))?;
        shell::run(root.apt("apt-get").arg("update"))?;
        Ok(root)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").arg("-q").arg("-c").arg(self.0.join("apt.conf")).current_dir(&self.0);
        command
    }

    /// The folder with the package's files.
    fn unpack(&self, package: &str) -> Result<PathBuf> {
        let depends = shell::output(self.apt("apt-cache").args(["depends", package]))?;
        let real = versioned(&String::from_utf8_lossy(&depends), package).unwrap_or(package.into());
        shell::run(self.apt("apt-get").args(["download", &real]))?;
        let Some(archive) = fs::read_dir(&self.0)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        else {
            bail!("apt downloaded nothing");
        };
        let unpacked = self.0.join("unpacked");
        shell::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&unpacked))?;
        Ok(unpacked)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // What stays is removed by the next try.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The package behind an empty one such as `linux-image-riscv64`: the dependency whose name has a version in the place
/// of its last word's dash.
fn versioned(depends: &str, package: &str) -> Option<String> {
    let (stem, flavour) = package.rsplit_once('-')?;
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| {
            name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(flavour)).is_some_and(|version| {
                version.starts_with('-') && version.contains(|c: char| c.is_ascii_digit())
            })
        })
        .map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_package_stands_for_a_versioned_one() {
        let depends = "linux-image-riscv64\n  Depends: linux-image-6.12.1+deb13-riscv64\n  Suggests: x\n";
        let real = versioned(depends, "linux-image-riscv64");
        assert_eq!(real.as_deref(), Some("linux-image-6.12.1+deb13-riscv64"));
        assert_eq!(versioned("busybox-static\n  Conflicts: <busybox>\n", "busybox-static"), None);
        assert_eq!(versioned("x-y\n  Depends: x-y\n  Depends: libc6\n", "x-y"), None);
    }
}
