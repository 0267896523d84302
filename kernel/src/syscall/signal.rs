//! Signals.

use linux_raw_sys::general as linux;
use rux_mm::addr::VirtAddr;

use super::time::Timespec;
use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::process;
use crate::signal::info::SI_TKILL;
use crate::signal::{self, SigAction, SigInfo, SigSet, Signal, altstack, frame, send, wait};
use crate::task;
use crate::uaccess;

pub const HANDLERS: &[(u32, Handler)] = &[
    (linux::__NR_kill, kill),
    (linux::__NR_tkill, tkill),
    (linux::__NR_tgkill, tgkill),
    (linux::__NR_sigaltstack, sigaltstack),
    (linux::__NR_rt_sigsuspend, rt_sigsuspend),
    (linux::__NR_rt_sigaction, rt_sigaction),
    (linux::__NR_rt_sigprocmask, rt_sigprocmask),
    (linux::__NR_rt_sigpending, rt_sigpending),
    (linux::__NR_rt_sigtimedwait, rt_sigtimedwait),
    (linux::__NR_rt_sigqueueinfo, rt_sigqueueinfo),
    (linux::__NR_rt_tgsigqueueinfo, rt_tgsigqueueinfo),
];

/// Bytes of a `sigset_t`, which callers name.
const SIGSET_SIZE: usize = size_of::<u64>();

fn check_size(size: usize) -> Result<()> {
    if size == SIGSET_SIZE { Ok(()) } else { Err(Errno::EINVAL) }
}

/// The signal that `number` names; 0 names none and only asks.
fn signal_or_none(number: i32) -> Result<Option<Signal>> {
    match u32::try_from(number) {
        Ok(0) => Ok(None),
        Ok(number) => Signal::new(number).map(Some).ok_or(Errno::EINVAL),
        Err(_) => Err(Errno::EINVAL),
    }
}

fn kill(args: &Args) -> Result<usize> {
    send::kill(args.int(0), signal_or_none(args.int(1))?).map(|()| 0)
}

fn positive(number: i32) -> Result<u32> {
    u32::try_from(number).ok().filter(|&number| number > 0).ok_or(Errno::EINVAL)
}

fn tkill(args: &Args) -> Result<usize> {
    let tid = positive(args.int(0))?;
    send::kill_thread(None, tid, signal_or_none(args.int(1))?).map(|()| 0)
}

fn tgkill(args: &Args) -> Result<usize> {
    let (tgid, tid) = (positive(args.int(0))?, positive(args.int(1))?);
    send::kill_thread(Some(tgid), tid, signal_or_none(args.int(2))?).map(|()| 0)
}

/// Reads what a program gives to be queued; only the kernel may say that the kernel or `tkill` sent it.
fn read_info(at: VirtAddr, signal: i32, to_self: bool) -> Result<SigInfo> {
    let mut info: SigInfo = uaccess::read_user(at)?;
    info.signo = signal;
    if (info.code >= 0 || info.code == SI_TKILL) && !to_self {
        return Err(Errno::EPERM);
    }
    Ok(info)
}

fn rt_sigqueueinfo(args: &Args) -> Result<usize> {
    let (pid, number) = (args.int(0), args.int(1));
    let to_self = process::current()?.process().pid() as i32 == pid;
    let info = read_info(args.addr(2), number, to_self)?;
    let signal = signal_or_none(number)?;
    let pid = u32::try_from(pid).map_err(|_| Errno::ESRCH)?;
    send::queue_process(pid, signal, info).map(|()| 0)
}

fn rt_tgsigqueueinfo(args: &Args) -> Result<usize> {
    let number = args.int(2);
    let to_self = process::current()?.tid() as i32 == args.int(1);
    let info = read_info(args.addr(3), number, to_self)?;
    let (tgid, tid) = (positive(args.int(0))?, positive(args.int(1))?);
    send::queue_thread(Some(tgid), tid, signal_or_none(number)?, |_| info).map(|()| 0)
}

fn sigaltstack(args: &Args) -> Result<usize> {
    let thread = process::current()?;
    let sp = task::current().user_sp();
    let old = frame::stack_t(thread.signals.alt_stack(), sp);
    if let Some(new) = args.optional(0) {
        let new = uaccess::read_user(new)?;
        altstack::change(thread, new, sp)?;
    }
    if let Some(to) = args.optional(1) {
        uaccess::write_user(to, old)?;
    }
    Ok(0)
}

fn rt_sigaction(args: &Args) -> Result<usize> {
    check_size(args.a[3])?;
    let new = match args.optional(1) {
        Some(at) => Some(uaccess::read_user::<SigAction>(at)?),
        None => None,
    };
    let signal = u32::try_from(args.int(0)).ok().and_then(Signal::new).ok_or(Errno::EINVAL)?;
    if new.is_some() && signal.is_kernel_only() {
        return Err(Errno::EINVAL);
    }
    let process = process::current()?.process();
    let group = process.group();
    let old = group.actions.get(signal);
    if let Some(new) = new {
        group.actions.set(signal, new);
        if group.actions.get(signal).ignores(signal) {
            signal::discard_pending(group, SigSet::of(&[signal]));
        }
    } else {
        drop(group);
    }
    if let Some(to) = args.optional(2) {
        uaccess::write_user(to, old)?;
    }
    Ok(0)
}

fn rt_sigprocmask(args: &Args) -> Result<usize> {
    check_size(args.a[3])?;
    let thread = process::current()?;
    let old = thread.signals.blocked();
    if let Some(set) = args.optional(1) {
        let set = SigSet(uaccess::read_user(set)?).minus(SigSet::UNBLOCKABLE);
        signal::set_blocked(match args.uint(0) {
            linux::SIG_BLOCK => old.or(set),
            linux::SIG_UNBLOCK => old.minus(set),
            linux::SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL),
        });
    }
    if let Some(to) = args.optional(2) {
        uaccess::write_user(to, old.0)?;
    }
    Ok(0)
}

fn rt_sigpending(args: &Args) -> Result<usize> {
    if args.a[1] > SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let thread = process::current()?;
    let shared = thread.process().group().pending_set();
    let waiting = thread.signals.pending().set().or(shared).and(thread.signals.blocked());
    uaccess::copy_to_user(args.addr(0), &waiting.0.to_ne_bytes()[..args.a[1]])?;
    Ok(0)
}

fn rt_sigsuspend(args: &Args) -> Result<usize> {
    check_size(args.a[1])?;
    let mask = SigSet(uaccess::read_user(args.addr(0))?);
    signal::set_temporary_mask(mask);
    let interrupted = crate::wait::WaitQueue::new().wait_event(|| false);
    debug_assert!(interrupted.is_err());
    Err(Errno::ERESTARTNOHAND)
}

fn rt_sigtimedwait(args: &Args) -> Result<usize> {
    check_size(args.a[3])?;
    let set = SigSet(uaccess::read_user(args.addr(0))?);
    let timeout = match args.optional(2) {
        Some(at) => Some(Timespec::read(at)?.nanos()?),
        None => None,
    };
    let info = wait::timed_wait(set, timeout)?;
    if let Some(to) = args.optional(1) {
        info.write(to)?;
    }
    Ok(info.signo as usize)
}
