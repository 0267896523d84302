//! The end of threads and processes (Linux: `kernel/exit.c`).
//!
//! A thread gives up what it holds while it still may sleep: files, memory, locks in user memory. Then, under
//! the tree's lock, it leaves its process; the last one out makes the process a zombie, hands its
//! children on and tells the parent.

use core::sync::atomic::Ordering::Relaxed;

use linux_raw_sys::general as abi;
use rux_mm::addr::VirtAddr;
use rux_mm::slab::KArc;

use super::group::Group;
use super::usage::{self, Usage};
use super::{ExitState, Pid, Process, Tasklist, Thread, pid, tree};
use crate::signal::info::{CLD_EXITED, CLD_KILLED, SigInfo};
use crate::signal::{self, Signal};
use crate::task::{self, Task};
use crate::{fs, futex, power, sched, uaccess};

/// Ends the process of the running thread with `code`, the argument of `exit_group`.
pub fn exit_group(code: i32) -> ! {
    let mut status = wait_status(code);
    if let Some(thread) = &task::current().user {
        status = thread.process().group().kill_all(status);
    }
    exit_thread(status)
}

/// The status that `wait` reports for an exit with `code`.
pub const fn wait_status(code: i32) -> i32 {
    (code & 0xff) << 8
}

/// Ends the running thread; `status` is as `wait` reports it.
pub fn exit_thread(status: i32) -> ! {
    let task = task::current();
    if let Some(thread) = &task.user {
        leave(task, thread, status);
    }
    sched::exit_current()
}

fn leave(task: &Task, thread: &Thread, status: i32) {
    let process = thread.process();
    // The others may be on their way out, too: the last to come here is not always the last in the process.
    let last = stop_receiving(process, thread);
    if last {
        process.timers.cancel_all();
    }
    release_memory(thread);
    thread.set_files(None);
    thread.set_fs(None);
    if last && process.session_nr.load(Relaxed) == process.pid() {
        fs::tty::session_ends(process.pid());
    }
    let usage = Usage::of_thread(task, thread);
    process.usage.add_thread(&usage);
    notify(task, thread, status);
}

/// No signal is given to the thread from now on; those of the process that it was to take, others take. Says
/// whether no other thread stays: of those that exit at once, one is told so.
fn stop_receiving(process: &Process, thread: &Thread) -> bool {
    let mut group = process.group();
    thread.exiting.store(true, Relaxed);
    let last = !others_stay(&group);
    let left = group.pending_set().minus(thread.signals.blocked());
    if !left.is_empty() {
        for other in group.threads.iter() {
            let takes = other
                .user
                .as_ref()
                .is_some_and(|other| !other.is_exiting() && !left.minus(other.signals.blocked()).is_empty());
            if takes {
                other.notify_signal(false);
            }
        }
    }
    let news =
        if thread.signals.must_stop.swap(false, Relaxed) { signal::stop::one_less(&mut group) } else { None };
    drop(group);
    if let Some(news) = news {
        signal::stop::tell_parent(process, news);
    }
    last
}

/// Whether a thread of the process is not about to exit.
fn others_stay(group: &Group) -> bool {
    group.threads.iter().any(|task| task.user.as_ref().is_some_and(|thread| !thread.is_exiting()))
}

/// Gives up the address space, after the promises made in user memory were kept (Linux: `mm_release`).
/// An exec does the same with the old one.
pub(crate) fn release_promises(thread: &Thread) {
    futex::exit_robust_list(thread);
    let clear = VirtAddr::new(thread.clear_child_tid.swap(0, Relaxed));
    // One reference each for the process, this thread, and this look.
    let shared = thread.process().space().is_some_and(|space| KArc::strong_count(&space) > 3);
    if clear.get() != 0 && shared {
        // Nobody is left to be told of a bad address.
        let _written = uaccess::write_user(clear, 0u32);
        let _woken = futex::wake(clear, 1, u32::MAX, futex::Sharing::Shared);
    }
}

