//! Waiting for what files have to say: event bits, wait points, and the table that a poll fills
//! (Linux: `fs/select.c`, `include/linux/poll.h`).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rux_mm::error::AllocError;

use crate::wait::{Interrupted, PollWait, WaitQueue};

bitflags::bitflags! {
    /// What a file is ready for; the values are poll(2)'s and epoll's.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Events: u32 {
        /// There is something to read, or its end.
        const IN = 1;
        /// Something out of the ordinary.
        const PRI = 2;
        /// A write would not wait.
        const OUT = 4;
        /// An error; always reported.
        const ERR = 8;
        /// The other side is gone; always reported.
        const HUP = 0x10;
        /// No such descriptor.
        const NVAL = 0x20;
        /// As `IN`.
        const RDNORM = 0x40;
        /// As `IN`, for what has bands.
        const RDBAND = 0x80;
        /// As `OUT`.
        const WRNORM = 0x100;
        /// As `OUT`, for what has bands.
        const WRBAND = 0x200;
        /// The other side will not write any more.
        const RDHUP = 0x2000;
    }
}

/// What select(2) calls readable.
pub const SELECT_IN: Events =
    Events::IN.union(Events::RDNORM).union(Events::RDBAND).union(Events::HUP).union(Events::ERR);
/// What select(2) calls writable.
pub const SELECT_OUT: Events = Events::OUT.union(Events::WRNORM).union(Events::WRBAND).union(Events::ERR);
/// What select(2) calls exceptional.
pub const SELECT_EX: Events = Events::PRI;

/// Where threads wait for a file to become ready. Counts its wake-ups, so that an edge-triggered epoll
/// tells a new event from one that it has reported.
pub struct WaitPoint {
    queue: WaitQueue,
    wakes: AtomicU64,
}

impl WaitPoint {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self { queue: WaitQueue::new(), wakes: AtomicU64::new(0) }
    }

    /// Waits until `condition`, which must not sleep, holds.
    ///
    /// # Errors
    /// A signal came.
    pub fn wait(&self, condition: impl FnMut() -> bool) -> Result<(), Interrupted> {
        self.queue.wait_event(condition)
    }

    /// The queue itself, for waits with a deadline.
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Wakes everybody, after what they wait for was made true. Any context.
    pub fn wake(&self) {
        self.wakes.fetch_add(1, Relaxed);
        self.queue.wake_all();
    }
}

impl Default for WaitPoint {
    fn default() -> Self {
        Self::new()
    }
}

/// What a poll learns from the files: where to wait.
pub struct PollTable<'a> {
    /// `None`: only a look, no wait.
    wait: Option<&'a mut PollWait>,
    /// Sum of the wake-ups so far of the points that the files named.
    pub wakes: u64,
    failed: bool,
}

impl<'a> PollTable<'a> {
    /// A table that collects wait points in `wait`.
    pub fn new(wait: &'a mut PollWait) -> Self {
        Self { wait: Some(wait), wakes: 0, failed: false }
    }

    /// A table that only looks.
    pub fn look() -> PollTable<'static> {
        PollTable { wait: None, wakes: 0, failed: false }
    }

    /// The file can be waited for at `point`, which is a part of the file.
    pub fn watch(&mut self, point: &WaitPoint) {
        self.wakes = self.wakes.wrapping_add(point.wakes.load(Relaxed));
        if let Some(wait) = &mut self.wait {
            // SAFETY: the point is a part of a file that whoever polls holds, until after `wait` is gone:
            // that is what `poll_file` asks of its callers.
            self.failed |= unsafe { wait.join(&point.queue) }.is_err();
        }
    }

    /// The files are ready enough: the rest need not be waited for.
    pub fn stop_waiting(&mut self) {
        self.wait = None;
    }

    /// Whether all points could be noted.
    pub fn result(&self) -> Result<(), AllocError> {
        if self.failed { Err(AllocError) } else { Ok(()) }
    }
}
