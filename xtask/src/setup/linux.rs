//! Debian's riscv64 kernel, 6.12 or newer: the Linux to compare with where nobody names another.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::foreign;
use crate::{paths, say};

/// Stands for the newest version's package.
const PACKAGE: &str = "linux-image-riscv64";

const OLDEST: (u32, u32) = (6, 12);

/// Where it is once it is there.
fn file() -> PathBuf {
    paths::setup().join("linux/Image")
}

/// Gets it unless it is there.
pub(super) fn get() -> Result<PathBuf> {
    let file = file();
    if !file.is_file() {
        let folder = paths::setup().join("linux");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        say!("no Linux is named: fetching Debian's");
        foreign::unpack(PACKAGE, &folder, |unpacked| take(unpacked, &file))
            .context("give an image of Linux 6.12 or newer for riscv64 with --linux IMAGE")?;
    }
    Ok(file)
}

/// Moves the kernel out of the unpacked package.
fn take(unpacked: &Path, to: &Path) -> Result<()> {
    let boot = unpacked.join("boot");
    let names = fs::read_dir(&boot).with_context(|| format!("cannot read {}", boot.display()))?;
    for name in names.flatten().map(|entry| entry.file_name()) {
        if let Some(version) = name.to_str().and_then(version) {
            if version < OLDEST {
                bail!("{} is older than {}.{}", name.display(), OLDEST.0, OLDEST.1);
            }
            return fs::rename(boot.join(&name), to)
                .with_context(|| format!("cannot move {}", name.display()));
        }
    }
    bail!("{PACKAGE} holds no kernel")
}

/// The version of a file that is called as Debian's kernels are.
fn version(name: &str) -> Option<(u32, u32)> {
    let version = name.strip_prefix("vmlinux-").or_else(|| name.strip_prefix("vmlinuz-"))?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_known_by_their_names() {
        assert_eq!(version("vmlinux-6.12.48+deb13-riscv64"), Some((6, 12)));
        assert_eq!(version("vmlinuz-7.0-riscv64"), Some((7, 0)));
        assert_eq!(version("System.map-6.12.48+deb13-riscv64"), None);
    }
}