fn release_memory(thread: &Thread) {
    let process = thread.process();
    release_promises(thread);
    // The last thread gives up the process' own reference, too.
    let others = others_stay(&process.group());
    if !others {
        // A statement of its own, so that the lock is free again: what follows sleeps.
        let space = process.space.lock().take();
        if let Some(space) = space {
            let usage = Usage { max_rss: space.stat().high_rss, ..Usage::default() };
            process.usage.add_thread(&usage);
            drop(space);
        }
        let exe = process.exe.lock().take();
        drop(exe);
    }
    task::current().drop_space();
    finish_vfork(thread);
}

/// Lets a parent go on that waits for this thread to leave its memory.
pub(crate) fn finish_vfork(thread: &Thread) {
    let done = thread.vfork.lock().take();
    if let Some(done) = done {
        done.complete();
    }
}

/// The thread leaves its process; the last one ends it.
fn notify(task: &Task, thread: &Thread, status: i32) {
    let process = thread.process().clone();
    sched::announce();
    let mut tasklist = Tasklist::lock();
    let mut group = process.group();
    let held = group.threads.remove(task);
    let last = group.threads.is_empty();
    if last {
        *process.last_comm.lock() = task.comm();
    }
    let status = group.exit.unwrap_or(status);
    drop(group);
    if last && process.pid() == 1 {
        drop(tasklist);
        let code = if status & 0x7f == 0 { status >> 8 & 0xff } else { 128 + (status & 0x7f) };
        power::power_off(code as u8);
    }
    let pid = thread.pid_ref();
    let named = pid.named_mut(&mut tasklist).task.take();
    pid.release(&tasklist);
    let count = thread.take_count();
    let freed = if last {
        process.tree.get_mut(&mut tasklist).count = count;
        end(&mut tasklist, &process, status)
    } else {
        drop(count);
        None
    };
    drop(tasklist);
    // A thread that execs waits for the others.
    process.resumed.wake_all();
    drop((held, named, freed));
}

/// Makes a process without threads a zombie, or nothing at all if nobody wants to know. Returns what is to be
/// dropped without the lock.
fn end(tasklist: &mut Tasklist, process: &KArc<Process>, status: i32) -> Option<KArc<Process>> {
    hand_on_children(tasklist, process);
    let tree = process.tree.get(tasklist);
    let (pgrp, parent) = (tree.pgrp.clone(), tree.parent.clone());
    if let Some(parent) = &parent {
        hang_up_if_orphaned(tasklist, &pgrp, process, parent);
    }
    let tree = process.tree.get_mut(tasklist);
    tree.exit_code = status;
    tree.exit_state = ExitState::Zombie;
    let parent = parent?;
    let exit_signal = process.tree.get(tasklist).signal_for(parent.tree.get(tasklist));
    let forget = tell_parent(process, &parent, status, exit_signal);
    parent.child_changed.wake_all();
    forget.then(|| reap(tasklist, process)).flatten()
}

/// Sends the signal of a child's end; says whether the parent does not want zombies
/// (Linux: `do_notify_parent`).
fn tell_parent(process: &Process, parent: &Process, status: i32, exit_signal: Option<Signal>) -> bool {
    let Some(exit_signal) = exit_signal else { return false };
    let action = parent.group().actions.get(Signal::CHLD);
    let unwanted = exit_signal == Signal::CHLD && (action.is_ignore() || action.has(abi::SA_NOCLDWAIT));
    if !(unwanted && action.is_ignore()) {
        let (utime, stime) = usage::of_process(process);
        let (code, value) =
            if status & 0x7f == 0 { (CLD_EXITED, status >> 8 & 0xff) } else { (CLD_KILLED, status & 0x7f) };
        let mut info = SigInfo::child(
            code,
            process.pid(),
            process.cred().uid,
            value,
            usage::clock_ticks(utime),
            usage::clock_ticks(stime),
        );
        info.signo = exit_signal.get() as i32;
        // An ordinary signal is marked even when its information finds no room.
        let _marked = signal::send_process(parent, info);
    }
    unwanted
}

