//! Stopping and going on: job control (Linux: `do_signal_stop`, `do_notify_parent_cldstop`).

use core::sync::atomic::Ordering::Relaxed;

use linux_raw_sys::general as abi;
use rux_mm::sync::IrqSpinGuard;

use super::info::{CLD_CONTINUED, CLD_STOPPED, SigInfo};
use super::send::send_process;
use super::set::Signal;
use crate::process::{Group, Process, StopNews, Tasklist, Thread, usage};
use crate::task::Task;

/// Has all threads of `process` stop on `signal`, which one of them, the running one, took out. It stops at its
/// next look at what waits.
pub(super) fn begin(process: &Process, signal: Signal) {
    if signal != Signal::STOP {
        // A group that no shell looks after cannot be brought back: its members do not stop.
        let tasklist = Tasklist::lock();
        if process.tree.get(&tasklist).pgrp.is_orphaned(&tasklist, None) {
            return;
        }
    }
    let mut group = process.group();
    let group = &mut *group;
    if !group.stop.dequeued || group.exit.is_some() {
        return;
    }
    group.stop.dequeued = false;
    group.stop.signal = Some(signal);
    for task in group.threads.iter() {
        let Some(thread) = &task.user else { continue };
        let stands = thread.signals.is_stopped.load(Relaxed);
        if !stands && !thread.is_exiting() && !thread.signals.must_stop.swap(true, Relaxed) {
            group.stop.left += 1;
            task.notify_signal(false);
        }
    }
}

/// The running thread stops, as it must; returns when it is to go on, or to end.
pub(super) fn stand(process: &Process, mut group: IrqSpinGuard<'_, Group>, task: &Task, thread: &Thread) {
    thread.signals.must_stop.store(false, Relaxed);
    thread.signals.is_stopped.store(true, Relaxed);
    let news = one_less(&mut group);
    // So that it is a signal that comes from now on that ends the wait.
    if !thread.signals.is_killed() {
        task.clear_signal_pending();
    }
    drop(group);
    if let Some(news) = news {
        tell_parent(process, news);
    }
    Task::stop_current(|| thread.signals.is_stopped.load(Relaxed));
    let group = process.group();
    thread.signals.is_stopped.store(false, Relaxed);
    super::mask::recalculate(&group, task, thread);
}

/// Counts one thread that stopped, or that ends instead; what the parent is to hear if it was the last.
pub(crate) fn one_less(group: &mut Group) -> Option<StopNews> {
    group.stop.left = group.stop.left.checked_sub(1)?;
    let signal = group.stop.signal.filter(|_| group.stop.left == 0)?;
    let news = StopNews::Stopped(signal);
    group.stop.unreported = Some(news);
    Some(news)
}

/// Tells the parent that `process` stopped or goes on.
pub(crate) fn tell_parent(process: &Process, news: StopNews) {
    let tasklist = Tasklist::lock();
    let Some(parent) = &process.tree.get(&tasklist).parent else { return };
    let (code, status) = match news {
        StopNews::Stopped(signal) => (CLD_STOPPED, signal),
        StopNews::Continued => (CLD_CONTINUED, Signal::CONT),
    };
    let action = parent.group().actions.get(Signal::CHLD);
    if !action.is_ignore() && !action.has(abi::SA_NOCLDSTOP) {
        let (utime, stime) = usage::of_process(process);
        let info = SigInfo::child(
            code,
            process.pid(),
            process.cred().uid,
            status.get() as i32,
            usage::clock_ticks(utime),
            usage::clock_ticks(stime),
        );
        // An ordinary signal is marked even when its information finds no room.
        let _marked = send_process(parent, info);
    }
    parent.child_changed.wake_all();
}
