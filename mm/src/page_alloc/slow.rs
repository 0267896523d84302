//! What an allocation does when this hart's list has nothing for it (Linux: `get_page_from_freelist`,
//! `__alloc_pages_slowpath`).
//!
//! First all zones that it may use, the highest first, down to the low watermark; then as far down as the `Gfp`
//! lets it; then, if the caller may sleep, all harts' lists are drained and memory is reclaimed, as long as that
//! frees any.

use core::panic::Location;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rux_machine::{Hot, HotExt, Hw, IrqGuard, Scope, cold};

use super::{debug, drain_all, drain_pcp};
use crate::addr::Order;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::inject;
use crate::memory::{memory, this_hart};
use crate::page::PagePtr;
use crate::pcp;
use crate::rcu;
use crate::stat::{self, Item};
use crate::zone::{AllocFlags, Force, MigrateType, Request, Zone, ZoneId};

/// Blocks larger than this are not worth many tries (Linux: `PAGE_ALLOC_COSTLY_ORDER`).
const COSTLY_ORDER: usize = 3;

/// Takes a block with one reference.
#[cold]
#[inline(never)]
pub(super) fn alloc(gfp: Gfp, order: Order, site: &'static Location<'static>) -> Result<PagePtr, AllocError> {
    if inject::due(gfp) {
        return Err(AllocError);
    }
    let gfp = usable(gfp);
    let page = match take(gfp, order, first_flags(gfp)) {
        Some(page) => page,
        None => harder(gfp, order)?,
    };
    debug::allocated(page, order, gfp, site);
    page.count().set_first();
    Ok(page)
}

/// What holds of `gfp` here and now: in the thread's scope, and while nobody may sleep yet.
pub(super) fn usable(gfp: Gfp) -> Gfp {
    let mut gfp = gfp.in_scope();
    if !memory().may_sleep.load(Relaxed) {
        gfp.remove(Gfp::DIRECT_RECLAIM);
    }
    gfp
}

/// The first try: where there is a zone below for what falls back, better that than to spoil a block (Linux:
/// `alloc_flags_nofragment`).
pub(super) fn first_flags(gfp: Gfp) -> AllocFlags {
    let preferred = memory().preferred(ZoneId::of(gfp));
    let below = preferred == ZoneId::Normal && memory().zone(ZoneId::Dma32).managed_pages() != 0;
    if below { AllocFlags::LOW | AllocFlags::NO_FRAGMENT } else { AllocFlags::LOW }
}

/// Tries all zones.
pub(super) fn take(gfp: Gfp, order: Order, flags: AllocFlags) -> Option<PagePtr> {
    let request = Request { flags, highest: ZoneId::of(gfp) };
    for zone in memory().zonelist(request.highest) {
        if let Some(page) = take_from(zone, gfp, order, request) {
            return Some(page);
        }
    }
    if flags.contains(AllocFlags::NO_FRAGMENT) {
        return take(gfp, order, flags - AllocFlags::NO_FRAGMENT);
    }
    None
}

fn take_from(zone: &Zone, gfp: Gfp, order: Order, request: Request) -> Option<PagePtr> {
    let kind = MigrateType::of(gfp);
    if zone.below_high.load(Relaxed) == 0 && !zone.is_above_high() {
        zone.below_high.store(1, Relaxed);
    }
    let irqs = IrqGuard::new();
    let hart = this_hart();
    hart.seat.serve(|| hart.pcp.drain());
    let kept = request.flags.contains(AllocFlags::HIGHATOMIC);
    // What is kept for the urgent is not for a hart's list.
    if pcp::has_list(order) && !kept {
        return hart.pcp.refill(&irqs, zone, order, kind, request);
    }
    let page = zone.alloc_block(order, kind, request)?;
    hart.stat.add(Item::pgalloc(zone.id()), order.pages() as i64);
    if kept {
        zone.reserve_highatomic(page, order);
    }
    Some(page)
}

/// How far down the caller may go (Linux: `gfp_to_alloc_flags`, `__gfp_pfmemalloc_flags`).
fn flags_of(gfp: Gfp, order: Order) -> AllocFlags {
    let mut flags = AllocFlags::empty();
    if gfp.contains(Gfp::HIGH) {
        flags |= AllocFlags::MIN_RESERVE;
    }
    if !gfp.may_sleep() && !gfp.contains(Gfp::NOMEMALLOC) {
        flags |= AllocFlags::NON_BLOCK;
        if order != Order::ZERO {
            flags |= AllocFlags::HIGHATOMIC;
        }
    }
    if gfp.contains(Gfp::MEMALLOC) && !gfp.contains(Gfp::NOMEMALLOC) {
        flags |= AllocFlags::NO_WATERMARKS;
    }
    flags
}

fn harder(gfp: Gfp, order: Order) -> Result<PagePtr, AllocError> {
    if gfp.contains(Gfp::KSWAPD_RECLAIM) {
        memory().hooks.wake_kswapd(ZoneId::of(gfp), order);
    }
    let flags = flags_of(gfp, order);
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
    stat::inc(Item::allocstall(ZoneId::of(gfp)));
    rcu::expedite();
    drain_all();
    if let Some(page) = take(gfp, order, flags) {
        return Some(page);
    }
    unreserve(gfp, Force::No);
    while let Some(reclaim) = memory().hooks.reclaim() {
        // What it allocates to free memory is worth the reserve, and must not end up here.
        let scope = Hw::thread().enter_scope(Scope::MEMALLOC);
        let freed = reclaim(gfp, order);
        Hw::thread().set_scope(scope);
        if let Some(page) = take(gfp, order, flags) {
            return Some(page);
        }
        let costly = order.get() > COSTLY_ORDER && !gfp.contains(Gfp::RETRY_MAYFAIL);
        if freed == 0 || gfp.contains(Gfp::NORETRY) || costly || cold::fatal_signal() {
            break;
        }
        // What was freed may be on another hart's lists.
        drain_all();
        cold::reschedule();
    }
    // Better an urgent allocation that fails one day than one that fails now.
    if unreserve(gfp, Force::Yes) { take(gfp, order, flags) } else { None }
}

/// Gives blocks that are kept for the urgent back; says whether there was one.
fn unreserve(gfp: Gfp, force: Force) -> bool {
    let mut any = false;
    for zone in memory().zonelist(ZoneId::of(gfp)) {
        any |= zone.unreserve_highatomic(MigrateType::of(gfp), force);
    }
    any
}

/// `Gfp::NOFAIL`: part of the reserve, and then others' turn until there is something. No site asks for it.
#[cold]
fn never_failing(gfp: Gfp, order: Order, flags: AllocFlags) -> PagePtr {
    debug_assert!(gfp.may_sleep() && order.get() <= 1, "an allocation that can neither fail nor succeed");
    loop {
        // Not all of it: who frees memory needs some (Linux does the same).
        if let Some(page) = take(gfp, order, flags | AllocFlags::MIN_RESERVE | AllocFlags::NON_BLOCK) {
            return page;
        }
        cold::reschedule();
        cold::nap();
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
