//! Locks that spin.
//!
//! Test-and-set on one word, and plain loads while it is taken: two instructions to lock and two to
//! unlock when nobody else wants it. A ticket lock would be fair to a fault, but Rux's harts are
//! threads of an emulator that its host pre-empts: strict order hands the lock to a hart that is not
//! running while others are (Linux gives up fair spinlocks under a hypervisor, `virt_spin_lock`, for
//! the same reason). Sections under these locks are short.

use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

use rux_machine::{Hot, Hw, IrqGuard, PreemptGuard, cold};

use super::order::{self, Nesting, Rank};

/// How many turns a waiter spins before it naps.
const TURNS: u32 = 64;

/// A spinlock in four bytes that guards what its owner says. The rank is given at each use.
#[derive(Default)]
#[repr(transparent)]
pub struct RawSpinLock(AtomicU32);

impl RawSpinLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn addr(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Takes the lock. Pre-emption is off while the guard lives.
    #[inline]
    #[track_caller]
    pub fn lock(&self, rank: Rank) -> RawSpinGuard<'_> {
        self.lock_in(rank, Nesting::None)
    }

    /// As [`Self::lock`], while another lock of the same rank and a lower address is held.
    #[inline]
    #[track_caller]
    pub fn lock_nested(&self, rank: Rank) -> RawSpinGuard<'_> {
        self.lock_in(rank, Nesting::ByAddress)
    }

    #[inline(always)]
    #[track_caller]
    fn lock_in(&self, rank: Rank, nesting: Nesting) -> RawSpinGuard<'_> {
        let preempt = PreemptGuard::new();
        order::acquire(rank, self.addr(), nesting);
        self.raw_lock();
        RawSpinGuard { lock: self, _preempt: preempt }
    }

    /// Takes the lock if it is free. The order is checked as by [`Self::lock`], since who fails is to go on to that,
    /// and with nothing to keep across the wait.
    #[inline(always)]
    #[track_caller]
    pub fn lock_at_once(&self, rank: Rank) -> Option<RawSpinGuard<'_>> {
        let preempt = PreemptGuard::new();
        order::acquire(rank, self.addr(), Nesting::None);
        if self.0.swap(1, Ordering::Acquire) == 0 {
            return Some(RawSpinGuard { lock: self, _preempt: preempt });
        }
        order::release(self.addr());
        None
    }

    /// Takes the lock if it is free.
    #[inline]
    #[track_caller]
    pub fn try_lock(&self, rank: Rank) -> Option<RawSpinGuard<'_>> {
        let preempt = PreemptGuard::new();
        self.raw_try_lock().then(|| {
            order::acquire_tried(rank, self.addr());
            RawSpinGuard { lock: self, _preempt: preempt }
        })
    }

    /// Whether somebody holds the lock, at this moment.
    #[inline]
    pub fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Takes the lock and nothing else: for a run queue's lock, which one thread takes and the next
    /// one gives back. Pre-emption is the caller's affair, and the order is not checked.
    #[inline(always)]
    pub fn raw_lock(&self) {
        if self.0.swap(1, Ordering::Acquire) != 0 {
            self.raw_lock_slow();
        }
    }

    #[cold]
    fn raw_lock_slow(&self) {
        let mut turns = 0u32;
        loop {
            while self.is_locked() {
                turns += 1;
                if turns.is_multiple_of(TURNS) { cold::nap() } else { Hw::relax() }
            }
            if self.0.swap(1, Ordering::Acquire) == 0 {
                return;
            }
        }
    }

    /// Takes the lock if it is free, and nothing else.
    #[inline(always)]
    pub fn raw_try_lock(&self) -> bool {
        !self.is_locked() && self.0.swap(1, Ordering::Acquire) == 0
    }

    /// Gives the lock back.
    ///
    /// # Safety
    /// The caller holds the lock, and no guard of it lives.
    #[inline(always)]
    pub unsafe fn raw_unlock(&self) {
        self.0.store(0, Ordering::Release);
    }
}

impl fmt::Debug for RawSpinLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_locked() { "locked" } else { "free" })
    }
}

/// Holds a [`RawSpinLock`].
#[must_use = "the lock is free again once the guard is dropped"]
#[derive(Debug)]
pub struct RawSpinGuard<'a> {
    lock: &'a RawSpinLock,
    _preempt: PreemptGuard,
}

