//! `cargo xtask run` and `cargo xtask linux`: kernel, initramfs and machine from the command line's options, and the
//! terminal between them. Both kernels get the same init and userland: how a program behaves on Linux is how it has to
//! behave on Rux.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

use crate::boot::{self, Ended, Source};
use crate::cli::{Profile, RunOptions};
use crate::filter::Piece;
use crate::initramfs::{Job, PROGRAMS, Tree};
use crate::kernel::Kernel;
use crate::qemu::Machine;
use crate::slot::Slot;
use crate::{build, console, icount, paths, say, setup};

/// Builds the kernel and init.
pub(crate) fn build_only(profile: Profile) -> Result<u8> {
    setup::for_build()?;
    let kernel = build::kernel(profile, false)?;
    build::programs(false)?;
    say!("kernel: {}", kernel.display());
    Ok(0)
}

pub(crate) fn run(options: &RunOptions) -> Result<u8> {
    setup::for_run()?;
    boot_to_program(options, &Kernel::rux(options.profile, options.quiet)?)
}

/// As [`run`], on Linux: `image`, or the one that there is.
pub(crate) fn linux(image: Option<&Path>, options: &RunOptions) -> Result<u8> {
    setup::for_run()?;
    boot_to_program(options, &Kernel::linux(image)?)
}

fn boot_to_program(options: &RunOptions, kernel: &Kernel) -> Result<u8> {
    let ours = options.program.first().is_some_and(|program| program.to_string_lossy().starts_with(PROGRAMS));
    let tree = userland(options, ours)?;
    let job = Job { settings: terminal(), program: options.program.clone() };
    let slot = Slot::take(&paths::run())?;
    let machine = machine(options, kernel, &tree, &job, &slot.folder().join("rux"))?;
    if slot.number() > 1 {
        say!("another run goes on; this one's kernel log is {}", machine.log.display());
    }
    let restore = console::Restore::terminal();
    let source =
        if console::stdin_is_ours() { Source::Terminal } else { Source::Stream(Box::new(io::stdin())) };
    let mut withheld = Vec::new();
    let ended = boot::boot(&machine, source, options.timeout, &mut |piece: &Piece| {
        if options.quiet {
            withheld.extend_from_slice(&piece.boot);
        } else {
            console::write_all(io::stdout(), &piece.boot)?;
        }
        console::write_all(io::stdout(), &piece.program).context("writing to standard output")
    })?;
    drop(restore);
    explain(&machine, options, &ended, &withheld);
    if ended.started {
        // Whoever types the command that `explain` shows needs it; after any other end only the log is of use.
        let _ = fs::remove_file(&machine.initrd);
    }
    if options.icount && kernel.is_rux() {
        let mut log = String::from_utf8_lossy(&withheld).into_owned();
        log.push_str(&read_log(&machine.log));
        icount::report(&log);
    }
    Ok(ended.status)
}

/// Says on stderr what went wrong with the machine, as against the program.
fn explain(machine: &Machine, options: &RunOptions, ended: &Ended, withheld: &[u8]) {
    if !ended.started {
        // Cannot be told otherwise: stderr is gone.
        let _ = console::write_all(io::stderr(), withheld);
        say!("the machine ended before the program started: {}", machine.shown());
    }
    if ended.status == boot::TIMED_OUT {
        say!("stopped after {} s", options.timeout.unwrap_or_default().as_secs());
    } else if !ended.qemu.is_empty() {
        say!("{}", ended.qemu.trim_end());
    }
}

/// Everything in the guest but the job; our own programs if `ours` or when there is nothing else to run.
pub(crate) fn userland(options: &RunOptions, ours: bool) -> Result<Tree> {
    let programs = build::programs(options.quiet)?;
    let mut tree = Tree::base();
    tree.copy(&programs.join("init"), "/sbin/init")?;
    let busybox = setup::busybox_file();
    if busybox.is_file() {
        tree.copy(&busybox, "/bin/busybox")?;
    }
    for copy in &options.copies {
        tree.copy(&copy.host, &copy.guest)?;
    }
    if !tree.has_busybox() {
        say!("no /bin/busybox for the guest; give one with --copy FILE:/bin/busybox");
    }
    tree.link_applets();
    if ours || !tree.has_busybox() {
        add_programs(&mut tree, &programs)?;
    }
    Ok(tree)
}

/// Our own programs, all but init. They take memory of the guest, so it has them only when they are wanted.
fn add_programs(tree: &mut Tree, rust: &Path) -> Result<()> {
    let mut programs = build::c_programs()?;
    for entry in fs::read_dir(rust).with_context(|| format!("cannot read {}", rust.display()))? {
        let path = entry?.path();
        let is_program = path.is_file() && path.extension().is_none();
        if is_program
            && path
                .file_name()
                .is_none_or(|name| name != "init" && !name.as_encoded_bytes().starts_with(b"."))
        {
            programs.push(path);
        }
    }
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        tree.copy(&program, &format!("{PROGRAMS}/{name}"))?;
    }
    Ok(())
}

/// Writes the initramfs to `files` with the extension `cpio`, and returns the machine that boots it; its log gets the
/// extension `log`.
pub(crate) fn machine(
    options: &RunOptions,
    kernel: &Kernel,
    tree: &Tree,
    job: &Job,
    files: &Path,
) -> Result<Machine> {
    let (initrd, log) = (files.with_extension("cpio"), files.with_extension("log"));
    tree.write(&initrd, job)?;
    // A log of an earlier run is not this one's.
    let _ = fs::remove_file(&log);
    Ok(Machine {
        kernel: kernel.image().into(),
        initrd,
        log,
        smp: options.smp,
        mem: options.mem.clone(),
        cpu: options.cpu.clone(),
        icount: options.icount,
        cmdline: kernel.cmdline(options),
        tree: None,
        more: Vec::new(),
        inherited: Vec::new(),
    })
}

pub(crate) fn read_log(path: &Path) -> String {
    fs::read(path).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
}

/// What the host's side of the guest's terminal is.
fn terminal() -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    if !console::stdin_is_ours() {
        settings.push(("stdin", "pipe".into()));
    }
    if !console::stdout_is_terminal() {
        settings.push(("stdout", "pipe".into()));
    }
    if let Some((columns, rows)) = console::size() {
        settings.push(("size", format!("{columns}x{rows}")));
    }
    if let Ok(term) = std::env::var("TERM") {
        settings.push(("term", term));
    }
    settings
}
