//! Processes and threads: making, ending, waiting, naming.

use core::sync::atomic::Ordering::Relaxed;

use linux_raw_sys::general as linux;
use rux_mm::addr::VirtAddr;
use rux_mm::gfp::Gfp;
use rux_mm::slab::KVec;

use super::{Args, FrameHandler, Handler};
use crate::errno::{Errno, Result};
use crate::exec;
use crate::fs::namei::{AT_FDCWD, Lookup};
use crate::process::usage::Usage;
use crate::process::wait::{self, Options, Report, Which};
use crate::process::{self, CloneArgs, Tasklist, pid};
use crate::signal::{SigInfo, Signal};
use crate::trap::TrapFrame;
use crate::uaccess::{self, Plain};
use crate::{signal, task};

pub const HANDLERS: &[(u32, Handler)] = &[
    (linux::__NR_exit, exit),
    (linux::__NR_exit_group, exit_group),
    (linux::__NR_wait4, wait4),
    (linux::__NR_waitid, waitid),
    (linux::__NR_getpid, getpid),
    (linux::__NR_getppid, getppid),
    (linux::__NR_gettid, gettid),
    (linux::__NR_set_tid_address, set_tid_address),
    (linux::__NR_set_robust_list, set_robust_list),
    (linux::__NR_get_robust_list, get_robust_list),
    (linux::__NR_setpgid, setpgid),
    (linux::__NR_getpgid, getpgid),
    (linux::__NR_getsid, getsid),
    (linux::__NR_setsid, setsid),
];

pub const FRAME_HANDLERS: &[(u32, FrameHandler)] = &[
    (linux::__NR_clone, clone),
    (linux::__NR_clone3, clone3),
    (linux::__NR_execve, execve),
    (linux::__NR_execveat, execveat),
    (linux::__NR_rt_sigreturn, rt_sigreturn),
];

/// The signal in the flags of `clone`.
const CSIGNAL: u64 = linux::CSIGNAL as u64;

fn clone(args: &Args, frame: &mut TrapFrame) -> Result<usize> {
    let flags = args.ulong(0) & u32::MAX as u64;
    let clone = CloneArgs {
        flags: flags & !CSIGNAL,
        exit_signal: flags & CSIGNAL,
        stack: args.ulong(1),
        parent_tid: args.ulong(2),
        tls: args.ulong(3),
        child_tid: args.ulong(4),
    };
    if flags & (linux::CLONE_PIDFD | linux::CLONE_DETACHED) as u64 != 0
        && flags & linux::CLONE_PIDFD as u64 != 0
    {
        return Err(Errno::EINVAL);
    }
    process::clone(&clone, frame).map(|tid| tid as usize)
}

/// `struct clone_args`, version 2: 88 bytes.
type CloneArgsV2 = [u64; 11];
/// Bytes of its first version.
const CLONE_ARGS_V0: usize = 64;

fn clone3(args: &Args, frame: &mut TrapFrame) -> Result<usize> {
    let (at, size) = (args.addr(0), args.a[1]);
    if size > rux_mm::addr::PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    if size < CLONE_ARGS_V0 {
        return Err(Errno::EINVAL);
    }
    let mut words: CloneArgsV2 = [0; 11];
    let mut bytes = [0; size_of::<CloneArgsV2>()];
    let known = size.min(bytes.len());
    uaccess::copy_from_user(&mut bytes[..known], at)?;
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
    }
    // What a newer program asks for must be nothing.
    for offset in known..size {
        let byte: u8 = uaccess::read_user(at.checked_add(offset as u64).ok_or(Errno::EFAULT)?)?;
        if byte != 0 {
            return Err(Errno::E2BIG);
        }
    }
    let [
        flags,
        _pidfd,
        child_tid,
        parent_tid,
        exit_signal,
        stack,
        stack_size,
        tls,
        set_tid,
        set_tid_size,
        _cgroup,
    ] = words;
    let flags_known = flags & !(u32::MAX as u64 | linux::CLONE_CLEAR_SIGHAND | linux::CLONE_INTO_CGROUP) == 0;
    if !flags_known
        || flags & (linux::CLONE_DETACHED as u64 | CSIGNAL & !(linux::CLONE_NEWTIME as u64)) != 0
        || exit_signal > Signal::MAX as u64
        || flags & (linux::CLONE_THREAD | linux::CLONE_PARENT) as u64 != 0 && exit_signal != 0
        || (stack == 0) != (stack_size == 0)
        || set_tid != 0
        || set_tid_size != 0
    {
        return Err(Errno::EINVAL);
    }
    let top = stack.checked_add(stack_size).ok_or(Errno::EINVAL)?;
    if stack != 0 && !uaccess::access_ok(VirtAddr::new(stack), stack_size as usize) {
        return Err(Errno::EINVAL);
    }
    let clone = CloneArgs { flags, exit_signal, stack: top, tls, parent_tid, child_tid };
    process::clone(&clone, frame).map(|tid| tid as usize)
}

