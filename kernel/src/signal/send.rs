//! Sending signals (Linux: `__send_signal_locked`, `complete_signal`, `kill_something_info`).

use core::sync::atomic::Ordering::Relaxed;

use rux_mm::slab::KArc;

use super::info::{SI_TKILL, SI_USER, SigInfo};
use super::pending::QueueFull;
use super::set::{DefaultAction, SigSet, Signal};
use crate::errno::{Errno, Result};
use crate::process::{self, Caps, Cred, Group, Pid, Process, Resource, StopNews, Tasklist, Thread, pid};
use crate::task::{State, Task};

/// Whom a signal is for, within a process.
#[derive(Clone, Copy)]
pub(super) enum For<'a> {
    /// One thread.
    Thread(&'a Task),
    /// Whichever thread takes it.
    Process,
}

/// What `task` has of a user thread. Only user threads are ever on a process' list.
fn thread(task: &Task) -> Option<&Thread> {
    task.user.as_ref()
}

/// Does at once what a signal does when it is sent, handled or not: stops and `SIGCONT` cancel each other.
/// Says whether there is anything more to do (Linux: `prepare_signal`).
fn prepare(group: &mut Group, signal: Signal, to: For<'_>) -> bool {
    if group.exit.is_some() {
        return false;
    }
    if SigSet::STOPS.contains(signal) {
        discard(group, SigSet::of(&[Signal::CONT]));
    } else if signal == Signal::CONT {
        discard(group, SigSet::STOPS);
        let stop = &mut group.stop;
        stop.dequeued = false;
        if let Some(on) = stop.signal.take() {
            let news = if stop.left == 0 { StopNews::Continued } else { StopNews::Stopped(on) };
            stop.left = 0;
            stop.untold = Some(news);
            stop.unreported = Some(StopNews::Continued);
        }
        for task in group.threads.iter() {
            let Some(thread) = thread(task) else { continue };
            let stopping = thread.signals.must_stop.swap(false, Relaxed);
            if thread.signals.is_stopped.swap(false, Relaxed) || stopping {
                task.notify_signal(false);
                task.wake(State::Stopped);
            }
        }
    }
    !ignores(group, signal, to)
}

pub(super) fn discard(group: &mut Group, signals: SigSet) {
    drop(group.pending.discard(signals));
    for task in group.threads.iter() {
        if let Some(thread) = thread(task) {
            drop(thread.signals.pending().discard(signals));
        }
    }
}

/// Whether nobody would notice `signal` (Linux: `sig_ignored`).
fn ignores(group: &Group, signal: Signal, to: For<'_>) -> bool {
    let task = match to {
        For::Thread(task) => Some(task),
        For::Process => group.threads.first(),
    };
    if task.and_then(thread).is_some_and(|thread| thread.signals.keeps(signal)) {
        return false;
    }
    let action = group.actions.get(signal);
    action.ignores(signal) || group.unkillable && action.is_default()
}

/// Queues a signal for a process whose group is locked, and tells a thread of it. `limit` is the most signals
/// that may be queued for the receiver's user.
pub(super) fn send_locked(
    process: &Process,
    group: &mut Group,
    to: For<'_>,
    info: SigInfo,
    limit: u64,
) -> core::result::Result<(), QueueFull> {
    let Some(signal) = Signal::new(info.signo as u32) else { return Ok(()) };
    if !prepare(group, signal, to) {
        return Ok(());
    }
    let user = process.cred().user.clone();
    match to {
        For::Thread(task) => match thread(task) {
            Some(thread) => thread.signals.pending().queue(signal, info, &user, limit)?,
            None => return Ok(()),
        },
        For::Process => group.pending.queue(signal, info, &user, limit)?,
    }
    complete(group, signal, to);
    Ok(())
}

/// Whether `task` would take `signal` soon (Linux: `wants_signal`).
fn wants(task: &Task, signal: Signal) -> bool {
    let Some(thread) = thread(task) else { return false };
    if thread.is_exiting() || thread.signals.blocked().contains(signal) {
        return false;
    }
    signal == Signal::KILL || !thread.signals.is_stopped.load(Relaxed) && !task.signal_pending()
}

