//! One QEMU machine: its command line, and its process, which ends when we do.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal};

use crate::{icount, paths, shell};

pub(crate) const QEMU: &str = "qemu-system-riscv64";

/// Everything that distinguishes one boot from another.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    /// What the kernel writes to the virtio console goes here: its log.
    pub log: PathBuf,
    pub smp: u32,
    pub mem: String,
    pub cpu: String,
    pub icount: bool,
    pub cmdline: String,
    /// Another device tree than QEMU's own.
    pub tree: Option<PathBuf>,
    /// More arguments.
    pub more: Vec<OsString>,
    /// Files that they name by their numbers, which QEMU is to have.
    pub inherited: Vec<Arc<OwnedFd>>,
}

/// Where the guest's terminal gets its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The terminal that we have: QEMU makes it raw, and C-a is its escape key.
    Terminal,
    /// A pipe that the caller writes to, every byte for the guest.
    Pipe,
}

impl Machine {
    fn command(&self, input: Input) -> Command {
        let mut command = Command::new(QEMU);
        command.args(["-machine", "virt", "-display", "none", "-nodefaults", "-no-reboot"]);
        command.args(["-cpu", &self.cpu, "-smp", &self.smp.to_string(), "-m", &self.mem]);
        if self.icount {
            command.args(icount::QEMU);
        }
        match input {
            Input::Terminal => {
                command.args(["-chardev", "stdio,id=tty,signal=off,mux=on", "-mon", "chardev=tty"]);
            }
            Input::Pipe => {
                command.args(["-chardev", "stdio,id=tty,signal=off"]);
            }
        }
        command.args(["-serial", "chardev:tty", "-global", "virtio-mmio.force-legacy=false"]);
        let mut log = OsString::from("file,id=log,path=");
        // QEMU reads a doubled comma as one.
        log.push(self.log.to_string_lossy().replace(',', ",,"));
        command.arg("-chardev").arg(log);
        command.args(["-device", "virtio-serial-device", "-device", "virtconsole,chardev=log"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initrd);
        command.args(["-append", &self.cmdline]);
        if let Some(tree) = &self.tree {
            command.arg("-dtb").arg(tree);
        }
        command.args(&self.more);
        command
    }

    /// Starts the machine. Its standard output is a pipe, so is its input unless it is the terminal.
    pub(crate) fn start(&self, input: Input) -> Result<Process> {
        let mut command = self.command(input);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input == Input::Terminal { Stdio::inherit() } else { Stdio::piped() });
        let parent = rustix::process::getpid();
        let inherited = self.inherited.clone();
        // SAFETY: prctl, getppid and fcntl are async-signal-safe, and nothing else happens between fork and exec.
        unsafe {
            command.pre_exec(move || {
                // QEMU serves SIGTERM at once and puts the terminal in order first.
                rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
                // A parent that ended before that sends nothing.
                match rustix::process::getppid() {
                    Some(now) if now == parent => {}
                    _ => return Err(std::io::ErrorKind::BrokenPipe.into()),
                }
                for file in &inherited {
                    rustix::io::fcntl_setfd(file, FdFlags::empty())?;
                }
                Ok(())
            });
        }
        let child = command.spawn().with_context(|| format!("cannot start `{}`", shell::shown(&command)))?;
        Ok(Process { child })
    }

    /// The command as somebody would type it.
    pub(crate) fn shown(&self) -> String {
        shell::shown(&self.command(Input::Terminal))
    }
}

/// A running QEMU; dropping it ends it.
pub(crate) struct Process {
    pub child: Child,
}

impl Process {
    /// Waits for the end; `None` when the deadline came first.
    pub(crate) fn wait_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<std::process::ExitStatus>> {
        let Some(deadline) = deadline else { return Ok(Some(self.child.wait()?)) };
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(left.min(Duration::from_millis(10)));
        }
    }

    /// Ends QEMU: politely, so that it puts the terminal in order, then by force.
    pub(crate) fn stop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Both fail only for a process that has ended.
            let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
            let soon = Instant::now() + Duration::from_secs(2);
            if !matches!(self.wait_until(Some(soon)), Ok(Some(_))) {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The installed QEMU's `(major, minor)`.
pub(crate) fn version() -> Option<(u32, u32)> {
    let text = shell::output(Command::new(QEMU).arg("--version")).ok()?;
    parse_version(&String::from_utf8_lossy(&text))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_once("version ")?.1.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether this QEMU can build a `virt` machine with that CPU.
pub(crate) fn knows_cpu(cpu: &str) -> bool {
    // QEMU ends after writing the tree. It replaces the file of that name, so this must be one of our own.
    let tree = paths::setup().join("probe.dtb");
    let mut command = Command::new(QEMU);
    command.arg("-machine").arg(format!("virt,dumpdtb={}", tree.display()));
    command.args(["-display", "none", "-nodefaults", "-cpu", cpu]);
    shell::succeeds(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(parse_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds)\n"), Some((10, 0)));
        assert_eq!(parse_version("QEMU emulator version 7.2.19\n"), Some((7, 2)));
        assert_eq!(parse_version("no"), None);
    }
}
