//! What the allocator asks of rooms above it when memory runs short (Linux: `wakeup_kswapd`,
//! `__alloc_pages_direct_reclaim`).

use crate::addr::Order;
use crate::gfp::Gfp;
use crate::memory::memory;
use crate::sync::{IrqSpinLock, Rank};
use crate::zone::ZoneId;

/// Frees memory so that an allocation of `order` may succeed, within `gfp`; says how many pages it freed: 0
/// is the end of the matter. Called without spinlocks, in a thread that may sleep, in the scope MEMALLOC: what it
/// allocates comes from the reserves and asks for no reclaim in turn.
pub type Reclaim = fn(gfp: Gfp, order: Order) -> usize;

/// Told that a zone, and those below it, have less than the low watermark for an allocation of `order`: somebody
/// is to reclaim in the background until they are above the high one. Called in any context, with interrupts
/// off perhaps; it takes no lock that is held while memory is allocated.
pub type WakeKswapd = fn(highest: ZoneId, order: Order);

#[derive(Clone, Copy)]
struct Registered {
    reclaim: Option<Reclaim>,
    kswapd: Option<WakeKswapd>,
}

/// Who is asked.
pub(crate) struct Hooks(IrqSpinLock<Registered>);

impl Hooks {
    pub(crate) const fn new() -> Self {
        Self(IrqSpinLock::new(Rank::Zone, Registered { reclaim: None, kswapd: None }))
    }

    pub(super) fn reclaim(&self) -> Option<Reclaim> {
        self.0.lock().reclaim
    }

    pub(super) fn wake_kswapd(&self, highest: ZoneId, order: Order) {
        let wake = self.0.lock().kswapd;
        if let Some(wake) = wake {
            wake(highest, order);
        }
    }
}

/// Registers who frees memory when there is none: until then, slab gives back what it keeps ready.
pub fn register_reclaim(reclaim: Reclaim) {
    memory().hooks.0.lock().reclaim = Some(reclaim);
}

/// Registers who is told that a zone fell below its low watermark.
pub fn register_kswapd(wake: WakeKswapd) {
    memory().hooks.0.lock().kswapd = Some(wake);
}
