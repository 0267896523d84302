//! What the threads of a process share about signals, stops and the end (Linux: `signal_struct`).
//!
//! All of it is under one lock that interrupts may take, as signals come from anywhere.

use rux_mm::slab::KArc;

use super::list::List;
use super::thread::ThreadTag;
use crate::signal::{Actions, Pending, SigSet, Signal};
use crate::task::Task;

/// See the head of the room.
pub struct Group {
    /// The threads that have not gone through their end.
    pub threads: List<Task, ThreadTag>,
    /// Signals for whichever thread takes them.
    pub pending: Pending,
    /// What is to be done on each signal.
    pub actions: KArc<Actions>,
    /// The status that all threads end with, once that is decided.
    pub exit: Option<i32>,
    /// The number of the thread that execs: all others are to end.
    pub exec: Option<u32>,
    /// The first process: signals without a handler do nothing to it (Linux: SIGNAL_UNKILLABLE).
    pub unkillable: bool,
    /// Stopping, stopped, going on.
    pub stop: Stop,
}

/// What a parent is to be told about a stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopNews {
    /// All threads stopped, on this signal.
    Stopped(Signal),
    /// They go on.
    Continued,
}

/// How far a stop of all threads is.
#[derive(Clone, Copy, Default, Debug)]
pub struct Stop {
    /// The signal that the threads stop or stand on.
    pub signal: Option<Signal>,
    /// Threads that are yet to stop.
    pub left: usize,
    /// A stop signal was taken out and not yet acted upon; `SIGCONT` takes it back.
    pub dequeued: bool,
    /// What `wait` has not reported yet.
    pub unreported: Option<StopNews>,
    /// What the parent has not been told yet; the next thread on its way to user mode does.
    pub untold: Option<StopNews>,
}

impl Group {
    /// Of a process without threads so far.
    pub fn new(actions: KArc<Actions>) -> Self {
        Self {
            threads: List::new(),
            pending: Pending::new(),
            actions,
            exit: None,
            exec: None,
            unkillable: false,
            stop: Stop::default(),
        }
    }

    /// Ends all threads with `status`, unless the end is decided already; says with which status. The
    /// threads find out on their way to user mode (Linux: `zap_other_threads`).
    pub fn kill_all(&mut self, status: i32) -> i32 {
        let status = *self.exit.get_or_insert(status);
        self.stop = Stop::default();
        for task in self.threads.iter() {
            Self::kill_one(task);
        }
        status
    }

    /// Ends all threads but the one numbered `tid`, as exec asks.
    pub fn kill_others(&mut self, tid: u32) {
        for task in self.threads.iter() {
            if task.user.as_ref().is_some_and(|thread| thread.tid() != tid) {
                Self::kill_one(task);
            }
        }
    }

    fn kill_one(task: &Task) {
        if let Some(thread) = &task.user {
            thread.signals.kill();
            task.notify_signal(true);
        }
    }

    /// Whether all threads stand stopped.
    pub const fn is_stopped(&self) -> bool {
        self.stop.signal.is_some() && self.stop.left == 0
    }

    /// Signals that wait for the process as a whole.
    pub const fn pending_set(&self) -> SigSet {
        self.pending.set()
    }
}
