//! The first process (Linux: `init/main.c`, `kernel_init`).

use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};

use super::{
    Cred, ExitState, Process, ProcessParts, Rlimits, Tasklist, Thread, ThreadCount, ThreadParts, User, count,
    pid, tree,
};
use crate::errno::{Errno, Result};
use crate::exec::{self, ExecError};
use crate::fs::open::How;
use crate::fs::{self, Caller, FileTable, FsContext};
use crate::signal::{Actions, SigSet, Signal, ThreadSignals};
use crate::task::Task;
use crate::trap::TrapFrame;
use crate::{cmdline, timers, vdso};

/// What runs when `rux.init` names nothing else.
const INIT: &str = "/sbin/init";
/// What the first program finds in its environment, as on Linux.
const ENVIRONMENT: &[&[u8]] = &[b"HOME=/", b"TERM=linux"];

/// Starts PID 1. Called once, in a kernel thread, when everything else is up.
pub fn start_init() {
    count::init(rux_mm::page_alloc::total_pages() * rux_mm::addr::PAGE_SIZE as u64);
    if let Err(error) = fs::init() {
        panic!("cannot make the root file system: {error}");
    }
    rux_mm::space::obey_caller(|| super::current().ok().map(|thread| thread.process().memory_limits()));
    let path = cmdline::value("rux.init").unwrap_or(INIT);
    if let Err(error) =
        vdso::init().and_then(|()| timers::start_keeper()).map_err(Errno::from).and_then(|()| start(path))
    {
        panic!("cannot start {path}: {error}");
    }
}

fn start(path: &str) -> Result<()> {
    let user = User::find(0)?;
    let cred = KArc::new(Cred::root(user.clone()), Gfp::KERNEL)?;
    let (files, fs) = (FileTable::new()?, FsContext::initial()?);
    let caller = Caller { fs: &fs, files: &files, cred: &cred };
    open_console(caller)?;
    let limits = Rlimits::initial(count::max() as u64);
    let words = arguments()?;
    let mut argv: KVec<&[u8]> = KVec::new();
    argv.push(path.as_bytes(), Gfp::KERNEL)?;
    for word in &words {
        argv.push(word, Gfp::KERNEL)?;
    }
    let program = exec::first_program(caller, &limits, path.as_bytes(), &argv, ENVIRONMENT).map_err(
        |error| match error {
            ExecError::Refused(errno) => errno,
            ExecError::Failed => Errno::ENOEXEC,
        },
    )?;

    let pid = pid::allocate().map_err(|_| Errno::ENOMEM)?;
    let process = Process::new(ProcessParts {
        pid: pid.clone(),
        pgrp: pid.clone(),
        session: pid.clone(),
        exit_signal: Some(Signal::CHLD),
        actions: Actions::new()?,
        space: program.space.clone(),
        exe: Some(program.file),
        limits,
        cred: cred.clone(),
        like: None,
    })?;
    process.vdso.store(program.vdso.get(), core::sync::atomic::Ordering::Relaxed);
    process.group().unkillable = true;
    let thread = Thread::new(ThreadParts {
        process: process.clone(),
        pid: pid.clone(),
        cred,
        count: ThreadCount::unlimited(user),
        files,
        fs,
        signals: ThreadSignals::new(SigSet::EMPTY),
    });
    let frame = TrapFrame::user(program.entry, program.stack);
    let task = Task::new_user(pid.nr(), &frame, program.space, thread)?;
    task.set_comm(&program.comm);
    {
        let mut tasklist = Tasklist::lock();
        // Nobody else has it yet, so it is on no list.
        let _pushed = process.group().threads.push_back(task.clone());
        let named = pid.named_mut(&mut tasklist);
        named.process = Some(process.clone());
        named.task = Some(task.clone());
        tree::join(&mut tasklist, &process, pid.clone(), pid.clone());
        debug_assert_eq!(process.tree.get(&tasklist).exit_state, ExitState::Alive);
    }
    Task::start(task);
    Ok(())
}

/// Descriptors 0, 1 and 2: the console.
fn open_console(caller: Caller<'_>) -> Result<()> {
    let how = How::openat(linux_raw_sys::general::O_RDWR, 0);
    let console = fs::open::open(caller, fs::namei::AT_FDCWD, b"/dev/console", how)?;
    for _ in 0..3 {
        caller.files.install(console.clone(), u64::MAX, false)?;
    }
    Ok(())
}

/// The arguments after ` -- ` on the kernel's command line, decoded.
fn arguments() -> Result<KVec<KVec<u8>>> {
    let mut arguments = KVec::new();
    for word in cmdline::init_args() {
        arguments.push(decode(word)?, Gfp::KERNEL)?;
    }
    Ok(arguments)
}

/// Turns `%20` and the like into the bytes that they stand for; a `%` without two digits stands for itself.
fn decode(word: &str) -> Result<KVec<u8>> {
    let mut bytes = KVec::new();
    let mut rest = word.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|&byte| (byte as char).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (*first, digit(0), digit(1)) {
            bytes.push((high * 16 + low) as u8, Gfp::KERNEL)?;
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first, Gfp::KERNEL)?;
            rest = tail;
        }
    }
    Ok(bytes)
}