/// Gives the children of a process that ends to the next that looks after orphans: an ancestor that said so
/// (`PR_SET_CHILD_SUBREAPER`), or the first process.
fn hand_on_children(tasklist: &mut Tasklist, process: &KArc<Process>) {
    if process.tree.get(tasklist).children.is_empty() {
        return;
    }
    let Some(reaper) = reaper(tasklist, process) else { return };
    let mut wake = false;
    loop {
        let Some(child) = process.tree.get_mut(tasklist).children.pop_front() else { break };
        let pdeath = child.group().threads.first().and_then(|task| {
            let thread = task.user.as_ref()?;
            Signal::new(thread.parent_death_signal.load(Relaxed))
        });
        if let Some(signal) = pdeath {
            let _marked = signal::send_process(&child, SigInfo::from_kernel(signal));
        }
        let tree = child.tree.get_mut(tasklist);
        let zombie = tree.exit_state == ExitState::Zombie;
        tree.exit_signal = Some(Signal::CHLD);
        let (code, pgrp) = (tree.exit_code, tree.pgrp.clone());
        tree::adopt(tasklist, &reaper, child.clone());
        if zombie {
            if tell_parent(&child, &reaper, code, Some(Signal::CHLD)) {
                drop(reap(tasklist, &child));
            }
            wake = true;
        } else if pgrp.nr() != process.tree.get(tasklist).pgrp.nr() {
            hang_up_if_orphaned(tasklist, &pgrp, process, process);
        }
    }
    if wake {
        reaper.child_changed.wake_all();
    }
}

fn reaper(tasklist: &Tasklist, process: &Process) -> Option<KArc<Process>> {
    let mut ancestor = process.tree.get(tasklist).parent.clone();
    while let Some(candidate) = ancestor {
        if candidate.is_subreaper.load(Relaxed) && !candidate.group().threads.is_empty() {
            return Some(candidate);
        }
        ancestor = candidate.tree.get(tasklist).parent.clone();
    }
    pid::find(1)?.named(tasklist).process.clone()
}

/// Members of a group that stand stopped, and that nobody can bring back once `leaving` is gone, are hung up
/// (Linux: `kill_orphaned_pgrp`). `tie` is the one whose tie to the group goes: it matters only if it was one.
fn hang_up_if_orphaned(tasklist: &Tasklist, pgrp: &Pid, leaving: &Process, tie: &Process) {
    let (left, other) = (leaving.tree.get(tasklist), tie.tree.get(tasklist));
    let tied = core::ptr::eq(leaving, tie)
        || other.pgrp.nr() != pgrp.nr() && other.session.nr() == left.session.nr();
    if tied && pgrp.is_orphaned(tasklist, Some(leaving)) && pgrp.has_stopped(tasklist) {
        signal::send_pgrp_locked(tasklist, pgrp, SigInfo::from_kernel(Signal::HUP));
        signal::send_pgrp_locked(tasklist, pgrp, SigInfo::from_kernel(Signal::CONT));
    }
}

/// Takes a zombie out of all lists; what it used becomes its parent's. Returns the parent's reference to it, to
/// be dropped without the lock (Linux: `release_task`).
pub(super) fn reap(tasklist: &mut Tasklist, process: &KArc<Process>) -> Option<KArc<Process>> {
    let tree = process.tree.get_mut(tasklist);
    tree.exit_state = ExitState::Dead;
    let parent = tree.parent.take();
    drop(tree.count.take());
    tree::leave(tasklist, process);
    let pid = process.pid_ref().clone();
    let named = pid.named_mut(tasklist).process.take();
    pid.release(tasklist);
    drop(named);
    let parent = parent?;
    let mut used = usage::of_threads(process);
    used.add(&process.usage.children());
    parent.usage.add_child(&used);
    parent.tree.get_mut(tasklist).children.remove(process)
}
