//! Advisory locks on files: flock(2), and the record locks of fcntl(2) by process and by open file
//! (Linux: `fs/locks.c`). The kinds do not see each other.

use rux_mm::gfp::Gfp;
use rux_mm::slab::KVec;
use rux_mm::sync::{Rank, SpinLock};

use crate::errno::{Errno, Result};
use crate::wait::WaitQueue;

/// Which system call's lock it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// flock(2): the whole file, owned by an open file.
    Flock,
    /// fcntl(2): a range, owned by a table of descriptors or by an open file.
    Record,
}

/// Shared with others of its kind, or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// `LOCK_SH`, `F_RDLCK`.
    Shared,
    /// `LOCK_EX`, `F_WRLCK`.
    Exclusive,
}

/// One lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lock {
    /// Which family.
    pub family: Family,
    /// Who holds it: an address that stands for a table or an open file.
    pub owner: usize,
    /// Shared or not.
    pub mode: Mode,
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
    /// The process that took it, for `F_GETLK`; -1 for locks of open files.
    pub pid: i32,
}

impl Lock {
    fn overlaps(&self, other: &Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    fn conflicts(&self, other: &Self) -> bool {
        self.family == other.family
            && self.owner != other.owner
            && (self.mode == Mode::Exclusive || other.mode == Mode::Exclusive)
            && self.overlaps(other)
    }
}

/// Whether a lock that is not to be had at once is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// `EAGAIN` instead.
    Try,
    /// Until a signal comes.
    Wait,
}

impl Default for FileLocks {
    fn default() -> Self {
        Self::new()
    }
}

/// The locks on one inode.
pub struct FileLocks {
    held: SpinLock<KVec<Lock>>,
    freed: WaitQueue,
}

impl FileLocks {
    /// None.
    pub const fn new() -> Self {
        Self { held: SpinLock::new(Rank::Names, KVec::new()), freed: WaitQueue::new() }
    }

    /// The first lock of others that `wanted` conflicts with (`F_GETLK`).
    pub fn conflict(&self, wanted: &Lock) -> Option<Lock> {
        self.held.lock().iter().find(|held| held.conflicts(wanted)).copied()
    }

    /// Takes `wanted`, in place of what its owner has of the range.
    ///
    /// # Errors
    /// `EAGAIN`, `ERESTARTSYS`, `ENOLCK` without memory.
    pub fn take(&self, wanted: &Lock, patience: Patience) -> Result<()> {
        if wanted.family == Family::Flock {
            // A lock that changes its mode is given up first, even if the new one is not to be had.
            let same = |held: &Lock| held.family == Family::Flock && held.owner == wanted.owner;
            let mut held = self.held.lock();
            if held.iter().any(|held| same(held) && held.mode == wanted.mode) {
                return Ok(());
            }
            let before = held.len();
            held.retain(|held| !same(held));
            let changed = held.len() != before;
            drop(held);
            if changed {
                self.freed.wake_all();
            }
        }
        loop {
            let mut held = self.held.lock();
            if !held.iter().any(|held| held.conflicts(wanted)) {
                Self::cut(&mut held, wanted)?;
                held.push(*wanted, Gfp::NOWAIT).map_err(|_| Errno::ENOLCK)?;
                drop(held);
                // A lock that became shared may let others in.
                self.freed.wake_all();
                return Ok(());
            }
            drop(held);
            if patience == Patience::Try {
                return Err(Errno::EAGAIN);
            }
            self.freed.wait_event(|| self.conflict(wanted).is_none()).map_err(|_| Errno::ERESTARTSYS)?;
        }
    }

    /// Gives up what `range`'s owner has of the range.
    ///
    /// # Errors
    /// `ENOLCK` when a lock falls into two and there is no memory for the second.
    pub fn release(&self, range: &Lock) -> Result<()> {
        Self::cut(&mut self.held.lock(), range)?;
        self.freed.wake_all();
        Ok(())
    }

    /// Takes the range out of the owner's locks.
    fn cut(held: &mut KVec<Lock>, range: &Lock) -> Result<()> {
        let own =
            |lock: &Lock| lock.family == range.family && lock.owner == range.owner && lock.overlaps(range);
        let splits =
            held.iter().filter(|lock| own(lock) && lock.start < range.start && lock.end > range.end).count();
        held.reserve(splits + 1, Gfp::NOWAIT).map_err(|_| Errno::ENOLCK)?;
        for n in 0..held.len() {
            let lock = held[n];
            if own(&lock) && lock.start < range.start && lock.end > range.end {
                held.push(Lock { start: range.end + 1, ..lock }, Gfp::NOWAIT).map_err(|_| Errno::ENOLCK)?;
                held[n].end = range.start - 1;
            }
        }
        held.retain(|lock| {
            if !own(lock) {
                return true;
            }
            if lock.start < range.start {
                lock.end = range.start - 1;
                return true;
            }
            if lock.end > range.end {
                lock.start = range.end + 1;
                return true;
            }
            false
        });
        Ok(())
    }

    fn release_all(&self, gone: impl Fn(&Lock) -> bool) {
        let mut held = self.held.lock();
        if held.is_empty() {
            return;
        }
        held.retain(|lock| !gone(lock));
        drop(held);
        self.freed.wake_all();
    }

    /// A descriptor of the file was closed in the table at `owner`: its record locks go.
    pub fn release_posix(&self, owner: usize) {
        self.release_all(|lock| lock.family == Family::Record && lock.owner == owner);
    }

    /// The open file at `owner` is closed: all that it held goes.
    pub fn release_file(&self, owner: usize) {
        self.release_all(|lock| lock.owner == owner);
    }
}
