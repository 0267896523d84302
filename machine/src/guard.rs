//! Guards for what must not be interrupted, and for what must not change harts.

use core::marker::PhantomData;

use crate::{Hot, HotExt, Hw, IrqState, cold};

/// While it lives, the thread stays on its hart and nobody else runs there but interrupts.
#[must_use = "pre-emption is on again once the guard is dropped"]
#[derive(Debug)]
pub struct PreemptGuard(PhantomData<*mut ()>);

impl PreemptGuard {
    /// Turns pre-emption off.
    #[inline(always)]
    pub fn new() -> Self {
        Hw::thread().preempt_disable();
        Self(PhantomData)
    }

    /// The hart that the thread stays on.
    #[inline(always)]
    pub fn hart(&self) -> usize {
        Hw::hart()
    }
}

impl Default for PreemptGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PreemptGuard {
    #[inline(always)]
    fn drop(&mut self) {
        if Hw::thread().preempt_enable() {
            cold::reschedule();
        }
    }
}

/// While it lives, no interrupt is served on this hart.
#[must_use = "interrupts are on again once the guard is dropped"]
#[derive(Debug)]
pub struct IrqGuard {
    state: IrqState,
    not_send: PhantomData<*mut ()>,
}

impl IrqGuard {
    /// Masks interrupts.
    #[inline(always)]
    pub fn new() -> Self {
        Self { state: Hw::irq_save(), not_send: PhantomData }
    }

    /// The hart that the thread stays on.
    #[inline(always)]
    pub fn hart(&self) -> usize {
        Hw::hart()
    }
}

impl Default for IrqGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for IrqGuard {
    #[inline(always)]
    fn drop(&mut self) {
        Hw::irq_restore(self.state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering::Relaxed;

    #[test]
    fn guards_nest() {
        let outer = PreemptGuard::new();
        drop(PreemptGuard::new());
        assert_eq!(Hw::thread().preempt.load(Relaxed), 1);
        drop(outer);
        assert_eq!(Hw::thread().preempt.load(Relaxed), 0);

        let outer = IrqGuard::new();
        drop(IrqGuard::new());
        assert!(!Hw::irqs_on());
        drop(outer);
        assert!(Hw::irqs_on());
    }
}
