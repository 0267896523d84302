//! A lock whose waiters sleep, around a value (Linux: `struct mutex`). The algorithm: [`super::raw`].

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use super::order::{self, Nesting, Rank, might_sleep};
use super::raw::RawMutex;
use super::{Killed, shim};

impl RawMutex {
    pub(crate) const fn new() -> Self {
        Self { state: shim::AtomicU32::new(0) }
    }
}

/// A value behind a lock whose waiters sleep. Not from interrupts, not with pre-emption off.
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    #[cfg(debug_assertions)]
    rank: Rank,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands its value to one thread at a time.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// A free lock around `value`, at `rank` in the lock order.
    pub const fn new(rank: Rank, value: T) -> Self {
        let _ = rank;
        Self {
            raw: RawMutex::new(),
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

impl<T: ?Sized> Mutex<T> {
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

    fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard { lock: self, not_send: PhantomData }
    }

    /// Takes the lock, sleeping while somebody else has it.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        might_sleep();
        self.note(Some(Nesting::None));
        self.raw.lock();
        self.guard()
    }

    /// As [`Self::lock`], while another lock of the same rank and a lower address is held.
    #[inline]
    #[track_caller]
    pub fn lock_nested(&self) -> MutexGuard<'_, T> {
        might_sleep();
        self.note(Some(Nesting::ByAddress));
        self.raw.lock();
        self.guard()
    }

    /// As [`Self::lock`], but gives up when a fatal signal comes.
    #[inline]
    #[track_caller]
    pub fn lock_killable(&self) -> Result<MutexGuard<'_, T>, Killed> {
        might_sleep();
        self.note(Some(Nesting::None));
        if self.raw.lock_killable() {
            Ok(self.guard())
        } else {
            order::release(self.addr());
            Err(Killed)
        }
    }

    /// Takes the lock if it is free. Does not sleep.
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.raw.try_lock().then(|| {
            self.note(None);
            self.guard()
        })
    }

    /// The value, as nobody else can have the lock.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(guard) => f.field("value", &&*guard).finish(),
            None => f.field("value", &format_args!("<locked>")).finish(),
        }
    }
}

/// Holds a [`Mutex`].
#[must_use = "the lock is free again once the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
    not_send: PhantomData<*mut ()>,
}

// SAFETY: a shared guard gives out shared references only.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and is borrowed alone.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        order::release(self.lock.addr());
        self.lock.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutex_excludes() {
        let lock = Mutex::new(Rank::Mmap, 0u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for i in 0..if cfg!(miri) { 30 } else { 3000 } {
                        match i % 3 {
                            0 => *lock.lock() += 1,
                            1 => *lock.lock_killable().unwrap() += 1,
                            _ => loop {
                                if let Some(mut value) = lock.try_lock() {
                                    break *value += 1;
                                }
                                std::thread::yield_now();
                            },
                        }
                    }
                });
            }
        });
        assert_eq!(lock.into_inner(), if cfg!(miri) { 120 } else { 12_000 });
    }
}
