//! What an allocation does when this hart's list has nothing for it (Linux: `__alloc_pages_slowpath`).
//!
//! First the zone, down to the low watermark; then as far down as the `Gfp` lets it; then, if the
//! caller may sleep, all harts' lists are drained and memory is reclaimed, as long as that frees any.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rux_machine::{Hot, HotExt, Hw, IrqGuard, cold};

use super::{Reclaim, drain_all, drain_pcp};
use crate::addr::Order;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::inject;
use crate::memory::{memory, this_hart};
use crate::page::PagePtr;
use crate::pcp;
use crate::stat::{self, Item};
use crate::zone::{AllocFlags, MigrateType, ZoneId};

/// Blocks larger than this are not worth many tries (Linux: `PAGE_ALLOC_COSTLY_ORDER`).
const COSTLY_ORDER: usize = 3;

/// Takes a block with one reference.
#[cold]
#[inline(never)]
pub(super) fn alloc(gfp: Gfp, order: Order) -> Result<PagePtr, AllocError> {
    if inject::due(gfp) {
        return Err(AllocError);
    }
    let mut gfp = gfp.in_scope();
    if !memory().may_sleep.load(Relaxed) {
        gfp.remove(Gfp::DIRECT_RECLAIM);
    }
    let page = match take(gfp, order, AllocFlags::LOW) {
        Some(page) => page,
        None => harder(gfp, order)?,
    };
    page.count().set_first();
    Ok(page)
}

fn take(gfp: Gfp, order: Order, flags: AllocFlags) -> Option<PagePtr> {
    let (zone, kind) = (memory().zone(ZoneId::of(gfp)), MigrateType::of(gfp));
    let irqs = IrqGuard::new();
    let hart = this_hart();
    if order.get() < pcp::ORDERS {
        hart.pcp.refill(&irqs, zone, order, kind, flags)
    } else {
        let page = zone.alloc_block(order, kind, flags)?;
        hart.stat.add(Item::PgAlloc, order.pages() as i64);
        Some(page)
    }
}

/// How far down the caller may go (Linux: `gfp_to_alloc_flags`, `__gfp_pfmemalloc_flags`).
fn flags_of(gfp: Gfp) -> AllocFlags {
    let mut flags = AllocFlags::empty();
    if gfp.contains(Gfp::HIGH) {
        flags |= AllocFlags::RESERVE;
        if !gfp.may_sleep() && !gfp.contains(Gfp::NOMEMALLOC) {
            flags |= AllocFlags::NON_BLOCK;
        }
    }
    if gfp.contains(Gfp::MEMALLOC) && !gfp.contains(Gfp::NOMEMALLOC) {
        flags |= AllocFlags::NO_WATERMARKS;
    }
    flags
}

fn harder(gfp: Gfp, order: Order) -> Result<PagePtr, AllocError> {
    let flags = flags_of(gfp);
    if let Some(page) = take(gfp, order, flags) {
        return Ok(page);
    }
    // What this hart has of other orders and mobilities may be it.
    drain_pcp();
    if let Some(page) = take(gfp, order, flags) {
        return Ok(page);
    }
    // Who frees memory must not wait for memory to be freed.
    if gfp.may_sleep() && !gfp.contains(Gfp::MEMALLOC) {
        crate::sync::might_sleep();
        if let Some(page) = reclaiming(gfp, order, flags) {
            return Ok(page);
        }
    }
    if gfp.contains(Gfp::NOFAIL) {
        return Ok(never_failing(gfp, order, flags));
    }
    if !gfp.contains(Gfp::NOWARN) {
        memory().failures.report(gfp, order);
    }
    Err(AllocError)
}

fn reclaiming(gfp: Gfp, order: Order, flags: AllocFlags) -> Option<PagePtr> {
    stat::inc(Item::AllocStall);
    drain_all();
    if let Some(page) = take(gfp, order, flags) {
        return Some(page);
    }
    let reclaim: Reclaim = (*memory().reclaim.lock())?;
    loop {
        let freed = reclaim(gfp, order);
        if let Some(page) = take(gfp, order, flags) {
            return Some(page);
        }
        let costly = order.get() > COSTLY_ORDER && !gfp.contains(Gfp::RETRY_MAYFAIL);
        if freed == 0 || gfp.contains(Gfp::NORETRY) || costly || cold::fatal_signal() {
            return None;
        }
        // What was freed may be on another hart's lists.
        drain_all();
        cold::reschedule();
    }
}

/// `Gfp::NOFAIL`: the reserves, and then others' turn until there is something. No site asks for it.
#[cold]
fn never_failing(gfp: Gfp, order: Order, flags: AllocFlags) -> PagePtr {
    loop {
        if let Some(page) = take(gfp, order, flags | AllocFlags::NO_WATERMARKS) {
            return page;
        }
        cold::reschedule();
        Hw::relax();
        if let Some(page) = reclaiming(gfp, order, flags) {
            return page;
        }
    }
}

/// Failures as the log has them: one line a second at most.
#[derive(Debug)]
pub(crate) struct FailureLog {
    last: AtomicU64,
    unsaid: AtomicU64,
}

impl FailureLog {
    const INTERVAL_NS: u64 = 1_000_000_000;

    pub(crate) const fn new() -> Self {
        Self { last: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }

    #[cold]
    fn report(&self, gfp: Gfp, order: Order) {
        let (now, last) = (cold::now(), self.last.load(Relaxed));
        let due = last == 0 || now.saturating_sub(last) >= Self::INTERVAL_NS;
        if !due || self.last.compare_exchange(last, now.max(1), Relaxed, Relaxed).is_err() {
            self.unsaid.fetch_add(1, Relaxed);
            return;
        }
        log::warn!(
            "page allocation failure on hart {}: order {}, {gfp:?}; {} pages free; {} more failures unsaid",
            Hw::hart(),
            order.get(),
            super::free_pages_count(),
            self.unsaid.swap(0, Relaxed),
        );
    }
}
