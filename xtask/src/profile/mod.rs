//! `cargo xtask profile ROW`: where the instructions of one row of the benchmark go, function by function.
//!
//! The guest runs `user/c/bench` with that row. QEMU's gdb stub stops it where a pass begins; from there to where the
//! pass ends every instruction is traced, and counted here as it comes. So the counts are exact, and the same in
//! every run.

mod gdb;
mod names;
mod report;
mod trace;

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io, thread};

use anyhow::{Context, Result, anyhow, bail};

use crate::boot::{self, Source};
use crate::cli::{Profile, ProfileOptions, RunOptions};
use crate::filter::Piece;
use crate::initramfs::{Job, PROGRAMS};
use crate::kernel::Kernel;
use crate::qemu::Machine;
use crate::slot::Slot;
use crate::{build, console, paths, run, say, setup};

use gdb::{Gdb, Place, Stop};
use names::{Functions, Inlined};
use report::Measured;

/// The program, and the functions around what it measures.
const PROGRAM: &str = "bench";
const BEGIN: &str = "bench_begin";
const END: &str = "bench_end";
/// The passes to trace, by preference: the first one finds empty lists and tables, but some rows have no other.
const PASSES: [u32; 2] = [1, 0];
/// Instructions that are traced at most; of longer passes the beginning stands for the whole.
const MOST: u64 = 4_000_000;
const PATIENCE: Duration = Duration::from_secs(900);

/// Traces the row on Rux, or on the Linux that is named, and prints the tables.
pub(crate) fn profile(options: &ProfileOptions) -> Result<u8> {
    setup::for_run()?;
    let kernel = match &options.linux {
        Some(image) => Kernel::linux(Some(image))?,
        None => Kernel::rux(Profile::Release, true)?,
    };
    build::programs(true)?;
    let program = build::c_programs()?
        .into_iter()
        .find(|program| program.file_name().is_some_and(|name| name == PROGRAM))
        .with_context(|| format!("there is no program {PROGRAM}"))?;
    let user = Functions::of_elf(&program)?;
    let place = |name| {
        let address = user.address(name).with_context(|| format!("{PROGRAM} has no function {name}"))?;
        anyhow::Ok(Place { address, code: names::code_at(&program, address)? })
    };
    let window = (place(BEGIN)?, place(END)?);
    let kernel_names = kernel_functions(&kernel)?;
    let measured = PASSES
        .iter()
        .find_map(|&pass| trace_row(&kernel, &options.row, &window, pass).transpose())
        .with_context(|| format!("{PROGRAM} {} measured nothing", options.row))??;
    let tables = match (&kernel, options.inlined) {
        (Kernel::Rux(image), true) => fs::read(image).context("reading the kernel")?,
        _ => Vec::new(),
    };
    let inlined = if tables.is_empty() { None } else { Some(Inlined::of_elf(&tables)?) };
    let text = report::text(&measured, &user, &kernel_names, inlined.as_ref());
    console::write_all(io::stdout(), text.as_bytes()).context("writing to standard output")?;
    Ok(0)
}

/// The names of the kernel's functions: Rux's are in its image; Linux's are in the System.map beside the image, or else
/// are asked of the kernel itself.
fn kernel_functions(kernel: &Kernel) -> Result<Functions> {
    let image = kernel.image();
    if kernel.is_rux() {
        return Functions::of_elf(image);
    }
    let map = image.with_file_name("System.map");
    if map.is_file() {
        let text = fs::read_to_string(&map).with_context(|| format!("cannot read {}", map.display()))?;
        return Ok(Functions::of_map(&text));
    }
    say!("no System.map beside {}: asking the kernel for its symbols", image.display());
    let mut text = Vec::new();
    let machine = Guest::new(kernel, &["cat".into(), "/proc/kallsyms".into()])?;
    machine.boot(|piece| text.extend_from_slice(&piece.program))?;
    let functions = Functions::of_map(&String::from_utf8_lossy(&text));
    if functions.is_empty() {
        say!("the kernel has no /proc/kallsyms: its functions stay without names");
    }
    Ok(functions)
}

/// A machine that runs one program, and the files that are its own.
struct Guest {
    machine: Machine,
    _slot: Slot,
}

