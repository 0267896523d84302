//! The written lock order and its check (Linux: the head of `mm/rmap.c`, and lockdep).
//!
//! A thread may take a lock only if its rank stands below (is declared after) all that it holds. Two
//! of one rank: only by [`Nesting::ByAddress`]. The check needs no history, so it fails the first
//! time that code of the wrong shape runs, not the first time that it deadlocks. An interrupt's
//! locks count on top of the interrupted thread's.

macro_rules! ranks {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Where a lock stands in the order, outermost first. Add a line where the new lock belongs.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[repr(u8)]
        pub enum Rank { $($(#[$doc])* $name,)* }

        impl Rank {
            /// All, outermost first.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

ranks! {
    // Of the kernel around: taken before anything of `mm`, and held while user memory is copied.
    /// How sets of polled files are in each other (sleeps).
    PollSets,
    /// An open file's position (sleeps).
    FilePosition,
    /// The text of an open file of procfs (sleeps).
    ProcText,
    /// A file system's renames of directories, one at a time (sleeps).
    Rename,
    /// The mount table (sleeps).
    Namespace,
    /// A directory's entries, the parent's before the child's (sleeps).
    Directory,
    /// A file's contents and size (sleeps).
    Inode,
    /// A pipe's ends and bytes (sleeps).
    Pipe,
    /// A terminal's line discipline (sleeps).
    Tty,
    /// One execve or credential change of a process at a time (sleeps).
    Exec,
    /// A futex or other object that sleeps and outranks mmap_lock.
    KernelMutex,
    /// A table of descriptors (sleeps).
    Files,

    // Address spaces. Held while a fault waits only in the ways that `fault` says.
    /// `mmap_lock` of one address space (sleeps).
    Mmap,
    /// One VMA's lock: a fault has one for reading, and no `mmap_lock` then; a writer, who has `mmap_lock`, waits for
    /// each that it locks, and is not counted as holding it (sleeps).
    Vma,
    /// A folio's lock bit (sleeps).
    Folio,
    /// A file mapping's tree of VMAs.
    IMmap,
    /// The root lock of a family of anonymous VMAs.
    AnonVma,
    /// A page table's split lock: the upper table's before the lower's, two of a level by address.
    PageTable,
    /// The page index of one mapping.
    PageIndex,

    // Of the kernel around: never held while memory is touched that may fault or be allocated
    // with a `Gfp` that sleeps.
    /// Mount points, current directories, names and attributes of files: looked up, never waited under.
    Names,
    /// The tree of processes, groups and sessions.
    Process,
    /// Signal actions and what is pending.
    Signal,
    /// The signals of one thread.
    ThreadSignal,
    /// Signal actions, which processes may share.
    SignalActions,
    /// What a thread or a process points to: credentials, files, address space.
    ThreadField,
    /// The table of process numbers.
    PidTable,
    /// The accounts of users.
    Users,
    /// Timers of processes.
    PosixTimer,
    /// Other spinning locks of the kernel that allocate.
    Kernel,
    /// Devices' queues and registers.
    Device,

    // Leaves: may be taken under any of the above, also by interrupts.
    /// A hash bucket of futexes.
    Futex,
    /// A wait queue's list.
    WaitQueue,
    /// Who waits for a sleeping lock.
    SemQueue,
    /// A bucket of sleepers by address (`cold::park`).
    Park,
    /// The lists that pages age on: the last put of a page takes it off, wherever that is.
    Lru,
    /// Caches that wait to be made, and the list of them.
    SlabCaches,
    /// The list of partly used slabs of one cache.
    Slab,
    /// Working out the zones' watermarks.
    Watermarks,
    /// A zone's free lists.
    Zone,
    /// Address space identifiers.
    Asid,
    /// Callbacks that wait for a grace period.
    Rcu,
    /// A hart's timer queue.
    Timer,
    /// A hart's run queue; two of them by address.
    RunQueue,
    /// Requests that other harts are to serve.
    Ipi,
    /// The log's ring.
    Log,
    /// The serial console.
    Console,
}

/// Whether a lock of a rank that the thread holds already may be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nesting {
    /// No.
    None,
    /// Yes, if its address is above that of the others of its rank.
    ByAddress,
}

/// Notes that the thread is about to take the lock of rank `rank` at address `addr`. Locks that are
/// not built on this room's (a folio's lock bit) call it themselves.
///
/// # Panics
/// In a debug build, when that breaks the order.
#[inline(always)]
#[track_caller]
pub fn acquire(rank: Rank, addr: usize, nesting: Nesting) {
    #[cfg(debug_assertions)]
    held::push(rank, addr, Some(nesting));
    #[cfg(not(debug_assertions))]
    let _ = (rank, addr, nesting);
}

/// As [`acquire`], for a lock that was had by trying: the order need not hold, as nothing waited.
#[inline(always)]
#[track_caller]
pub fn acquire_tried(rank: Rank, addr: usize) {
    #[cfg(debug_assertions)]
    held::push(rank, addr, None);
    #[cfg(not(debug_assertions))]
    let _ = (rank, addr);
}

/// Notes that the thread gave back the lock at `addr`.
#[inline(always)]
#[track_caller]
pub fn release(addr: usize) {
    #[cfg(debug_assertions)]
    held::pop(addr);
    #[cfg(not(debug_assertions))]
    let _ = addr;
}

/// Says that the caller may sleep.
///
/// # Panics
/// In a debug build, when pre-emption or interrupts are off.
#[inline(always)]
#[track_caller]
pub fn might_sleep() {
    #[cfg(debug_assertions)]
    held::check_sleep();
}

#[cfg(debug_assertions)]
mod held {
    use core::sync::atomic::Ordering::Relaxed;

    use rux_machine::{Hot, Hw, IrqGuard, MAX_HELD_LOCKS};

    use super::{Nesting, Rank};

    fn rank_of(stored: u32) -> Rank {
        Rank::ALL[stored as usize]
    }

    #[track_caller]
    pub(super) fn push(rank: Rank, addr: usize, nesting: Option<Nesting>) {
        // An interrupt that came between the two stores would overwrite the entry.
        let _irqs = IrqGuard::new();
        let thread = Hw::thread();
        let count = thread.held_count.load(Relaxed) as usize;
        for held in &thread.held[..count] {
            let (other, at) = (rank_of(held.rank.load(Relaxed)), held.addr.load(Relaxed));
            assert!(at != addr, "lock order: {rank:?} at {addr:#x} is held already");
            let fine = match nesting {
                None => true,
                Some(Nesting::None) => other < rank,
                Some(Nesting::ByAddress) => other < rank || other == rank && at < addr,
            };
            assert!(fine, "lock order: taking {rank:?} at {addr:#x} while holding {other:?} at {at:#x}");
        }
        assert!(count < MAX_HELD_LOCKS, "lock order: more than {MAX_HELD_LOCKS} locks held");
        thread.held[count].rank.store(rank as u32, Relaxed);
        thread.held[count].addr.store(addr, Relaxed);
        thread.held_count.store(count as u32 + 1, Relaxed);
    }

    #[track_caller]
    pub(super) fn pop(addr: usize) {
        let _irqs = IrqGuard::new();
        let thread = Hw::thread();
        let count = thread.held_count.load(Relaxed) as usize;
        let held = &thread.held[..count];
        let at = held.iter().rposition(|lock| lock.addr.load(Relaxed) == addr);
        let at = at.unwrap_or_else(|| panic!("lock order: giving back {addr:#x}, which is not held"));
        for pair in held[at..].windows(2) {
            pair[0].rank.store(pair[1].rank.load(Relaxed), Relaxed);
            pair[0].addr.store(pair[1].addr.load(Relaxed), Relaxed);
        }
        thread.held_count.store(count as u32 - 1, Relaxed);
    }

    #[track_caller]
    pub(super) fn check_sleep() {
        let preempt = Hw::thread().preempt.load(Relaxed);
        assert!(preempt == 0, "sleeping with pre-emption off ({preempt} deep)");
        assert!(Hw::irqs_on(), "sleeping with interrupts off");
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;
    use crate::sync::{Mutex, SpinLock};

    #[test]
    fn order_is_kept_and_forgotten() {
        let (outer, inner) = (SpinLock::new(Rank::PageTable, 1), SpinLock::new(Rank::Zone, 2));
        for _ in 0..2 {
            let a = outer.lock();
            let b = inner.lock();
            drop(a);
            drop(b);
        }
    }

    #[test]
    #[should_panic(expected = "taking PageTable")]
    fn the_wrong_order_panics() {
        let (outer, inner) = (SpinLock::new(Rank::PageTable, 1), SpinLock::new(Rank::Zone, 2));
        let _b = inner.lock();
        let _a = outer.lock();
    }

    #[test]
    #[should_panic(expected = "is held already")]
    fn locking_twice_panics() {
        let lock = SpinLock::new(Rank::Zone, ());
        let _a = lock.lock();
        let _b = lock.lock();
    }

    #[test]
    fn one_rank_nests_by_address() {
        let locks = [SpinLock::new(Rank::PageTable, 0), SpinLock::new(Rank::PageTable, 1)];
        let _a = locks[0].lock();
        let _b = locks[1].lock_nested();
    }

    #[test]
    #[should_panic(expected = "taking PageTable")]
    fn one_rank_against_the_address_panics() {
        let locks = [SpinLock::new(Rank::PageTable, 0), SpinLock::new(Rank::PageTable, 1)];
        let _b = locks[1].lock();
        let _a = locks[0].lock_nested();
    }

    #[test]
    #[should_panic(expected = "pre-emption off")]
    fn sleeping_under_a_spinlock_panics() {
        let (spin, mutex) = (SpinLock::new(Rank::Inode, ()), Mutex::new(Rank::Mmap, ()));
        let _a = spin.lock();
        let _b = mutex.lock();
    }
}
