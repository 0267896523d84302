//! Advisory locks on files: flock(2), and the record locks of fcntl(2) by process and by open file
//! (Linux: `fs/locks.c`). The kinds do not see each other.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rux_mm::gfp::Gfp;
use rux_mm::slab::KVec;
use rux_mm::sync::{Rank, SpinGuard, SpinLock};

use crate::errno::{Errno, Result};
use crate::process::Thread;
use crate::task;
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

/// One who waits for a record lock (Linux: `blocked_hash`).
struct Wait {
    /// The thread.
    tid: u32,
    owner: usize,
    /// Whose lock is in the way.
    holder: usize,
    /// The address of the inode's [`FileLocks`].
    at: usize,
}

/// All of them; none whose lock has changed since.
static WAITS: SpinLock<KVec<Wait>> = SpinLock::new(Rank::Kernel, KVec::new());

/// How far a chain of those who wait for each other is followed (Linux: `MAX_DEADLK_ITERATIONS`).
const LONGEST_CHAIN: usize = 10;

/// The running thread is in [`WAITS`].
struct Waiting(u32);

impl Waiting {
    /// `wait` is about to begin; the locks of its inode are locked.
    ///
    /// # Errors
    /// `EDEADLK` when the holder waits for the owner already, perhaps through others; `ENOLCK` without memory.
    fn start(wait: Wait) -> Result<Self> {
        let mut waits = WAITS.lock();
        let mut at = wait.holder;
        for _ in 0..=LONGEST_CHAIN {
            match waits.iter().find(|other| other.owner == at) {
                Some(other) if other.holder == wait.owner => return Err(Errno::EDEADLK),
                Some(other) => at = other.holder,
                None => break,
            }
        }
        let this = Self(wait.tid);
        waits.push(wait, Gfp::NOWAIT).map_err(|_| Errno::ENOLCK)?;
        Ok(this)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waits = WAITS.lock();
        if let Some(at) = waits.iter().position(|wait| wait.tid == self.0) {
            waits.swap_remove(at);
        }
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
    /// How often locks were given up or changed: who waits looks again.
    changes: AtomicU64,
    freed: WaitQueue,
}

impl FileLocks {
    /// None.
    pub const fn new() -> Self {
        Self {
            held: SpinLock::new(Rank::Names, KVec::new()),
            changes: AtomicU64::new(0),
            freed: WaitQueue::new(),
        }
    }

    /// The first lock of others that `wanted` conflicts with (`F_GETLK`).
    pub fn conflict(&self, wanted: &Lock) -> Option<Lock> {
        self.held.lock().iter().find(|held| held.conflicts(wanted)).copied()
    }

    /// Takes `wanted`, in place of what its owner has of the range.
    ///
    /// # Errors
    /// `EAGAIN`, `ERESTARTSYS`, `ENOLCK` without memory, `EDEADLK` where processes would wait for each other.
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
            if changed {
                self.changed(held);
            }
        }
        loop {
            let mut held = self.held.lock();
            let Some(holder) = held.iter().find(|held| held.conflicts(wanted)).map(|held| held.owner) else {
                Self::cut(&mut held, wanted)?;
                held.push(*wanted, Gfp::NOWAIT).map_err(|_| Errno::ENOLCK)?;
                // A lock that became shared may let others in.
                self.changed(held);
                return Ok(());
            };
            if patience == Patience::Try {
                return Err(Errno::EAGAIN);
            }
            // Locks of open files may be given up by any thread that has the file: nobody can tell who waits.
            let _waiting = match wanted.family {
                Family::Record if wanted.pid >= 0 => Some(Waiting::start(Wait {
                    tid: task::current().user.as_ref().map_or(0, Thread::tid),
                    owner: wanted.owner,
                    holder,
                    at: core::ptr::from_ref(self).addr(),
                })?),
                _ => None,
            };
            let seen = self.changes.load(Relaxed);
            drop(held);
            let changed = || self.changes.load(Relaxed) != seen;
            self.freed.wait_event(changed).map_err(|_| Errno::ERESTARTSYS)?;
        }
    }

    /// Locks were given up or changed: who waits for one of this inode looks again, and waits for nobody until then.
    fn changed(&self, held: SpinGuard<'_, KVec<Lock>>) {
        self.changes.fetch_add(1, Relaxed);
        let at = core::ptr::from_ref(self).addr();
        WAITS.lock().retain(|wait| wait.at != at);
        drop(held);
        self.freed.wake_all();
    }

    /// Gives up what `range`'s owner has of the range.
    ///
    /// # Errors
    /// `ENOLCK` when a lock falls into two and there is no memory for the second.
    pub fn release(&self, range: &Lock) -> Result<()> {
        let mut held = self.held.lock();
        Self::cut(&mut held, range)?;
        self.changed(held);
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
        self.changed(held);
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