impl Guest {
    fn new(kernel: &Kernel, program: &[std::ffi::OsString]) -> Result<Guest> {
        let options = RunOptions {
            icount: true,
            quiet: true,
            // What is looked up by address has to be where it was linked.
            append: if kernel.is_rux() { String::new() } else { "nokaslr".into() },
            program: program.to_vec(),
            ..RunOptions::default()
        };
        let tree = run::userland(&options, true)?;
        let job = Job {
            settings: vec![("stdin", "pipe".into()), ("stdout", "pipe".into())],
            program: program.to_vec(),
        };
        let slot = Slot::take(&paths::run())?;
        let machine = run::machine(&options, kernel, &tree, &job, &slot.folder().join("profile"))?;
        Ok(Guest { machine, _slot: slot })
    }

    /// Boots it; its program must end well.
    fn boot(&self, mut hear: impl FnMut(&Piece)) -> Result<()> {
        let ended =
            boot::boot(&self.machine, Source::Stream(Box::new(io::empty())), Some(PATIENCE), &mut |piece| {
                hear(piece);
                Ok(())
            })?;
        if ended.status != 0 {
            bail!("the program ended with status {}: {}", ended.status, ended.qemu.trim_end());
        }
        Ok(())
    }
}

/// Runs the row and traces that pass of it; `None` if it has no such pass.
fn trace_row(kernel: &Kernel, row: &str, window: &(Place, Place), pass: u32) -> Result<Option<Measured>> {
    let program = [format!("{PROGRAMS}/{PROGRAM}"), "--here".into(), row.into()].map(Into::into);
    let mut guest = Guest::new(kernel, &program)?;
    let (ours, its) = UnixStream::pair()?;
    let (lines, log) = io::pipe()?;
    let its_log: OwnedFd = log.try_clone()?.into();
    guest.machine.more = vec![
        "-S".into(),
        "-chardev".into(),
        format!("socket,id=gdb,fd={}", its.as_raw_fd()).into(),
        "-gdb".into(),
        "chardev:gdb".into(),
        "-D".into(),
        format!("/proc/self/fd/{}", its_log.as_raw_fd()).into(),
    ];
    guest.machine.inherited = vec![Arc::new(its.into()), Arc::new(its_log)];
    say!("tracing {row} on {}", name_of(kernel.image()));
    let stop = ours.try_clone()?;
    let counter = thread::spawn(move || trace::count(lines, MOST, || gdb::interrupt(&stop)));
    let window = window.clone();
    let observer = thread::spawn(move || observe(Gdb::new(ours), &window, pass, log));
    let mut said = Vec::new();
    let booted = guest.boot(|piece| said.extend_from_slice(&piece.program));
    // Our ends of what QEMU had: with the last one closed, the threads see its end.
    drop(guest);
    let observed = observer.join().map_err(|_| anyhow!("the observer panicked"))?;
    let counts = counter.join().map_err(|_| anyhow!("the counter panicked"))??;
    let said = String::from_utf8_lossy(&said);
    booted.with_context(|| said.trim().to_owned())?;
    let Some(complete) = observed? else { return Ok(None) };
    Measured::new(kernel, row, &said, counts, complete).map(Some)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Lets the machine run to the pass, traces it, lets the machine go; says whether the pass was traced to its end, and
/// `None` if the program ended before. `log` is what QEMU traces to; after the trace it gets [`trace::END`].
fn observe(
    mut gdb: Gdb,
    window: &(Place, Place),
    pass: u32,
    mut log: io::PipeWriter,
) -> Result<Option<bool>> {
    let (begin, end) = window;
    gdb.attach()?;
    for _ in 0..pass {
        if gdb.run_to(begin)? == Stop::Ended || gdb.run_to(end)? == Stop::Ended {
            return Ok(None);
        }
    }
    if gdb.run_to(begin)? == Stop::Ended {
        return Ok(None);
    }
    gdb.monitor("one-insn-per-tb on")?;
    gdb.monitor("log exec,nochain")?;
    let stop = gdb.run_to(end)?;
    if stop != Stop::Ended {
        gdb.monitor("log none")?;
        gdb.monitor("one-insn-per-tb off")?;
    }
    io::Write::write_all(&mut log, trace::END)?;
    if stop != Stop::Ended {
        gdb.detach()?;
    }
    Ok(Some(stop == Stop::There))
}