/// Chooses a thread and wakes it; a signal that ends the process ends all of its threads at once.
fn complete(group: &mut Group, signal: Signal, to: For<'_>) {
    let chosen = match to {
        For::Thread(task) => Some(task).filter(|task| wants(task, signal)),
        For::Process => group.threads.iter().find(|task| wants(task, signal)),
    };
    let Some(task) = chosen else { return };
    let action = group.actions.get(signal);
    let fatal =
        action.is_default() && signal.default_action() == DefaultAction::Terminate || signal == Signal::KILL;
    let kept = thread(task).is_some_and(|thread| thread.signals.keeps(signal));
    if fatal && !kept && !(group.unkillable && signal != Signal::KILL) {
        group.kill_all(signal.get() as i32);
    } else {
        task.notify_signal(signal == Signal::KILL);
    }
}

/// The most signals that may wait for the receiver's user: the kernel's own are outside the limit.
fn limit_of(process: &Process, info: &SigInfo) -> u64 {
    if info.is_from_user() { process.limit(Resource::SIGPENDING).soft } else { u64::MAX }
}

/// Sends `info` to a process. Any context, if the kernel sends it; without the right to do so being asked for.
///
/// # Errors
/// `EAGAIN` when a queued signal finds no room.
pub fn send_process(process: &Process, info: SigInfo) -> Result<()> {
    let limit = limit_of(process, &info);
    send_locked(process, &mut process.group(), For::Process, info, limit).map_err(|QueueFull| Errno::EAGAIN)
}

/// Sends `info` to one thread; as [`send_process`].
///
/// # Errors
/// `EAGAIN` when a queued signal finds no room, `ESRCH` when it is a kernel thread or ending.
pub fn send_thread(task: &Task, info: SigInfo) -> Result<()> {
    let thread = thread(task).ok_or(Errno::ESRCH)?;
    let process = thread.process();
    let limit = limit_of(process, &info);
    let mut group = process.group();
    if thread.is_exiting() {
        return Err(Errno::ESRCH);
    }
    send_locked(process, &mut group, For::Thread(task), info, limit).map_err(|QueueFull| Errno::EAGAIN)
}

/// Sends `info` to all members of a process group: the terminal's way. Any context.
pub fn send_pgrp(pgrp: &Pid, info: SigInfo) {
    send_pgrp_locked(&Tasklist::lock(), pgrp, info);
}

/// As [`send_pgrp`], with the tree locked.
pub fn send_pgrp_locked(tasklist: &Tasklist, pgrp: &Pid, info: SigInfo) {
    for process in pgrp.named(tasklist).group.iter() {
        // What does not fit into the queue was ordinary, and is marked.
        let _full = send_locked(process, &mut process.group(), For::Process, info, u64::MAX);
    }
}

/// Whether a thread with `cred` may send `signal` to `process` (Linux: `check_kill_permission`).
pub(super) fn may_signal(
    tasklist: &Tasklist,
    sender: &Thread,
    cred: &Cred,
    process: &Process,
    signal: Option<Signal>,
) -> bool {
    if core::ptr::eq(&**sender.process(), process) {
        return true;
    }
    let target = process.cred();
    if cred.euid == target.suid
        || cred.euid == target.uid
        || cred.uid == target.suid
        || cred.uid == target.uid
        || cred.capable(Caps::KILL)
    {
        return true;
    }
    let session = |process: &Process| process.tree.get(tasklist).session.nr();
    signal == Some(Signal::CONT) && session(process) == session(sender.process())
}

