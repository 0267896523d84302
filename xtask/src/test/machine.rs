//! Boots a machine for each guest test and compares what came out of it.

use std::cell::OnceCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail};

use super::{Outcome, Step, guest, rows, tree};
use crate::boot::{self, Ended, Source};
use crate::cli::{Profile, RunOptions, TestOptions};
use crate::filter::Piece;
use crate::icount::BootStat;
use crate::initramfs::{Job, Tree};
use crate::kernel::Kernel;
use crate::slot::Slot;
use crate::{console, paths, qemu, run};

/// A CPU whose A and D bits are the kernel's to set.
const SVADE: &str = "rv64,svade=on,svadu=off";

/// The most memory, in KB, that may be gone at the program's first instruction.
const MOST_TAKEN_KB: u64 = 32 << 10;

/// Lines of output and log that a failure shows.
const TAIL: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Quick,
    /// Only under `--long`.
    Long,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Expect {
    Anything,
    Exactly(&'static str),
    Contains(&'static str),
    /// The rows of `docs/mmap-family.md`.
    Family,
}

/// A test inside the machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guest {
    pub name: &'static str,
    /// Program and arguments; none: a shell.
    pub command: &'static [&'static str],
    pub smp: u32,
    pub mem: &'static str,
    pub paging: Option<&'static str>,
    /// More words for the kernel's command line.
    pub append: &'static str,
    /// Once more with `SVADE`.
    pub cpus: bool,
    /// The hart that the firmware is asked to boot on, instead of the first to come.
    pub boot_hart: Option<u32>,
    /// With the release kernel: for figures.
    pub release: bool,
    /// On a terminal: what to wait for, and what to type then.
    pub dialog: &'static [(&'static str, &'static str)],
    /// Standard input, unless there is a dialog.
    pub input: &'static str,
    pub status: u8,
    pub expect: Expect,
    /// Under `--icount`: the most from kernel entry to the program's first instruction.
    pub most_instructions: Option<u64>,
    pub seconds: u64,
    pub length: Length,
    /// Why it cannot be run on Linux: it looks at something that is Rux's alone.
    pub not_on_linux: Option<&'static str>,
    /// More arguments on Linux, where what a kernel may do is otherwise.
    pub more_on_linux: &'static [&'static str],
}

/// What the tests run on.
enum System {
    /// Built as each test asks.
    Rux,
    Linux(Kernel),
}

pub(super) fn steps(options: &TestOptions) -> Result<Vec<Step<'static>>> {
    let userland: Rc<OnceCell<Tree>> = Rc::new(OnceCell::new());
    let slot: Rc<OnceCell<Slot>> = Rc::new(OnceCell::new());
    let system = Rc::new(match options.on_linux {
        true => System::Linux(Kernel::linux(options.image.as_deref())?),
        false => System::Rux,
    });
    let long = options.long;
    let svade = qemu::knows_cpu(SVADE);
    let mut steps = Vec::new();
    for guest in guest::GUESTS {
        // How a kernel drives which CPU is not what the two are compared by.
        let both = guest.cpus && !options.on_linux;
        let cpus: &[Option<&str>] = if both { &[None, Some(SVADE)] } else { &[None] };
        for &cpu in cpus {
            let kind = if options.on_linux { "linux guest" } else { "guest" };
            let name = format!("{kind} {}{}", guest.name, if cpu.is_some() { " svade" } else { "" });
            let (userland, slot, system) = (userland.clone(), slot.clone(), system.clone());
            steps.push(Step::new(name.clone(), move || {
                if guest.length == Length::Long && !long {
                    return Ok(Outcome::Skipped("only under --long".into()));
                }
                if let (System::Linux(_), Some(reason)) = (&*system, guest.not_on_linux) {
                    return Ok(Outcome::Skipped(reason.into()));
                }
                if cpu.is_some() && !svade {
                    return Ok(Outcome::Skipped("this QEMU does not know svade (10.0 does)".into()));
                }
                if userland.get().is_none() {
                    let _ = userland.set(run::userland(&RunOptions::default(), true)?);
                }
                let Some(tree) = userland.get() else { bail!("no userland") };
                if slot.get().is_none() {
                    let _ = slot.set(Slot::take(&paths::target().join("test"))?);
                }
                let Some(slot) = slot.get() else { bail!("no folder") };
                if !tree.has_busybox()
                    && !guest.command.first().is_some_and(|c| c.starts_with("/usr/libexec/rux"))
                {
                    return Ok(Outcome::Skipped("no busybox for the guest".into()));
                }
                boot_one(guest, &system, cpu, tree, &slot.folder().join(name.replace(' ', "-")))
            }));
        }
    }
    Ok(steps)
}

