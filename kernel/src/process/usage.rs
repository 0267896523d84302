//! How much time and how many faults processes used (Linux: `getrusage`, `thread_group_cputime`).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Process, Thread};
use crate::task::Task;

/// Nanoseconds of a clock tick as programs count (`USER_HZ` is 100).
pub const TICK: u64 = 10_000_000;

/// Nanoseconds as clock ticks.
pub const fn clock_ticks(nanos: u64) -> u64 {
    nanos / TICK
}

/// What was used.
#[derive(Clone, Copy, Default, Debug)]
pub struct Usage {
    /// Nanoseconds in user mode.
    pub utime: u64,
    /// Nanoseconds in the kernel.
    pub stime: u64,
    /// Faults served without I/O.
    pub minor_faults: u64,
    /// Faults that waited for I/O.
    pub major_faults: u64,
    /// Most memory in use at a time, in pages.
    pub max_rss: u64,
}

impl Usage {
    /// Adds what somebody else used.
    pub fn add(&mut self, other: &Self) {
        self.utime += other.utime;
        self.stime += other.stime;
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
        self.max_rss = self.max_rss.max(other.max_rss);
    }

    /// What a thread used.
    pub fn of_thread(task: &Task, thread: &Thread) -> Self {
        let (utime, stime) = task.cpu_times();
        Self {
            utime,
            stime,
            minor_faults: thread.faults.0.load(Relaxed),
            major_faults: thread.faults.1.load(Relaxed),
            max_rss: 0,
        }
    }
}

/// Sums that only grow.
#[derive(Default)]
struct Sum {
    utime: AtomicU64,
    stime: AtomicU64,
    minor_faults: AtomicU64,
    major_faults: AtomicU64,
    max_rss: AtomicU64,
}

impl Sum {
    fn add(&self, usage: &Usage) {
        self.utime.fetch_add(usage.utime, Relaxed);
        self.stime.fetch_add(usage.stime, Relaxed);
        self.minor_faults.fetch_add(usage.minor_faults, Relaxed);
        self.major_faults.fetch_add(usage.major_faults, Relaxed);
        self.max_rss.fetch_max(usage.max_rss, Relaxed);
    }

    fn get(&self) -> Usage {
        Usage {
            utime: self.utime.load(Relaxed),
            stime: self.stime.load(Relaxed),
            minor_faults: self.minor_faults.load(Relaxed),
            major_faults: self.major_faults.load(Relaxed),
            max_rss: self.max_rss.load(Relaxed),
        }
    }
}

/// What a process remembers of those that are gone.
#[derive(Default)]
pub struct Totals {
    threads: Sum,
    children: Sum,
}

impl Totals {
    /// Adds what a thread used that ends.
    pub fn add_thread(&self, usage: &Usage) {
        self.threads.add(usage);
    }

    /// Adds what a child used, with its own children, that was waited for.
    pub fn add_child(&self, usage: &Usage) {
        self.children.add(usage);
    }

    /// What the children that were waited for used.
    pub fn children(&self) -> Usage {
        self.children.get()
    }
}

/// What the threads of `process` used, those included that are gone.
pub fn of_threads(process: &Process) -> Usage {
    let group = process.group();
    let mut usage = process.usage.threads.get();
    for task in group.threads.iter() {
        if let Some(thread) = &task.user {
            usage.add(&Usage::of_thread(task, thread));
        }
    }
    usage
}

/// As [`of_threads`], with the memory that a living process uses. May sleep.
pub fn of_living(process: &Process) -> Usage {
    let mut usage = of_threads(process);
    if let Some(space) = process.space() {
        usage.max_rss = usage.max_rss.max(space.stat().high_rss);
    }
    usage
}

/// The time that the threads of `process` used in user mode and in the kernel, in nanoseconds.
pub fn of_process(process: &Process) -> (u64, u64) {
    let group = process.group();
    let gone = process.usage.threads.get();
    group.threads.iter().fold((gone.utime, gone.stime), |(user, kernel), task| {
        let (utime, stime) = task.cpu_times();
        (user + utime, kernel + stime)
    })
}