impl Drop for RawSpinGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        order::release(self.lock.addr());
        // SAFETY: the guard holds the lock.
        unsafe { self.lock.raw_unlock() };
    }
}

macro_rules! spin_lock {
    ($(#[$doc:meta])* $lock:ident, $(#[$guard_doc:meta])* $guard:ident { $($off:ident: $Off:ty),* }) => {
        $(#[$doc])*
        pub struct $lock<T: ?Sized> {
            raw: RawSpinLock,
            #[cfg(debug_assertions)]
            rank: Rank,
            value: UnsafeCell<T>,
        }

        // SAFETY: the lock hands its value to one thread at a time.
        unsafe impl<T: ?Sized + Send> Send for $lock<T> {}
        // SAFETY: as above.
        unsafe impl<T: ?Sized + Send> Sync for $lock<T> {}

        impl<T> $lock<T> {
            /// A free lock around `value`, at `rank` in the lock order.
            pub const fn new(rank: Rank, value: T) -> Self {
                let _ = rank;
                Self {
                    raw: RawSpinLock::new(),
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

        impl<T: ?Sized> $lock<T> {
            #[inline(always)]
            #[track_caller]
            fn note(&self, nesting: Option<Nesting>) {
                #[cfg(debug_assertions)]
                match nesting {
                    Some(nesting) => order::acquire(self.rank, self.raw.addr(), nesting),
                    None => order::acquire_tried(self.rank, self.raw.addr()),
                }
                #[cfg(not(debug_assertions))]
                let _ = nesting;
            }

            /// Takes the lock, spinning while somebody else has it.
            #[inline]
            #[track_caller]
            pub fn lock(&self) -> $guard<'_, T> {
                $(let $off = <$Off>::new();)*
                self.note(Some(Nesting::None));
                self.raw.raw_lock();
                $guard { lock: self, $($off),* }
            }

            /// As [`Self::lock`], while another lock of the same rank and a lower address is held.
            #[inline]
            #[track_caller]
            pub fn lock_nested(&self) -> $guard<'_, T> {
                $(let $off = <$Off>::new();)*
                self.note(Some(Nesting::ByAddress));
                self.raw.raw_lock();
                $guard { lock: self, $($off),* }
            }

            /// Takes the lock if it is free.
            #[inline]
            #[track_caller]
            pub fn try_lock(&self) -> Option<$guard<'_, T>> {
                $(let $off = <$Off>::new();)*
                if !self.raw.raw_try_lock() {
                    $(drop($off);)*
                    return None;
                }
                self.note(None);
                Some($guard { lock: self, $($off),* })
            }

            /// Whether somebody holds the lock, at this moment.
            #[inline]
            pub fn is_locked(&self) -> bool {
                self.raw.is_locked()
            }

            /// The value, as nobody else can have the lock.
            #[inline]
            pub fn get_mut(&mut self) -> &mut T {
                self.value.get_mut()
            }

            /// The value, lock or no lock: for a panic's last words.
            #[inline]
            pub fn as_ptr(&self) -> *mut T {
                self.value.get()
            }
        }

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $lock<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut f = f.debug_struct(stringify!($lock));
                match self.try_lock() {
                    Some(guard) => f.field("value", &&*guard).finish(),
                    None => f.field("value", &format_args!("<locked>")).finish(),
                }
            }
        }

        $(#[$guard_doc])*
        #[must_use = "the lock is free again once the guard is dropped"]
        pub struct $guard<'a, T: ?Sized> {
            lock: &'a $lock<T>,
            // Dropped in this order, after the lock was given back.
            $(#[allow(dead_code)] $off: $Off,)*
        }

        // SAFETY: a shared guard gives out shared references only. (Not Send: see its fields.)
        unsafe impl<T: ?Sized + Sync> Sync for $guard<'_, T> {}

        impl<T: ?Sized> Deref for $guard<'_, T> {
            type Target = T;

            #[inline(always)]
            fn deref(&self) -> &T {
                // SAFETY: the guard holds the lock.
                unsafe { &*self.lock.value.get() }
            }
        }

        impl<T: ?Sized> DerefMut for $guard<'_, T> {
            #[inline(always)]
            fn deref_mut(&mut self) -> &mut T {
                // SAFETY: the guard holds the lock, and is borrowed alone.
                unsafe { &mut *self.lock.value.get() }
            }
        }

        impl<T: ?Sized> Drop for $guard<'_, T> {
            #[inline]
            fn drop(&mut self) {
                order::release(self.lock.raw.addr());
                // SAFETY: the guard holds the lock.
                unsafe { self.lock.raw.raw_unlock() };
            }
        }

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}

