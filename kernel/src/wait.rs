//! Queues of sleeping threads (Linux: `kernel/sched/wait.c`).
//!
//! A waiter queues itself, then looks at its condition, then sleeps; who makes the condition true does
//! so before the wake-up. So none is lost. Wake-ups may come from interrupts; conditions run in
//! the sleeper with its state already set, so they must not sleep themselves.

/// A signal came before the condition (`EINTR`, or a restart).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted;

/// How a wait ended without its condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitError {
    /// A signal came.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

/// A queue of threads that wait for something.
#[derive(Debug)]
pub struct WaitQueue {}

impl WaitQueue {
    /// A queue without waiters.
    pub const fn new() -> Self {
        Self {}
    }

    /// Sleeps until `condition` holds or a signal comes.
    pub fn wait_event(&self, _condition: impl FnMut() -> bool) -> Result<(), Interrupted> {
        unimplemented!()
    }

    /// Sleeps until `condition` holds or a signal comes that ends the process.
    pub fn wait_killable(&self, _condition: impl FnMut() -> bool) -> Result<(), Interrupted> {
        unimplemented!()
    }

    /// Sleeps until `condition` holds.
    pub fn wait_uninterruptible(&self, _condition: impl FnMut() -> bool) {
        unimplemented!()
    }

    /// As [`WaitQueue::wait_event`], until `deadline` (see [`crate::time::now`]) at most.
    pub fn wait_deadline(
        &self,
        _deadline: Option<u64>,
        _condition: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        unimplemented!()
    }

    /// Wakes the longest waiter; says whether there was one.
    pub fn wake_one(&self) -> bool {
        unimplemented!()
    }

    /// Wakes all waiters.
    pub fn wake_all(&self) {
        unimplemented!()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// One thread's place on several queues at once, which `poll` needs: register on each queue that the
/// files name, look at the files, then [`PollWait::sleep`]. Dropping it leaves all queues.
#[derive(Debug)]
pub struct PollWait {}

impl PollWait {
    /// On no queue yet.
    pub fn new() -> Self {
        Self {}
    }

    /// Joins `queue`, which must live as long as `self` does.
    ///
    /// # Safety
    /// `queue` outlives `self`: the caller holds the file that the queue is in.
    pub unsafe fn join(&mut self, _queue: &WaitQueue) -> Result<(), rux_mm::error::AllocError> {
        unimplemented!()
    }

    /// Sleeps until one of the queues is woken after it was joined, or the deadline.
    pub fn sleep(&mut self, _deadline: Option<u64>) -> Result<(), WaitError> {
        unimplemented!()
    }
}

impl Default for PollWait {
    fn default() -> Self {
        Self::new()
    }
}
