//! A thread, of a program or of the kernel (Linux: `struct task_struct`).

use core::fmt;

use rux_machine::ThreadInfo;

use crate::process::Thread;

/// A thread. Lives in a `KArc`; `tp` points to it while it runs in the kernel, since `info` is first.
#[repr(C)]
pub struct Task {
    info: ThreadInfo,
    /// The thread's number; 0 for a kernel thread.
    pub tid: u32,
    /// What a user thread has beyond this; `None` for a kernel thread.
    pub user: Option<Thread>,
}

impl Task {
    /// The name, at most 15 bytes and a NUL (`comm`).
    pub fn comm(&self) -> [u8; 16] {
        unimplemented!()
    }

    /// Names the thread; what is over 15 bytes is cut.
    pub fn set_comm(&self, _name: &[u8]) {
        unimplemented!()
    }

    /// Whether [`crate::signal::deliver`] is to run before the thread is next in user mode, and sleeps that
    /// signals interrupt end (Linux: TIF_SIGPENDING).
    pub fn signal_pending(&self) -> bool {
        unimplemented!()
    }

    /// Sets [`Task::signal_pending`] and sees to it that the thread notices: wakes it from an
    /// interruptible sleep (if `fatal`, from a killable one too), interrupts it in user mode. Any context;
    /// takes the run queue's lock.
    pub fn notify_signal(&self, _fatal: bool) {
        unimplemented!()
    }

    /// Clears [`Task::signal_pending`]; by the thread itself, under the lock that guards its signals.
    pub fn clear_signal_pending(&self) {
        unimplemented!()
    }

    /// Time spent in user mode and in the kernel, in nanoseconds.
    pub fn cpu_times(&self) -> (u64, u64) {
        unimplemented!()
    }

    /// The letter that /proc/PID/stat shows: R, S, D, Z (ended).
    pub fn state_letter(&self) -> char {
        unimplemented!()
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("tid", &self.tid).finish_non_exhaustive()
    }
}

/// The running thread. The reference is good for as long as the thread runs: do not hand it to others.
pub fn current() -> &'static Task {
    unimplemented!()
}
