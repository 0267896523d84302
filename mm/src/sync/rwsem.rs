//! Many readers or one writer; waiters sleep (Linux: `struct rw_semaphore`). `mmap_lock` is one.
//! The algorithm: [`super::raw`].

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};

use super::order::{self, Nesting, Rank, might_sleep};
use super::raw::RawRwSem;
use super::{Killed, shim};

impl RawRwSem {
    pub(crate) const fn new() -> Self {
        Self {
            state: shim::AtomicU32::new(0),
            queue_lock: shim::QueueLock::new(),
            readers: shim::AtomicU32::new(0),
            writers: shim::AtomicU32::new(0),
            read_turn: shim::AtomicU32::new(0),
            write_turn: shim::AtomicU32::new(0),
        }
    }
}

/// A value that many may read or one may write. Who waits sleeps; fair between readers and writers.
/// A thread that reads must not ask to read again: a writer that waits between the two would wait
/// for ever (the order check catches it).
pub struct RwSem<T: ?Sized> {
    raw: RawRwSem,
    #[cfg(debug_assertions)]
    rank: Rank,
    value: UnsafeCell<T>,
}

// SAFETY: the value moves with the lock.
unsafe impl<T: ?Sized + Send> Send for RwSem<T> {}
// SAFETY: readers share the value, a writer has it alone and may take it to its thread.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwSem<T> {}

impl<T> RwSem<T> {
    /// A free lock around `value`, at `rank` in the lock order.
    pub const fn new(rank: Rank, value: T) -> Self {
        let _ = rank;
        Self {
            raw: RawRwSem::new(),
            #[cfg(debug_assertions)]
            rank,
            value: UnsafeCell::new(value),
        }
    }

    /// The value, as nobody else can have the lock.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwSem<T> {
    fn addr(&self) -> usize {
        core::ptr::from_ref(&self.raw).addr()
    }

    #[inline(always)]
    #[track_caller]
    fn note(&self, nesting: Option<Nesting>) {
        #[cfg(debug_assertions)]
        match nesting {
            Some(nesting) => order::acquire(self.rank, self.addr(), nesting),
            None => order::acquire_tried(self.rank, self.addr()),
        }
        #[cfg(not(debug_assertions))]
        let _ = nesting;
    }

    fn read_guard(&self) -> ReadGuard<'_, T> {
        ReadGuard { lock: self, not_send: PhantomData }
    }

    fn write_guard(&self) -> WriteGuard<'_, T> {
        WriteGuard { lock: self, not_send: PhantomData }
    }

    /// Takes the lock for reading, sleeping while a writer has it or waits for it.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> ReadGuard<'_, T> {
        might_sleep();
        self.note(Some(Nesting::None));
        self.raw.read();
        self.read_guard()
    }

    /// As [`Self::read`], but gives up when a fatal signal comes.
    #[inline]
    #[track_caller]
    pub fn read_killable(&self) -> Result<ReadGuard<'_, T>, Killed> {
        might_sleep();
        self.note(Some(Nesting::None));
        if self.raw.read_killable() {
            Ok(self.read_guard())
        } else {
            order::release(self.addr());
            Err(Killed)
        }
    }

    /// As [`Self::read`], while another lock of the same rank and a lower address is held.
    #[inline]
    #[track_caller]
    pub fn read_nested(&self) -> ReadGuard<'_, T> {
        might_sleep();
        self.note(Some(Nesting::ByAddress));
        self.raw.read();
        self.read_guard()
    }

    /// Takes the lock for reading if neither a writer has it nor anybody waits. Does not sleep.
    #[inline]
    #[track_caller]
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        self.raw.try_read().then(|| {
            self.note(None);
            self.read_guard()
        })
    }

    /// Takes the lock for writing, sleeping while anybody has it.
    #[inline]
    #[track_caller]
    pub fn write(&self) -> WriteGuard<'_, T> {
        might_sleep();
        self.note(Some(Nesting::None));
        self.raw.write();
        self.write_guard()
    }

    /// As [`Self::write`], but gives up when a fatal signal comes.
    #[inline]
    #[track_caller]
    pub fn write_killable(&self) -> Result<WriteGuard<'_, T>, Killed> {
        might_sleep();
        self.note(Some(Nesting::None));
        if self.raw.write_killable() {
            Ok(self.write_guard())
        } else {
            order::release(self.addr());
            Err(Killed)
        }
    }

    /// As [`Self::write`], while another lock of the same rank and a lower address is held. For a
    /// lock that nobody else can reach yet (a child's `mmap_lock` at fork), use [`Self::try_write`].
    #[inline]
    #[track_caller]
    pub fn write_nested(&self) -> WriteGuard<'_, T> {
        might_sleep();
        self.note(Some(Nesting::ByAddress));
        self.raw.write();
        self.write_guard()
    }

    /// Takes the lock for writing if it is free. Does not sleep.
    #[inline]
    #[track_caller]
    pub fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        self.raw.try_write().then(|| {
            self.note(None);
            self.write_guard()
        })
    }

    /// Whether anybody has the lock, at this moment.
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    /// Whether a writer has the lock, at this moment.
    pub fn is_write_locked(&self) -> bool {
        self.raw.is_write_locked()
    }

    /// The value, as nobody else can have the lock.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Where the value is: for parts of it that are safe to read without the lock (atomics).
    #[inline]
    pub fn as_ptr(&self) -> *mut T {
        self.value.get()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwSem<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("RwSem");
        match self.try_read() {
            Some(guard) => f.field("value", &&*guard).finish(),
            None => f.field("value", &format_args!("<locked>")).finish(),
        }
    }
}

