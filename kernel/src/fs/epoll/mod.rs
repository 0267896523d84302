//! epoll: a set of files that is polled together (Linux: `fs/eventpoll.c`).
//!
//! The set does not keep a file open: each file knows the sets that it is in and takes itself out when it
//! is closed. A wait asks every file of the set; what an edge-triggered entry has told already is known
//! by the count of wake-ups of the file.

mod nest;

use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KBox, KVec};
use rux_mm::sync::{Mutex, Rank, SpinLock};

use self::nest::{Edges, Place};
use super::poll::{Events, PollTable, Poller, WaitPoint};
use super::types::oflag::*;
use super::{
    anon, current,
    file::{File, FileOps},
};
use crate::errno::{Errno, Result};
use crate::process::cred::Cred;
use crate::wait::WaitError;

const EPOLLEXCLUSIVE: u32 = 1 << 28;
const EPOLLWAKEUP: u32 = 1 << 29;
const EPOLLONESHOT: u32 = 1 << 30;
const EPOLLET: u32 = 1 << 31;
/// Bits that say how, not what.
const HOW: u32 = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET;

/// What a program asks for one descriptor, and gets back: events and a word of its own.
#[derive(Clone, Copy, Debug)]
pub struct Interest {
    /// `EPOLL*`.
    pub events: u32,
    /// Given back as it is.
    pub data: u64,
}

struct Item {
    fd: i32,
    /// An open file that has this set in its list: it takes the item out before it goes.
    file: *const File,
    interest: Interest,
    /// The wake-ups that the last report has told of, for an edge-triggered entry.
    told: Option<u64>,
}

// SAFETY: the pointer is only followed by `hold`, under the lock that the file takes before it goes.
unsafe impl Send for Item {}

impl Item {
    /// The file, unless it is being closed.
    fn hold(&self) -> Option<KArc<File>> {
        // SAFETY: the set is locked, and a file takes itself out of it, under that lock, before its
        // memory goes.
        unsafe { KArc::try_clone_raw(self.file) }
    }
}

/// A set of files.
pub struct Epoll {
    items: Mutex<KVec<Item>>,
    /// The set changed.
    changed: WaitPoint,
    /// The sets that it is in.
    place: Place,
}

/// The sets that a file is in.
pub struct Memberships(SpinLock<KVec<KArc<Epoll>>>);

impl Memberships {
    /// None.
    pub const fn new() -> Self {
        Self(SpinLock::new(Rank::Names, KVec::new()))
    }

    fn add(&self, epoll: &KArc<Epoll>) -> core::result::Result<(), AllocError> {
        self.0.lock().push(epoll.clone(), Gfp::NOWAIT)
    }

    fn remove(&self, epoll: &Epoll) {
        let mut sets = self.0.lock();
        let gone = sets
            .iter()
            .position(|set| core::ptr::eq(KArc::as_ptr(set), epoll))
            .map(|at| sets.swap_remove(at));
        drop(sets);
        drop(gone);
    }

    /// The file at `file` is closed: it leaves all sets.
    pub(super) fn leave_all(&mut self, file: *const File) {
        for epoll in core::mem::take(self.0.get_mut()) {
            epoll.items.lock().retain(|item| !core::ptr::eq(item.file, file));
        }
    }
}

impl Default for Memberships {
    fn default() -> Self {
        Self::new()
    }
}

