//! The address space that a thread runs in, and the one that its hart translates with (Linux: `mm`,
//! `active_mm`, lazy TLB).
//!
//! A kernel thread has none and borrows the last one's tables. The hart keeps a share of what it
//! translates with, so that the tables outlive a program that ends while a kernel thread borrows them.

use core::cell::UnsafeCell;

use rux_machine::IrqGuard;
use rux_mm::slab::KArc;
use rux_mm::space::{Space, SpaceCore};

use super::{Task, current};
use crate::hart::{self, Hart};

/// A thread's own address space. Changed by the thread itself, with interrupts off; read by it and by its
/// hart's switch.
pub(super) struct SpaceSlot(UnsafeCell<Option<KArc<Space>>>);

impl SpaceSlot {
    pub(super) const fn new() -> Self {
        Self(UnsafeCell::new(None))
    }

    /// Before the thread is started.
    pub(super) fn set_first(&self, space: KArc<Space>) {
        // SAFETY: nobody else has the thread yet.
        unsafe { *self.0.get() = Some(space) };
    }
}

/// What a hart translates with: nothing means the kernel's own tables.
pub(crate) struct ActiveSpace(UnsafeCell<Option<KArc<SpaceCore>>>);

// SAFETY: touched by its own hart alone, with interrupts off.
unsafe impl Sync for ActiveSpace {}

impl ActiveSpace {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(None))
    }
}

impl Task {
    /// Has `hart`, this one, translate with the thread's tables if it has any. Interrupts are off.
    pub(crate) fn activate_space(&self, hart: &Hart) {
        // SAFETY: the thread is about to run here, or runs; interrupts are off.
        let Some(space) = (unsafe { &*self.space.0.get() }) else { return };
        // SAFETY: this hart's own, and interrupts are off.
        let active = unsafe { &mut *hart.active_space.0.get() };
        if active.as_ref().is_some_and(|active| KArc::ptr_eq(active, space.core())) {
            return;
        }
        space.core().switch_to(active.as_deref());
        // The old tables are free to go only now.
        *active = Some(space.core().clone());
    }

    /// Gives up the address space of the running thread. May sleep, if it was the last to have it.
    pub(crate) fn drop_space(&self) {
        drop(replace(None));
    }
}

/// Has this hart, which is about to do nothing, translate with the kernel's own tables: so nobody has to wake it to
/// fence it. Interrupts are off.
pub(crate) fn leave_space(hart: &Hart) {
    // SAFETY: this hart's own, and interrupts are off.
    if let Some(active) = unsafe { (*hart.active_space.0.get()).take() } {
        active.leave();
    }
}

fn replace(space: Option<KArc<Space>>) -> Option<KArc<Space>> {
    let irqs = IrqGuard::new();
    let task = current();
    // SAFETY: the running thread's own, and interrupts are off.
    let old = unsafe { core::mem::replace(&mut *task.space.0.get(), space) };
    task.activate_space(hart::hart(irqs.hart()));
    old
}

/// The running thread's address space; a kernel thread has none.
pub fn current_space() -> Option<&'static KArc<Space>> {
    // SAFETY: only the running thread itself changes it. The reference is good until it does: `execve` and
    // the exit do, and hold none across.
    unsafe { (*current().space.0.get()).as_ref() }
}

/// Gives the running thread another address space (`execve`); returns the one it had. Dropping that may sleep.
pub fn replace_current_space(space: KArc<Space>) -> Option<KArc<Space>> {
    replace(Some(space))
}