/// Holds an [`RwSem`] for reading.
#[must_use = "the lock is given back once the guard is dropped"]
pub struct ReadGuard<'a, T: ?Sized> {
    lock: &'a RwSem<T>,
    not_send: PhantomData<*mut ()>,
}

/// Holds an [`RwSem`] for writing.
#[must_use = "the lock is given back once the guard is dropped"]
pub struct WriteGuard<'a, T: ?Sized> {
    lock: &'a RwSem<T>,
    not_send: PhantomData<*mut ()>,
}

// SAFETY: a shared guard gives out shared references only.
unsafe impl<T: ?Sized + Sync> Sync for ReadGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for WriteGuard<'_, T> {}

impl<'a, T: ?Sized> WriteGuard<'a, T> {
    /// Goes on as a reader, without letting another writer in between.
    pub fn downgrade(self) -> ReadGuard<'a, T> {
        let lock = ManuallyDrop::new(self).lock;
        lock.raw.downgrade();
        lock.read_guard()
    }
}

impl<T: ?Sized> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: no writer is there while the guard lives.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock alone.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for WriteGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock alone, and is borrowed alone.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        order::release(self.lock.addr());
        self.lock.raw.unlock_read();
    }
}

impl<T: ?Sized> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        order::release(self.lock.addr());
        self.lock.raw.unlock_write();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for WriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

    #[test]
    fn readers_share_and_writers_exclude() {
        let rounds = if cfg!(miri) { 20 } else { 2000 };
        let sem = RwSem::new(Rank::Mmap, (0u64, 0u64));
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for thread in 0..5 {
                let (sem, inside) = (&sem, &inside);
                scope.spawn(move || {
                    for round in 0..rounds {
                        if (thread + round) % 3 == 0 {
                            let mut value = sem.write();
                            assert_eq!(inside.fetch_add(1, Relaxed), 0);
                            value.0 += 1;
                            std::thread::yield_now();
                            value.1 += 1;
                            inside.fetch_sub(1, Relaxed);
                            if round % 2 == 0 {
                                let value = value.downgrade();
                                assert_eq!(value.0, value.1);
                            }
                        } else {
                            let value = sem.read_killable().unwrap();
                            assert_eq!(value.0, value.1);
                        }
                    }
                });
            }
        });
        let writes = (0..5).map(|t| (0..rounds).filter(|r| (t + r) % 3 == 0).count() as u64).sum::<u64>();
        assert!(!sem.is_locked());
        assert_eq!(sem.into_inner(), (writes, writes));
    }

    #[test]
    fn nobody_passes_a_waiting_writer() {
        let sem = RwSem::new(Rank::Mmap, 0);
        let reader = sem.read();
        std::thread::scope(|scope| {
            scope.spawn(|| *sem.write() = 1);
            while let Some(guard) = sem.try_read_elsewhere() {
                drop(guard);
                std::thread::yield_now();
            }
            drop(reader);
        });
        assert_eq!(*sem.read(), 1);
    }

    impl<T> RwSem<T> {
        /// As another thread's `try_read`: the order check knows of this one's read.
        fn try_read_elsewhere(&self) -> Option<impl Drop + use<'_, T>> {
            struct Unlock<'a>(&'a RawRwSem);
            impl Drop for Unlock<'_> {
                fn drop(&mut self) {
                    self.0.unlock_read();
                }
            }
            self.raw.try_read().then(|| Unlock(&self.raw))
        }
    }
}
