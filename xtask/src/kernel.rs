//! The kernel that a machine boots: Rux as it is built, or a Linux to compare it with.
//!
//! The Linux is the one that the command line names, else the one that `RUX_LINUX_IMAGE` names, else Debian's. Below
//! QEMU 10.0 none is booted: the machine there has another CPU than the one that comparisons are about.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::{Profile, RunOptions};
use crate::{build, icount, qemu, setup};

/// The environment's name for a Linux.
const IMAGE: &str = "RUX_LINUX_IMAGE";

/// The oldest QEMU that figures of Linux hold for.
const OLDEST_QEMU: (u32, u32) = (10, 0);

/// A kernel's image, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kernel {
    Rux(PathBuf),
    Linux(PathBuf),
}

impl Kernel {
    /// Builds Rux.
    pub(crate) fn rux(profile: Profile, quiet: bool) -> Result<Kernel> {
        build::kernel(profile, quiet).map(Kernel::Rux)
    }

    /// Finds a Linux: `image` if one is given.
    pub(crate) fn linux(image: Option<&Path>) -> Result<Kernel> {
        new_enough(qemu::version())?;
        let (image, who) = match (image, std::env::var_os(IMAGE)) {
            (Some(image), _) => (image.to_path_buf(), "--linux"),
            (None, Some(image)) => (PathBuf::from(image), IMAGE),
            (None, None) => return setup::linux_image().map(Kernel::Linux),
        };
        if !image.is_file() {
            bail!("{who}: there is no file {}", image.display());
        }
        check_image(&image).with_context(|| who.to_owned())?;
        Ok(Kernel::Linux(image))
    }

    pub(crate) fn image(&self) -> &Path {
        match self {
            Kernel::Rux(image) | Kernel::Linux(image) => image,
        }
    }

    pub(crate) fn is_rux(&self) -> bool {
        matches!(self, Kernel::Rux(_))
    }

    /// The kernel's command line, with each kernel's own names for the same things.
    pub(crate) fn cmdline(&self, options: &RunOptions) -> String {
        let mut words: Vec<String> = Vec::new();
        match (self, options.paging.as_deref()) {
            (Kernel::Linux(_), paging) => {
                words.push("console=ttyS0 rdinit=/sbin/init panic=-1".into());
                match paging {
                    Some("sv39") => words.push("no4lvl".into()),
                    Some("sv48") => words.push("no5lvl".into()),
                    _ => {}
                }
            }
            (Kernel::Rux(_), Some(mode)) => words.push(format!("rux.paging={mode}")),
            (Kernel::Rux(_), None) => {}
        }
        if options.quiet {
            words.push("quiet".into());
        }
        if options.icount && self.is_rux() {
            words.push(icount::KERNEL.into());
        }
        if !options.append.trim().is_empty() {
            words.push(options.append.trim().into());
        }
        words.join(" ")
    }
}

/// QEMU would load anything, and a machine that runs no kernel says nothing and does not end.
fn check_image(image: &Path) -> Result<()> {
    let mut head = Vec::new();
    let file = File::open(image).with_context(|| format!("cannot read {}", image.display()))?;
    file.take(64).read_to_end(&mut head).with_context(|| format!("cannot read {}", image.display()))?;
    if !is_bootable(&head) {
        bail!("{} is no RISC-V kernel: neither an unpacked Image nor an ELF file", image.display());
    }
    Ok(())
}

/// Whether a file begins as a RISC-V `Image` (Linux: `Documentation/arch/riscv/boot-image-header.rst`) or as an ELF
/// file for RISC-V.
fn is_bootable(head: &[u8]) -> bool {
    const EM_RISCV: [u8; 2] = [243, 0];
    head.get(56..60) == Some(b"RSC\x05")
        || head.starts_with(b"\x7fELF") && head.get(18..20) == Some(&EM_RISCV)
}

fn new_enough(version: Option<(u32, u32)>) -> Result<()> {
    let (least_major, least_minor) = OLDEST_QEMU;
    match version {
        Some(version) if version >= OLDEST_QEMU => Ok(()),
        Some((major, minor)) => bail!(
            "this is QEMU {major}.{minor}, and Linux is compared on {least_major}.{least_minor} or newer: the CPU of \
             older ones lacks what both kernels are measured with, such as cbo.zero"
        ),
        None => bail!("there is no QEMU that says its version"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_has_its_own_words() {
        let options = RunOptions {
            paging: Some("sv48".into()),
            quiet: true,
            icount: true,
            append: " a=b".into(),
            ..RunOptions::default()
        };
        let (rux, linux) = (Kernel::Rux("rux".into()), Kernel::Linux("Image".into()));
        assert_eq!(rux.cmdline(&options), format!("rux.paging=sv48 quiet {} a=b", icount::KERNEL));
        let base = "console=ttyS0 rdinit=/sbin/init panic=-1";
        assert_eq!(linux.cmdline(&options), format!("{base} no5lvl quiet a=b"));
        let widest = RunOptions { paging: Some("sv57".into()), ..RunOptions::default() };
        assert_eq!(linux.cmdline(&widest), base, "Linux takes the widest by itself");
    }

    #[test]
    fn what_is_no_kernel_is_not_booted() {
        let mut image = [0; 64];
        image[48..60].copy_from_slice(b"RISCV\0\0\0RSC\x05");
        assert!(is_bootable(&image));
        image[56] = b'x';
        assert!(!is_bootable(&image) && !is_bootable(&image[..40]) && !is_bootable(b""));
        let mut elf = [0; 64];
        elf[..4].copy_from_slice(b"\x7fELF");
        elf[18] = 243;
        assert!(is_bootable(&elf));
        elf[18] = 62;
        assert!(!is_bootable(&elf), "a PC's");
    }

    #[test]
    fn an_old_qemu_is_refused_with_the_reason() {
        assert!(new_enough(Some((10, 0))).is_ok() && new_enough(Some((11, 1))).is_ok());
        let refused = new_enough(Some((9, 2))).unwrap_err().to_string();
        assert!(refused.contains("9.2") && refused.contains("10.0"), "{refused}");
        assert!(new_enough(None).is_err());
    }
}