/// Reads a path of the program's.
///
/// # Errors
/// `ENAMETOOLONG`, `EFAULT`, `ENOMEM`.
fn read_path(at: VirtAddr) -> Result<KVec<u8>> {
    let mut path = KVec::new();
    path.resize(linux::PATH_MAX as usize, 0, Gfp::KERNEL)?;
    let len = uaccess::strncpy_from_user(&mut path, at)?;
    if len == path.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    path.truncate(len);
    Ok(path)
}

fn execve(args: &Args, frame: &mut TrapFrame) -> Result<usize> {
    let path = read_path(args.addr(0))?;
    exec::execve(frame, AT_FDCWD, &path, Lookup::FOLLOW, args.addr(1), args.addr(2))?;
    Ok(0)
}

fn execveat(args: &Args, frame: &mut TrapFrame) -> Result<usize> {
    let flags = args.uint(4);
    if flags & !(linux::AT_EMPTY_PATH | linux::AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = read_path(args.addr(1))?;
    let mut lookup = Lookup::FOLLOW;
    lookup.set(Lookup::FOLLOW, flags & linux::AT_SYMLINK_NOFOLLOW == 0);
    lookup.set(Lookup::EMPTY, flags & linux::AT_EMPTY_PATH != 0);
    exec::execve(frame, args.int(0), &path, lookup, args.addr(2), args.addr(3))?;
    Ok(0)
}

fn rt_sigreturn(_: &Args, frame: &mut TrapFrame) -> Result<usize> {
    signal::frame::sigreturn(process::current()?, frame);
    Ok(frame.a(0))
}

fn exit(args: &Args) -> Result<usize> {
    process::exit_thread(process::wait_status(args.int(0)))
}

fn exit_group(args: &Args) -> Result<usize> {
    process::exit_group(args.int(0))
}

/// `struct rusage`: two times, then 14 words.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Rusage([u64; 18]);

// SAFETY: words.
unsafe impl Plain for Rusage {}

impl Rusage {
    pub(super) const fn of(usage: &Usage) -> Self {
        let mut words = [0; 18];
        words[0] = usage.utime / 1_000_000_000;
        words[1] = usage.utime / 1000 % 1_000_000;
        words[2] = usage.stime / 1_000_000_000;
        words[3] = usage.stime / 1000 % 1_000_000;
        // ru_maxrss is in KiB.
        words[4] = usage.max_rss * 4;
        words[8] = usage.minor_faults;
        words[9] = usage.major_faults;
        Self(words)
    }
}

fn wait4(args: &Args) -> Result<usize> {
    let (pid, options) = (args.int(0), args.uint(2));
    let known = linux::WNOHANG
        | linux::WUNTRACED
        | linux::WCONTINUED
        | linux::__WNOTHREAD
        | linux::__WALL
        | linux::__WCLONE;
    if options & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let which = match pid {
        i32::MIN => return Err(Errno::ESRCH),
        -1 => Which::Any,
        0 => Which::Group(process::current()?.process().pgrp_and_session().0),
        1.. => Which::Process(pid as u32),
        _ => Which::Group(pid.unsigned_abs()),
    };
    let Some(report) = wait::wait(which, Options(options | linux::WEXITED))? else { return Ok(0) };
    if let Some(status) = args.optional(1) {
        uaccess::write_user(status, report.status)?;
    }
    if let Some(rusage) = args.optional(3) {
        uaccess::write_user(rusage, Rusage::of(&report.usage))?;
    }
    Ok(report.pid as usize)
}

fn waitid(args: &Args) -> Result<usize> {
    let (id, options) = (args.int(1), args.uint(3));
    let events = linux::WEXITED | linux::WSTOPPED | linux::WCONTINUED;
    let known =
        events | linux::WNOHANG | linux::WNOWAIT | linux::__WNOTHREAD | linux::__WALL | linux::__WCLONE;
    if options & !known != 0 || options & events == 0 {
        return Err(Errno::EINVAL);
    }
    let which = match args.uint(0) {
        linux::P_ALL => Which::Any,
        linux::P_PID if id > 0 => Which::Process(id as u32),
        linux::P_PGID if id > 0 => Which::Group(id as u32),
        linux::P_PGID if id == 0 => Which::Group(process::current()?.process().pgrp_and_session().0),
        linux::P_PIDFD => return Err(Errno::EBADF),
        _ => return Err(Errno::EINVAL),
    };
    let report = wait::wait(which, Options(options))?;
    if let (Some(rusage), Some(report)) = (args.optional(4), &report) {
        uaccess::write_user(rusage, Rusage::of(&report.usage))?;
    }
    if let Some(info) = args.optional(2) {
        write_child_info(info, report.as_ref())?;
    }
    Ok(0)
}

/// Fills in what `waitid` fills in of a `siginfo_t`: no more, and zeroes when there is nothing to report.
fn write_child_info(to: VirtAddr, report: Option<&Report>) -> Result<()> {
    let info = report.map(|report| SigInfo::child(report.code, report.pid, report.uid, report.value, 0, 0));
    let words = info.map_or([0; 7], |info| {
        [
            info.signo,
            0,
            info.code,
            0,
            info.fields[0] as i32,
            (info.fields[0] >> 32) as i32,
            info.fields[1] as i32,
        ]
    });
    Ok(uaccess::write_user(to, words)?)
}

fn getpid(_: &Args) -> Result<usize> {
    Ok(process::current()?.process().pid() as usize)
}

fn getppid(_: &Args) -> Result<usize> {
    Ok(process::current()?.process().parent_pid() as usize)
}

fn gettid(_: &Args) -> Result<usize> {
    Ok(process::current()?.tid() as usize)
}

fn set_tid_address(args: &Args) -> Result<usize> {
    let thread = process::current()?;
    thread.clear_child_tid.store(args.ulong(0), Relaxed);
    Ok(thread.tid() as usize)
}

/// Bytes of `struct robust_list_head`.
const ROBUST_HEAD: usize = 24;

fn set_robust_list(args: &Args) -> Result<usize> {
    if args.a[1] != ROBUST_HEAD {
        return Err(Errno::EINVAL);
    }
    process::current()?.robust_list.store(args.ulong(0), Relaxed);
    Ok(0)
}

fn get_robust_list(args: &Args) -> Result<usize> {
    let own = process::current()?;
    let head = match args.uint(0) {
        0 => own.robust_list.load(Relaxed),
        tid => {
            let task = pid::find_task(tid).ok_or(Errno::ESRCH)?;
            let thread = task.user.as_ref().ok_or(Errno::ESRCH)?;
            let (cred, theirs) = (own.cred(), thread.cred());
            let same = cred.uid == theirs.uid && cred.uid == theirs.euid && cred.uid == theirs.suid;
            if !same && !cred.capable(process::Caps::SYS_PTRACE) {
                return Err(Errno::EPERM);
            }
            thread.robust_list.load(Relaxed)
        }
    };
    uaccess::write_user(args.addr(2), ROBUST_HEAD)?;
    uaccess::write_user(args.addr(1), head)?;
    Ok(0)
}

fn setpgid(args: &Args) -> Result<usize> {
    process::set_pgid(args.int(0), args.int(1)).map(|()| 0)
}

/// Group and session of the process that `nr` names; 0 is the caller.
fn relations(nr: i32) -> Result<(u32, u32)> {
    if nr == 0 {
        return Ok(process::current()?.process().pgrp_and_session());
    }
    let pid = u32::try_from(nr).ok().and_then(pid::find).ok_or(Errno::ESRCH)?;
    let tasklist = Tasklist::lock();
    let named = pid.named(&tasklist);
    let of = |process: &process::Process| {
        let tree = process.tree.get(&tasklist);
        (tree.pgrp.nr(), tree.session.nr())
    };
    match (&named.process, &named.task) {
        (Some(process), _) => Ok(of(process)),
        (None, Some(task)) => task.user.as_ref().map(|thread| of(thread.process())).ok_or(Errno::ESRCH),
        (None, None) => Err(Errno::ESRCH),
    }
}

fn getpgid(args: &Args) -> Result<usize> {
    Ok(relations(args.int(0))?.0 as usize)
}

fn getsid(args: &Args) -> Result<usize> {
    Ok(relations(args.int(0))?.1 as usize)
}

fn setsid(_: &Args) -> Result<usize> {
    let _ = task::current();
    Ok(process::set_sid()? as usize)
}
