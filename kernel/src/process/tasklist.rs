//! The lock of who is whose child, process group and session (Linux: `tasklist_lock`).
//!
//! One lock for the whole tree, as relations tie any process to any other; what it guards is in
//! [`UnderTasklist`] cells, which only open to who shows the guard.

use core::cell::UnsafeCell;

use rux_mm::sync::{IrqSpinGuard, IrqSpinLock, Rank};

static LOCK: IrqSpinLock<()> = IrqSpinLock::new(Rank::Process, ());

/// The lock, held. Interrupts are off.
pub struct Tasklist(#[expect(dead_code, reason = "held for its drop")] IrqSpinGuard<'static, ()>);

impl Tasklist {
    /// Takes the lock.
    pub fn lock() -> Self {
        Self(LOCK.lock())
    }
}

/// What the lock guards.
pub struct UnderTasklist<T>(UnsafeCell<T>);

// SAFETY: the value is reached only with a `Tasklist`, of which there is one at a time.
unsafe impl<T: Send> Sync for UnderTasklist<T> {}

impl<T> UnderTasklist<T> {
    /// Puts `value` under the lock.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Reads it.
    #[inline]
    pub fn get<'a>(&'a self, _: &'a Tasklist) -> &'a T {
        // SAFETY: the only `Tasklist` is borrowed, so nobody has a unique reference.
        unsafe { &*self.0.get() }
    }

    /// Changes it.
    #[inline]
    pub fn get_mut<'a>(&'a self, _: &'a mut Tasklist) -> &'a mut T {
        // SAFETY: the only `Tasklist` is uniquely borrowed, so nobody else has any reference.
        unsafe { &mut *self.0.get() }
    }
}