impl Epoll {
    /// The events of the items that are ready, at most `max`. With a poller the thread is put on the
    /// queues of all files.
    fn collect(&self, max: usize, poller: Option<&mut Poller>) -> Result<KVec<Interest>> {
        let mut table = match poller {
            Some(poller) => PollTable::new(poller),
            None => PollTable::look(),
        };
        table.watch(&self.changed);
        let mut files = KVec::new();
        {
            let items = self.items.lock();
            files.reserve(items.len(), Gfp::KERNEL)?;
            for item in items.iter() {
                if let Some(file) = item.hold() {
                    files.push((item.fd, item.interest, item.told, file), Gfp::KERNEL)?;
                }
            }
        }
        let mut ready = KVec::new();
        for (fd, interest, told, file) in files.iter() {
            let wanted = interest.events & !HOW;
            if wanted == 0 && interest.events & EPOLLONESHOT != 0 {
                continue;
            }
            table.wakes = 0;
            let events = table.ask(file).bits() & (wanted | (Events::ERR | Events::HUP).bits());
            let stale = interest.events & EPOLLET != 0 && *told == Some(table.wakes);
            if events == 0 || stale || ready.len() >= max {
                continue;
            }
            table.stop_waiting();
            ready.push(Interest { events, data: interest.data }, Gfp::KERNEL)?;
            self.note_told(*fd, file, table.wakes);
        }
        table.result()?;
        Ok(ready)
    }

    /// An item was reported: a one-shot is disarmed, an edge-triggered one has told.
    fn note_told(&self, fd: i32, file: &KArc<File>, wakes: u64) {
        let mut items = self.items.lock();
        if let Some(item) = items.iter_mut().find(|i| i.fd == fd && core::ptr::eq(i.file, KArc::as_ptr(file)))
        {
            item.told = Some(wakes);
            if item.interest.events & EPOLLONESHOT != 0 {
                item.interest.events &= HOW;
            }
        }
    }

    /// Waits for events, until `deadline` at most; an empty answer is a time-out.
    ///
    /// # Errors
    /// `EINTR`, `ENOMEM`.
    pub fn wait(&self, max: usize, look_only: bool, deadline: Option<u64>) -> Result<KVec<Interest>> {
        loop {
            if look_only {
                return self.collect(max, None);
            }
            let mut poller = Poller::new()?;
            let ready = self.collect(max, Some(&mut poller))?;
            if !ready.is_empty() {
                return Ok(ready);
            }
            match poller.sleep(deadline) {
                Ok(()) => {}
                Err(WaitError::TimedOut) => return Ok(KVec::new()),
                Err(WaitError::Interrupted) => return Err(Errno::EINTR),
            }
        }
    }
}

/// What epoll_ctl(2) does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// `EPOLL_CTL_ADD`.
    Add,
    /// `EPOLL_CTL_DEL`.
    Delete,
    /// `EPOLL_CTL_MOD`.
    Modify,
}

struct EpollFile(KArc<Epoll>);

impl EpollFile {
    fn of(file: &File) -> Result<&Self> {
        file.ops().as_any().downcast_ref().ok_or(Errno::EINVAL)
    }
}

/// Whether `file` is a set.
pub(super) fn is_set(file: &File) -> bool {
    EpollFile::of(file).is_ok()
}

/// The set behind an open file.
///
/// # Errors
/// `EINVAL` for another file.
pub fn set_of(file: &File) -> Result<KArc<Epoll>> {
    Ok(EpollFile::of(file)?.0.clone())
}

