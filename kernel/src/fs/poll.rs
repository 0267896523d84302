//! Waiting for what files have to say: event bits, wait points, and the table that a poll fills
//! (Linux: `fs/select.c`, `include/linux/poll.h`).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};

use super::epoll;
use super::file::File;
use crate::wait::{Interrupted, PollWait, WaitError, WaitQueue};

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

/// A thread that polls: its places on the queues, and the files that it must hold meanwhile.
pub struct Poller {
    // Before the files, so that the places are given up before the queues may go.
    wait: PollWait,
    held: KVec<KArc<File>>,
}

impl Poller {
    /// On no queue yet.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> Result<Self, AllocError> {
        Ok(Self { wait: PollWait::new()?, held: KVec::new() })
    }

    /// Sleeps until one of the files has something new, or the deadline.
    ///
    /// # Errors
    /// A signal came, or the deadline passed.
    pub fn sleep(&mut self, deadline: Option<u64>) -> Result<(), WaitError> {
        self.wait.sleep(deadline)
    }
}

/// What a poll learns from the files: where to wait.
pub struct PollTable<'a> {
    /// `None`: only a look, no wait.
    poller: Option<&'a mut Poller>,
    /// Sum of the wake-ups so far of the points that the files named.
    pub wakes: u64,
    /// In how many sets of files (epoll) the file is that is asked.
    pub(super) depth: u32,
    /// The sets in sets that were asked, by address, with their answers and wake-ups: many ways may lead to one.
    answers: KVec<(KArc<File>, Events, u64)>,
    /// For want of memory not all points could be noted.
    pub(super) failed: bool,
}

impl<'a> PollTable<'a> {
    /// A table that puts the thread on the queues of the files.
    pub fn new(poller: &'a mut Poller) -> Self {
        Self { poller: Some(poller), wakes: 0, depth: 0, answers: KVec::new(), failed: false }
    }

    /// A table that only looks.
    pub fn look() -> PollTable<'static> {
        PollTable { poller: None, wakes: 0, depth: 0, answers: KVec::new(), failed: false }
    }

    /// Asks `file` what it is ready for; it is held until the poll is over.
    pub fn ask(&mut self, file: &KArc<File>) -> Events {
        if let Some(poller) = &mut self.poller {
            self.failed |= poller.held.push(file.clone(), Gfp::KERNEL).is_err();
        }
        if self.failed {
            // Without a place on its queue nobody may sleep for it: the caller sees the failure.
            return Events::empty();
        }
        if self.depth == 0 || !epoll::is_set(file) {
            return file.ops().poll(file, self);
        }
        let key = |answer: &(KArc<File>, Events, u64)| KArc::as_ptr(&answer.0).addr();
        let find = |table: &Self| table.answers.binary_search_by_key(&KArc::as_ptr(file).addr(), key);
        if let Ok(at) = find(self) {
            let (_, events, wakes) = self.answers[at];
            self.wakes = self.wakes.wrapping_add(wakes);
            return events;
        }
        let before = core::mem::take(&mut self.wakes);
        let events = file.ops().poll(file, self);
        if let Err(at) = find(self) {
            self.failed |= self.answers.insert(at, (file.clone(), events, self.wakes), Gfp::KERNEL).is_err();
        }
        self.wakes = self.wakes.wrapping_add(before);
        events
    }

    /// The file can be waited for at `point`, which is a part of the file.
    pub fn watch(&mut self, point: &WaitPoint) {
        self.wakes = self.wakes.wrapping_add(point.wakes.load(Relaxed));
        if let Some(poller) = &mut self.poller {
            // SAFETY: the point is a part of a file that `ask` holds, in the very poller, until the
            // places on the queues are gone.
            self.failed |= unsafe { poller.wait.join(&point.queue) }.is_err();
        }
    }

    /// As [`PollTable::watch`], for a queue that is always there; `wakes` counts what it is woken for.
    pub fn watch_queue(&mut self, queue: &'static WaitQueue, wakes: u64) {
        self.wakes = self.wakes.wrapping_add(wakes);
        if let Some(poller) = &mut self.poller {
            // SAFETY: the queue is never gone.
            self.failed |= unsafe { poller.wait.join(queue) }.is_err();
        }
    }

    /// Enough is ready: the rest need not be waited for.
    pub fn stop_waiting(&mut self) {
        self.poller = None;
    }

    /// Whether all points could be noted.
    ///
    /// # Errors
    /// No memory.
    pub fn result(&self) -> Result<(), AllocError> {
        if self.failed { Err(AllocError) } else { Ok(()) }
    }
}
