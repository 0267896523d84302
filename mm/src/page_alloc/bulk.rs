//! Many single pages at once (Linux: `alloc_pages_bulk_noprof`).

use core::panic::Location;

use rux_machine::{HotExt, Hw, IrqGuard, Scope};

use super::{PageBlock, debug, slow, zero};
use crate::addr::Order;
use crate::gfp::Gfp;
use crate::memory::{memory, this_hart};
use crate::page::PagePtr;
use crate::zone::{MigrateType, Request, ZoneId};

/// How many pages are had with interrupts off.
const AT_ONCE: usize = 64;

/// Allocates up to `count` single pages and hands each to `each`; says how many there were. Fewer where memory is
/// short: the first is tried for as hard as `gfp` allows, the others only while the zone that serves the first
/// has them above its low watermark. As [`super::alloc_pages`] otherwise.
#[track_caller]
pub fn alloc_pages_bulk(gfp: Gfp, count: usize, mut each: impl FnMut(PageBlock)) -> usize {
    let site = Location::caller();
    let mut got = 0;
    // What is injected or in a scope goes the way that single pages go.
    while got < count && Hw::scope() == Scope::default() {
        let mut pages = arrayvec::ArrayVec::<PagePtr, AT_ONCE>::new();
        take_many(gfp, (count - got).min(AT_ONCE), &mut pages);
        if pages.is_empty() {
            break;
        }
        for page in pages {
            debug::allocated(page, Order::ZERO, gfp, site);
            page.count().set_first();
            if gfp.contains(Gfp::ZERO) {
                zero(page, Order::ZERO);
            }
            each(PageBlock::new(page, Order::ZERO));
            got += 1;
        }
    }
    if got == 0
        && count != 0
        && let Ok(page) = slow::alloc(gfp, Order::ZERO, site)
    {
        if gfp.contains(Gfp::ZERO) {
            zero(page, Order::ZERO);
        }
        each(PageBlock::new(page, Order::ZERO));
        got = 1;
    }
    got
}

fn take_many(gfp: Gfp, most: usize, pages: &mut arrayvec::ArrayVec<PagePtr, AT_ONCE>) {
    let gfp = slow::usable(gfp);
    let request = Request { flags: slow::first_flags(gfp), highest: ZoneId::of(gfp) };
    for zone in memory().zonelist(request.highest) {
        let irqs = IrqGuard::new();
        let most = most - pages.len();
        if this_hart()
            .pcp
            .take_many(&irqs, zone, MigrateType::of(gfp), request, most, |page| pages.push(page))
            != 0
        {
            return;
        }
    }
}
