//! Harts that are to look at their queues, told together and with no lock held: an interrupt to another hart is the
//! dearest part of a wake-up, and who waits for the lock would wait for it too (Linux: `wake_q`).

use rux_machine::{HartMask, HotExt, Hw, PreemptGuard};

use crate::ipi;

/// Whom to tell. Made before the locks are taken, so that it is dropped after they are.
pub(crate) struct Kicks {
    harts: HartMask,
    /// Who is pre-empted here would have them wait.
    _off: PreemptGuard,
}

impl Kicks {
    pub(crate) fn new() -> Self {
        Self { harts: HartMask::EMPTY, _off: PreemptGuard::new() }
    }

    /// Tells `hart` when this goes.
    pub(super) fn add(&mut self, hart: usize) {
        self.harts = self.harts.with(hart);
    }
}

impl Drop for Kicks {
    fn drop(&mut self) {
        let harts = self.harts.without(Hw::hart());
        if !harts.is_empty() {
            ipi::send_reschedule(harts);
        }
    }
}