/// epoll_ctl(2) on the set `epoll`.
///
/// # Errors
/// Those of epoll_ctl(2).
pub fn control(
    epoll: &KArc<Epoll>,
    op: Operation,
    fd: i32,
    file: &KArc<File>,
    interest: Interest,
) -> Result<()> {
    if !file.ops().pollable() {
        return Err(Errno::EPERM);
    }
    let inner = EpollFile::of(file).ok().map(|inner| &*inner.0);
    if inner.is_some_and(|inner| core::ptr::eq(inner, KArc::as_ptr(epoll))) {
        return Err(Errno::EINVAL);
    }
    let mut edges = inner.filter(|_| op == Operation::Add).map(|_| Edges::lock());
    if let (Some(edges), Some(inner)) = (&mut edges, inner) {
        edges.check(epoll, inner)?;
    }
    let pointer = KArc::as_ptr(file);
    let same = |item: &Item| item.fd == fd && core::ptr::eq(item.file, pointer);
    let mut items = epoll.items.lock();
    let found = items.iter().position(same);
    match (op, found) {
        (Operation::Add, Some(_)) => return Err(Errno::EEXIST),
        (Operation::Add, None) => {
            items.reserve(1, Gfp::KERNEL)?;
            if let Some(inner) = inner {
                inner.place.enter(epoll)?;
            }
            if let Err(error) = file.epolls.add(epoll) {
                if let Some(inner) = inner {
                    inner.place.leave(epoll);
                }
                return Err(error.into());
            }
            items.push(Item { fd, file: pointer, interest, told: None }, Gfp::KERNEL)?;
        }
        (_, None) => return Err(Errno::ENOENT),
        (Operation::Delete, Some(at)) => {
            items.remove(at);
            file.epolls.remove(epoll);
            if let Some(inner) = inner {
                inner.place.leave(epoll);
            }
        }
        (Operation::Modify, Some(at)) => {
            if items[at].interest.events & EPOLLEXCLUSIVE != 0 {
                return Err(Errno::EINVAL);
            }
            (items[at].interest, items[at].told) = (interest, None);
        }
    }
    drop(items);
    epoll.changed.wake();
    Ok(())
}

impl FileOps for EpollFile {
    fn poll(&self, _file: &File, table: &mut PollTable<'_>) -> Events {
        debug_assert!(table.depth <= nest::MAX_DEPTH, "as `Edges::check` keeps it");
        table.watch(&self.0.changed);
        let mut files: KVec<(u32, Option<u64>, KArc<File>)> = KVec::new();
        {
            let items = self.0.items.lock();
            // Room first: a file that is held already must not be let go here, as its end takes this lock.
            if files.reserve(items.len(), Gfp::KERNEL).is_err() {
                table.failed = true;
                return Events::empty();
            }
            for item in items.iter() {
                if let Some(file) = item.hold() {
                    let pushed = files.push((item.interest.events, item.told, file), Gfp::KERNEL);
                    debug_assert!(pushed.is_ok(), "there was room");
                }
            }
        }
        table.depth += 1;
        let mut ready = Events::empty();
        let mut wakes = table.wakes;
        for (events, told, file) in files.iter() {
            // As long as there are entries below; who is killed does not see the answer.
            if current::is_killed() {
                table.failed = true;
                break;
            }
            let wanted = (events & !HOW) | (Events::ERR | Events::HUP).bits();
            table.wakes = 0;
            let found = table.ask(file).bits() & wanted;
            let stale = events & EPOLLET != 0 && *told == Some(table.wakes);
            wakes = wakes.wrapping_add(table.wakes);
            if found != 0 && !stale {
                ready = Events::IN | Events::RDNORM;
            }
        }
        table.depth -= 1;
        table.wakes = wakes;
        ready
    }

    fn pollable(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

impl Drop for EpollFile {
    fn drop(&mut self) {
        self.0.place.leave_all();
        // The files let go of the set, which would otherwise live as long as they do.
        loop {
            let mut items = self.0.items.lock();
            let Some(item) = items.pop() else { return };
            let file = item.hold();
            drop(items);
            if let Some(file) = file {
                file.epolls.remove(&self.0);
                if let Ok(inner) = Self::of(&file) {
                    inner.0.place.leave(&self.0);
                }
            }
        }
    }
}

/// A new set.
///
/// # Errors
/// `ENFILE`, `ENOMEM`.
pub fn create(cred: &KArc<Cred>) -> Result<KArc<File>> {
    let epoll = Epoll {
        items: Mutex::new(Rank::KernelMutex, KVec::new()),
        changed: WaitPoint::new(),
        place: Place::new(),
    };
    let epoll = KArc::new(epoll, Gfp::KERNEL)?;
    let ops = rux_mm::kbox_dyn!(KBox::new(EpollFile(epoll), Gfp::KERNEL)? => dyn FileOps);
    anon::open("[eventpoll]", ops, O_RDWR, cred)
}
