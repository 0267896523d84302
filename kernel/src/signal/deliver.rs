//! Acting upon signals, on the way to user mode (Linux: `get_signal`, `arch_do_signal_or_restart`).

use core::sync::atomic::Ordering::Relaxed;

use linux_raw_sys::general as abi;

use super::action::SigAction;
use super::info::SigInfo;
use super::mask::recalculate;
use super::set::{DefaultAction, SigSet, Signal};
use super::{UserFault, frame, mask, stop};
use crate::errno::Errno;
use crate::process::{self, Thread};
use crate::task::{self, Task};
use crate::trap::TrapFrame;

/// Bytes of an `ecall`, to go back by.
const ECALL_SIZE: usize = 4;

/// A signal that a handler is to see.
struct Caught {
    signal: Signal,
    info: SigInfo,
    action: SigAction,
}

/// Acts upon the signals that wait for the running thread: builds handler frames, restarts system
/// calls, ends the process. Called on the way to user mode with interrupts on, whenever
/// [`Task::signal_pending`] says so.
pub fn deliver(frame: &mut TrapFrame) {
    let task = task::current();
    let Some(thread) = &task.user else {
        task.clear_signal_pending();
        return;
    };
    let interrupted = (frame.syscall != TrapFrame::NO_SYSCALL).then(|| restartable(frame.a(0))).flatten();
    let caught = next(task, thread);
    frame.syscall = TrapFrame::NO_SYSCALL;
    match caught {
        Some(caught) => {
            if let Some(errno) = interrupted {
                let again = match errno {
                    Errno::ERESTARTNOINTR => true,
                    Errno::ERESTARTSYS => caught.action.has(abi::SA_RESTART),
                    _ => false,
                };
                if again {
                    start_again(frame);
                } else {
                    frame.set_a(0, Errno::EINTR.to_register());
                }
            }
            handle(thread, &caught, frame);
        }
        None => {
            match interrupted {
                Some(Errno::ERESTART_RESTARTBLOCK) => {
                    start_again(frame);
                    frame.set_a(7, abi::__NR_restart_syscall as usize);
                }
                Some(_) => start_again(frame),
                None => {}
            }
            mask::restore_mask();
        }
    }
}

/// The errno in `a0`, when it is one of those that ask for a restart.
fn restartable(a0: usize) -> Option<Errno> {
    Errno::of_register(a0).filter(|errno| {
        matches!(
            *errno,
            Errno::ERESTARTSYS | Errno::ERESTARTNOINTR | Errno::ERESTARTNOHAND | Errno::ERESTART_RESTARTBLOCK
        )
    })
}

fn start_again(frame: &mut TrapFrame) {
    frame.set_a(0, frame.orig_a0);
    frame.pc = frame.pc.wrapping_sub(ECALL_SIZE);
}

/// Takes signals out until one has a handler; does what the others do without one. Does not return when that is
/// the end.
fn next(task: &Task, thread: &Thread) -> Option<Caught> {
    let process = thread.process();
    loop {
        let mut group = process.group();
        if let Some(news) = group.stop.untold.take() {
            drop(group);
            stop::tell_parent(process, news);
            continue;
        }
        if let Some(status) = group.exit {
            drop(group);
            process::exit_thread(status);
        }
        if group.exec.is_some_and(|tid| tid != thread.tid()) {
            drop(group);
            process::exit_thread(0);
        }
        if thread.signals.must_stop.load(Relaxed) {
            stop::stand(process, group, task, thread);
            continue;
        }
        let allowed = thread.signals.blocked().complement();
        let urgent = allowed.and(SigSet::SYNCHRONOUS);
        let taken = thread.signals.pending().take(urgent);
        let taken = taken.or_else(|| thread.signals.pending().take(allowed));
        let Some((info, flushed)) = taken.or_else(|| group.pending.take(allowed)) else {
            recalculate(&group, task, thread);
            return None;
        };
        drop(flushed);
        let Some(signal) = Signal::new(info.signo as u32) else { continue };
        let action = group.actions.get(signal);
        if action.handler().is_some() {
            if action.has(abi::SA_RESETHAND) {
                group.actions.reset(signal);
            }
            return Some(Caught { signal, info, action });
        }
        let default = signal.default_action();
        if action.is_ignore() || default == DefaultAction::Ignore {
            continue;
        }
        if group.unkillable && !signal.is_kernel_only() {
            continue;
        }
        if default == DefaultAction::Stop {
            group.stop.dequeued = true;
            drop(group);
            stop::begin(process, signal);
            continue;
        }
        let status = group.kill_all(signal.get() as i32);
        drop(group);
        if default == DefaultAction::Core {
            report(task, thread, signal, &info);
        }
        process::exit_thread(status);
    }
}

/// Names in the log who died of what (Linux: `show_unhandled_signals`).
#[cold]
fn report(task: &Task, thread: &Thread, signal: Signal, info: &SigInfo) {
    let comm = task.comm();
    let name = comm.split(|&byte| byte == 0).next().unwrap_or_default();
    log::info!(
        "{}[{}]: unhandled signal {} code {:#x} at {:#018x}",
        name.escape_ascii(),
        thread.tid(),
        signal.get(),
        info.code,
        info.fields[0]
    );
}

/// Sends the thread into a handler; when there is no room for its frame, a SIGSEGV follows.
fn handle(thread: &Thread, caught: &Caught, frame: &mut TrapFrame) {
    let set_up = frame::set_up(thread, caught.signal, &caught.info, &caught.action, frame);
    if set_up.is_err() {
        if caught.signal == Signal::SEGV {
            thread.process().group().actions.reset(Signal::SEGV);
        }
        force(SigInfo::from_kernel(Signal::SEGV));
        return;
    }
    thread.signals.set_saved(None);
    let mut blocked = thread.signals.blocked().or(caught.action.mask);
    if !caught.action.has(abi::SA_NODEFER) {
        blocked = blocked.with(caught.signal);
    }
    mask::set_blocked(blocked);
    let stack = thread.signals.alt_stack();
    if stack.flags & abi::SS_AUTODISARM != 0 {
        thread.signals.set_alt_stack(super::AltStack::NONE);
    }
}

/// Sends the running thread a signal that it cannot escape: blocked or ignored, it ends the process
/// (Linux: `force_sig_info`).
pub fn force(info: SigInfo) {
    let task = task::current();
    let (Some(thread), Some(signal)) = (&task.user, Signal::new(info.signo as u32)) else { return };
    let process = thread.process();
    let mut group = process.group();
    let blocked = thread.signals.blocked();
    let action = group.actions.get(signal);
    if blocked.contains(signal) || action.is_ignore() || signal == Signal::KILL {
        group.actions.set(signal, SigAction { handler: 0, ..action });
        thread.signals.store_blocked(blocked.without(signal));
    }
    if group.actions.get(signal).is_default() {
        group.unkillable = false;
    }
    // The kernel's own signals have no limit, and without memory they come without information.
    let _marked =
        super::send::send_locked(process, &mut group, super::send::For::Thread(task), info, u64::MAX);
    recalculate(&group, task, thread);
}

/// Sends the running thread the signal of a fault, past blocking and ignoring
/// (Linux: `force_sig_fault`). Interrupts are on.
pub fn force_fault(fault: UserFault) {
    if let Some(signal) = Signal::new(fault.signal) {
        force(SigInfo::fault(signal, fault.code, fault.addr));
    }
}