fn boot_one(guest: &Guest, system: &System, cpu: Option<&str>, tree: &Tree, files: &Path) -> Result<Outcome> {
    let more = if matches!(system, System::Linux(_)) { guest.more_on_linux } else { &[] };
    let options = RunOptions {
        profile: if guest.release { Profile::Release } else { Profile::Debug },
        smp: guest.smp,
        mem: guest.mem.into(),
        paging: guest.paging.map(Into::into),
        append: guest.append.into(),
        cpu: cpu.unwrap_or("rv64").into(),
        icount: guest.most_instructions.is_some(),
        quiet: true,
        program: guest.command.iter().chain(more).map(Into::into).collect(),
        ..RunOptions::default()
    };
    let kernel = match system {
        System::Rux => Kernel::rux(options.profile, true)?,
        System::Linux(kernel) => kernel.clone(),
    };
    let on_terminal = !guest.dialog.is_empty();
    let settings =
        if on_terminal { vec![] } else { vec![("stdin", "pipe".into()), ("stdout", "pipe".into())] };
    let job = Job { settings, program: options.program.clone() };
    let mut machine = run::machine(&options, &kernel, tree, &job, files)?;
    if let Some(hart) = guest.boot_hart {
        let file = files.with_extension("dtb");
        tree::boot_on(&machine, hart, &file)?;
        machine.tree = Some(file);
    }
    let source = if on_terminal {
        Source::Dialog(guest.dialog.to_vec())
    } else {
        Source::Stream(Box::new(std::io::Cursor::new(guest.input)))
    };
    let (mut boot_text, mut output) = (Vec::new(), Vec::new());
    let timeout = Some(Duration::from_secs(guest.seconds));
    let ended = boot::boot(&machine, source, timeout, &mut |piece: &Piece| {
        boot_text.extend_from_slice(&piece.boot);
        output.extend_from_slice(&piece.program);
        Ok(())
    })?;
    let boot_text = String::from_utf8_lossy(&boot_text);
    if let Some(hart) = guest.boot_hart
        && let Some(other) = boot_hart(&boot_text)
        && other != hart
    {
        return Ok(Outcome::Skipped(format!("this firmware boots on hart {other} whatever the tree says")));
    }
    let output = String::from_utf8_lossy(&output);
    let log = run::read_log(&machine.log);
    let on_linux = matches!(system, System::Linux(_));
    let verdict = judge(guest, &ended, &output, on_linux)
        .and_then(|()| judge_figures(guest, BootStat::find(&log).or_else(|| BootStat::find(&boot_text))));
    if let Err(error) = verdict {
        if !ended.started {
            show("boot messages", &boot_text);
        }
        show("kernel log", &log);
        show("output", &output);
        if !ended.qemu.is_empty() {
            show("QEMU", &ended.qemu);
        }
        return Err(error.context(format!("{}; machine: {}", guest.name, machine.shown())));
    }
    // What is left of a test that passed is of no use.
    let _ = std::fs::remove_file(&machine.initrd);
    Ok(Outcome::Passed)
}

/// The hart that OpenSBI says it boots on.
fn boot_hart(boot_text: &str) -> Option<u32> {
    let (_, rest) = boot_text.split_once("Boot HART ID")?;
    rest.lines().next()?.trim_start_matches([' ', ':']).trim_end().parse().ok()
}

fn judge(guest: &Guest, ended: &Ended, output: &str, on_linux: bool) -> Result<()> {
    if !ended.started {
        bail!("the program was never started (status {})", ended.status);
    }
    match guest.expect {
        Expect::Exactly(text) if output != text => {
            bail!("printed {output:?}, not {text:?} (status {})", ended.status)
        }
        Expect::Contains(text) if !output.contains(text) => {
            bail!("did not print {text:?} (status {})", ended.status)
        }
        Expect::Family => rows::judge(output, on_linux)?,
        _ => {}
    }
    if ended.status == boot::TIMED_OUT && guest.status != boot::TIMED_OUT {
        bail!("not done after {} s", guest.seconds);
    }
    if ended.status != guest.status {
        bail!("ended with status {}, not {}", ended.status, guest.status);
    }
    Ok(())
}

fn judge_figures(guest: &Guest, stat: Option<BootStat>) -> Result<()> {
    let Some(most) = guest.most_instructions else { return Ok(()) };
    let Some(stat) = stat else { bail!("the kernel reported no figures") };
    if stat.to_first_user() > most {
        bail!("{} instructions to the program's first, {most} allowed", stat.to_first_user());
    }
    if stat.taken_kb > MOST_TAKEN_KB {
        bail!("{} KB taken at the program's first instruction, {MOST_TAKEN_KB} allowed", stat.taken_kb);
    }
    Ok(())
}

/// Prints the last lines of a text, its control characters made visible.
fn show(title: &str, text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = format!("---- {title}, last of {} lines\n", lines.len());
    for line in &lines[lines.len().saturating_sub(TAIL)..] {
        shown.extend(
            line.trim_end().chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }),
        );
        shown.push('\n');
    }
    // Nobody is left to tell when stderr is gone.
    let _ = console::write_all(std::io::stderr(), shown.as_bytes());
}
