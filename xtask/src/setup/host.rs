//! The host's tools: QEMU and the cross compiler, from the distribution's packages.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::apt::Apt;
use crate::bench::VALGRIND;
use crate::build::CROSS_GCC;
use crate::{qemu, say, shell};

/// The oldest QEMU that runs Rux.
const OLDEST_QEMU: (u32, u32) = (7, 2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Qemu,
    CrossCompiler,
    Valgrind,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Qemu => "QEMU 7.2 or newer for riscv64, with OpenSBI",
            Tool::CrossCompiler => "a riscv64 C compiler with static glibc",
            Tool::Valgrind => "valgrind",
        }
    }

    /// Tries the tool itself.
    fn is_there(self) -> bool {
        match self {
            // Without its firmware QEMU refuses to build the machine.
            Tool::Qemu => qemu::version().is_some_and(|v| v >= OLDEST_QEMU) && qemu::knows_cpu("rv64"),
            Tool::CrossCompiler => {
                let libc = shell::output(Command::new(CROSS_GCC).arg("-print-file-name=libc.a"));
                // The compiler answers with a bare name for a file that it does not find.
                libc.is_ok_and(|path| Path::new(String::from_utf8_lossy(&path).trim()).is_file())
            }
            Tool::Valgrind => shell::succeeds(Command::new(VALGRIND).args(["--tool=callgrind", "--version"])),
        }
    }

    pub(crate) fn packages(self, apt: &Apt) -> Vec<&'static str> {
        match self {
            // What carries QEMU's riscv64 machines was split off in Debian 13.
            Tool::Qemu if apt.has("qemu-system-riscv") => vec!["qemu-system-riscv", "opensbi"],
            Tool::Qemu => vec!["qemu-system-misc", "opensbi"],
            Tool::Valgrind => vec!["valgrind"],
            Tool::CrossCompiler => vec!["gcc-riscv64-linux-gnu", "libc6-dev-riscv64-cross"],
        }
    }
}

/// Installs those of `tools` that are not there.
pub(crate) fn tools(tools: &[Tool]) -> Result<()> {
    let missing: Vec<Tool> = tools.iter().copied().filter(|tool| !tool.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|tool| tool.name()).collect::<Vec<_>>().join(", and ");
    let Some(apt) = Apt::find() else { bail!("missing: {names}. {}", without_apt()) };
    say!("missing: {names}; installing from the distribution's packages");
    apt.update()?;
    let packages: Vec<_> = missing.iter().flat_map(|tool| tool.packages(&apt)).collect();
    apt.install(&packages)?;
    if let Some(tool) = missing.iter().find(|tool| !tool.is_there()) {
        bail!("{} is still missing after installing {packages:?}", tool.name());
    }
    Ok(())
}

/// What to type on a system without apt.
fn without_apt() -> &'static str {
    if Path::new("/etc/arch-release").exists() {
        "Type: sudo pacman -S qemu-system-riscv opensbi riscv64-linux-gnu-gcc riscv64-linux-gnu-glibc valgrind"
    } else {
        "There is no apt-get here: install with your package manager what provides `qemu-system-riscv64` and \
         `riscv64-linux-gnu-gcc` with a static glibc (and `valgrind`, for the benchmarks), then run this again"
    }
}