/// `kill(2)`: `signal` is `None` for the mere question.
///
/// # Errors
/// `ESRCH`, `EPERM`.
pub fn kill(pid: i32, signal: Option<Signal>) -> Result<()> {
    let sender = process::current()?;
    let cred = sender.cred();
    let info = |signal| SigInfo::from_user(signal, SI_USER, sender.process().pid(), cred.uid);
    if pid == i32::MIN {
        return Err(Errno::ESRCH);
    }
    if pid > 0 {
        let target = find(pid as u32).ok_or(Errno::ESRCH)?;
        if !may_signal(&Tasklist::lock(), sender, &cred, &target, signal) {
            return Err(Errno::EPERM);
        }
        return signal.map_or(Ok(()), |signal| send_process(&target, info(signal)));
    }
    let tasklist = Tasklist::lock();
    let mut outcome = Err(Errno::ESRCH);
    let mut send = |target: &Process| {
        if !may_signal(&tasklist, sender, &cred, target, signal) {
            outcome = outcome.or(Err(Errno::EPERM));
            return;
        }
        if let Some(signal) = signal {
            let info = info(signal);
            let limit = limit_of(target, &info);
            // What does not fit into the queue was ordinary, and is marked.
            let _full = send_locked(target, &mut target.group(), For::Process, info, limit);
        }
        outcome = Ok(());
    };
    if pid == -1 {
        let mut next = 2;
        while let Some(pid) = pid::next(next) {
            next = pid.nr() + 1;
            if let Some(target) = &pid.named(&tasklist).process
                && !KArc::ptr_eq(target, sender.process())
            {
                send(target);
            }
        }
        // That there are some is enough, whoever they belong to.
        return if outcome == Err(Errno::EPERM) { Ok(()) } else { outcome };
    }
    let pgrp = match pid {
        0 => Some(sender.process().tree.get(&tasklist).pgrp.clone()),
        _ => pid::find(pid.unsigned_abs()),
    };
    if let Some(pgrp) = pgrp {
        pgrp.named(&tasklist).group.iter().for_each(&mut send);
    }
    outcome
}

/// The process that `kill` means by `nr`: also by the number of one of its threads.
fn find(nr: u32) -> Option<KArc<Process>> {
    let pid = pid::find(nr)?;
    let tasklist = Tasklist::lock();
    let named = pid.named(&tasklist);
    named.process.clone().or_else(|| Some(thread(named.task.as_ref()?)?.process().clone()))
}

/// `tgkill(2)`; `tkill(2)` without `tgid`.
///
/// # Errors
/// `ESRCH`, `EPERM`, `EAGAIN`.
pub fn kill_thread(tgid: Option<u32>, tid: u32, signal: Option<Signal>) -> Result<()> {
    let sender = process::current()?;
    let cred = sender.cred();
    let uid = cred.uid;
    queue_thread(tgid, tid, signal, |signal| {
        SigInfo::from_user(signal, SI_TKILL, sender.process().pid(), uid)
    })
}

/// Sends what `info` makes to a thread.
///
/// # Errors
/// As [`kill_thread`].
pub fn queue_thread(
    tgid: Option<u32>,
    tid: u32,
    signal: Option<Signal>,
    info: impl FnOnce(Signal) -> SigInfo,
) -> Result<()> {
    let sender = process::current()?;
    let task = pid::find_task(tid).ok_or(Errno::ESRCH)?;
    let target = thread(&task).ok_or(Errno::ESRCH)?.process();
    if tgid.is_some_and(|tgid| tgid != target.pid()) {
        return Err(Errno::ESRCH);
    }
    if !may_signal(&Tasklist::lock(), sender, &sender.cred(), target, signal) {
        return Err(Errno::EPERM);
    }
    match signal {
        Some(signal) => match send_thread(&task, info(signal)) {
            // It was there when it was found: too late is no error.
            Err(Errno::ESRCH) => Ok(()),
            sent => sent,
        },
        None => Ok(()),
    }
}

/// Sends what `info` makes to a process (`rt_sigqueueinfo`).
///
/// # Errors
/// `ESRCH`, `EPERM`, `EAGAIN`.
pub fn queue_process(pid: u32, signal: Option<Signal>, info: SigInfo) -> Result<()> {
    let sender = process::current()?;
    let target = find(pid).ok_or(Errno::ESRCH)?;
    if !may_signal(&Tasklist::lock(), sender, &sender.cred(), &target, signal) {
        return Err(Errno::EPERM);
    }
    signal.map_or(Ok(()), |_| send_process(&target, info))
}