spin_lock! {
    /// A value behind a spinlock; pre-emption is off while it is held. Not for what interrupts touch
    /// (Linux: `spinlock_t` with `spin_lock`).
    SpinLock,
    /// Holds a [`SpinLock`].
    SpinGuard { preempt: PreemptGuard }
}

spin_lock! {
    /// A value behind a spinlock; interrupts and pre-emption are off while it is held (Linux:
    /// `spin_lock_irqsave`).
    IrqSpinLock,
    /// Holds an [`IrqSpinLock`].
    IrqSpinGuard { irqs: IrqGuard, preempt: PreemptGuard }
}

/// Holds an [`IrqSpinLock`] that was had at once. Two words, so that it can be handed on.
#[must_use = "the lock is free again once the guard is dropped"]
pub struct MaskedGuard<'a, T: ?Sized> {
    lock: &'a IrqSpinLock<T>,
    // Dropped after the lock was given back.
    _irqs: IrqGuard,
}

impl<T: ?Sized> IrqSpinLock<T> {
    /// Takes the lock if it is free, for short sections that wake nobody: interrupts are off meanwhile, so that
    /// nothing else runs on the hart, and pre-emption is not turned off besides. Whoever gets `None` is to take the
    /// way with [`Self::lock`]; the lock order is checked as it is there.
    #[inline(always)]
    #[track_caller]
    pub fn lock_masked(&self) -> Option<MaskedGuard<'_, T>> {
        let irqs = IrqGuard::new();
        if self.raw.0.swap(1, Ordering::Acquire) != 0 {
            return None;
        }
        self.note(Some(Nesting::None));
        Some(MaskedGuard { lock: self, _irqs: irqs })
    }
}

impl<T: ?Sized> Deref for MaskedGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MaskedGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and is borrowed alone.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for MaskedGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        order::release(self.lock.raw.addr());
        // SAFETY: the guard holds the lock.
        unsafe { self.lock.raw.raw_unlock() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering::Relaxed;

    fn hammer<L: Sync>(lock: &L, add: fn(&L)) {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..if cfg!(miri) { 50 } else { 5000 }).for_each(|_| add(lock)));
            }
        });
    }

    #[test]
    fn spin_locks_exclude() {
        let lock = SpinLock::new(Rank::Zone, 0u64);
        hammer(&lock, |lock| *lock.lock() += 1);
        let irq = IrqSpinLock::new(Rank::Zone, 0u64);
        hammer(&irq, |lock| *lock.lock() += 1);
        assert_eq!(lock.into_inner(), irq.into_inner());
    }

    #[test]
    fn guards_turn_things_off_and_on() {
        let lock = IrqSpinLock::new(Rank::Zone, ());
        let guard = lock.lock();
        assert!(!Hw::irqs_on());
        assert_eq!(Hw::thread().preempt.load(Relaxed), 1);
        assert!(lock.try_lock().is_none());
        drop(guard);
        assert!(Hw::irqs_on());
        assert_eq!(Hw::thread().preempt.load(Relaxed), 0);
        assert!(lock.try_lock().is_some());
    }

    #[test]
    fn a_masked_lock_is_had_or_not() {
        let lock = IrqSpinLock::new(Rank::Zone, 1);
        let mut guard = lock.lock_masked().expect("free");
        *guard += 1;
        assert!(lock.is_locked() && lock.lock_masked().is_none() && lock.try_lock().is_none());
        assert!(!Hw::irqs_on());
        drop(guard);
        assert!(Hw::irqs_on());
        assert_eq!(*lock.lock(), 2);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "order")]
    fn a_masked_lock_keeps_the_order() {
        let (outer, inner) = (IrqSpinLock::new(Rank::Zone, ()), IrqSpinLock::new(Rank::Console, ()));
        let _inner = inner.lock_masked();
        let _outer = outer.lock_masked();
    }

    #[test]
    fn a_raw_lock_is_four_bytes() {
        assert_eq!(size_of::<RawSpinLock>(), 4);
        let lock = RawSpinLock::new();
        let guard = lock.lock(Rank::PageTable);
        assert!(lock.try_lock(Rank::PageTable).is_none());
        drop(guard);
        assert!(!lock.is_locked());
    }
}
