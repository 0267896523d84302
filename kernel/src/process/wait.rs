//! `wait4` and `waitid` (Linux: `kernel/exit.c`, `do_wait`).

use linux_raw_sys::general as abi;
use rux_mm::slab::KArc;

use super::exit::reap;
use super::usage::{self, Usage};
use super::{ExitState, Process, StopNews, Tasklist};
use crate::errno::{Errno, Result};
use crate::sched;
use crate::signal::Signal;
use crate::signal::info::{CLD_CONTINUED, CLD_EXITED, CLD_KILLED, CLD_STOPPED};

/// Which children are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// All.
    Any,
    /// The one with this number.
    Process(u32),
    /// Those of this process group.
    Group(u32),
}

/// What is wanted: `WNOHANG`, `WEXITED` and so on.
#[derive(Clone, Copy, Debug)]
pub struct Options(pub u32);

impl Options {
    const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

/// What a child has to report.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// The child.
    pub pid: u32,
    /// Its real user.
    pub uid: u32,
    /// As `wait4` stores it.
    pub status: i32,
    /// `si_code`, as `waitid` stores it.
    pub code: i32,
    /// `si_status`.
    pub value: i32,
    /// What it used, its own children included.
    pub usage: Usage,
}

/// Waits until one of the children has something to report; `None` with `WNOHANG` when none has.
///
/// # Errors
/// `ECHILD` when no child is meant, `ERESTARTSYS` when a signal comes.
pub fn wait(which: Which, options: Options) -> Result<Option<Report>> {
    let parent = super::current()?.process();
    let mut outcome = look(parent, which, options);
    if matches!(outcome, Ok(None)) && !options.has(abi::WNOHANG) {
        parent
            .child_changed
            .wait_event(|| {
                outcome = look(parent, which, options);
                !matches!(outcome, Ok(None))
            })
            .map_err(|_| Errno::ERESTARTSYS)?;
    }
    if matches!(outcome, Ok(Some(_))) {
        // What the child had is free again when its parent goes on.
        sched::settle();
    }
    outcome
}

fn meant(tasklist: &Tasklist, child: &Process, which: Which, options: Options) -> bool {
    let tree = child.tree.get(tasklist);
    let by_number = match which {
        Which::Any => true,
        Which::Process(pid) => child.pid() == pid,
        Which::Group(pgid) => tree.pgrp.nr() == pgid,
    };
    // A child whose end is told otherwise than by SIGCHLD is a clone.
    let is_clone = tree.exit_signal != Some(Signal::CHLD);
    by_number && (options.has(abi::__WALL) || is_clone == options.has(abi::__WCLONE))
}

/// Looks once.
fn look(parent: &Process, which: Which, options: Options) -> Result<Option<Report>> {
    let mut tasklist = Tasklist::lock();
    let mut any = false;
    let mut found = None;
    for child in parent.tree.get(&tasklist).children.iter() {
        if !meant(&tasklist, child, which, options) {
            continue;
        }
        any = true;
        let tree = child.tree.get(&tasklist);
        if tree.exit_state == ExitState::Zombie {
            if options.has(abi::WEXITED) {
                found = Some((child, end_of(child, tree.exit_code)));
                break;
            }
        } else if let Some(report) = changed(child, options) {
            return Ok(Some(report));
        }
    }
    let Some((child, report)) = found else {
        return if any { Ok(None) } else { Err(Errno::ECHILD) };
    };
    if !options.has(abi::WNOWAIT) {
        let child = parent.tree.get(&tasklist).children.hold(child);
        let freed: Option<(KArc<Process>, _)> = child.map(|child| {
            let held = reap(&mut tasklist, &child);
            (child, held)
        });
        drop(tasklist);
        drop(freed);
    }
    Ok(Some(report))
}

fn end_of(child: &Process, status: i32) -> Report {
    let (code, value) =
        if status & 0x7f == 0 { (CLD_EXITED, status >> 8 & 0xff) } else { (CLD_KILLED, status & 0x7f) };
    report(child, status, code, value)
}

fn report(child: &Process, status: i32, code: i32, value: i32) -> Report {
    let mut usage = usage::of_threads(child);
    usage.add(&child.usage.children());
    Report { pid: child.pid(), uid: child.cred().uid, status, code, value, usage }
}

/// A stop or its end that was not reported yet.
fn changed(child: &Process, options: Options) -> Option<Report> {
    let mut group = child.group();
    let (status, code, value) = match group.stop.unreported? {
        StopNews::Stopped(signal) if options.has(abi::WUNTRACED) && group.is_stopped() => {
            let signal = signal.get() as i32;
            (signal << 8 | 0x7f, CLD_STOPPED, signal)
        }
        StopNews::Continued if options.has(abi::WCONTINUED) => {
            (0xffff, CLD_CONTINUED, Signal::CONT.get() as i32)
        }
        _ => return None,
    };
    if !options.has(abi::WNOWAIT) {
        group.stop.unreported = None;
    }
    drop(group);
    Some(report(child, status, code, value))
}
