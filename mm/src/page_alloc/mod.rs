//! The page allocator as everybody sees it (Linux: `mm/page_alloc.c`).
//!
//! Small orders come from the hart's own lists ([`crate::pcp`]), the rest from the zone; when that has
//! none, `slow` tries what the `Gfp` allows. A page that is handed out has one reference, no flags, no
//! mapping and no type; whoever frees it has to bring it back like that.

mod block;
mod bulk;
mod compound;
pub mod debug;
pub mod device;
mod folio_ref;
mod free;
mod hooks;
mod isolate;
pub mod kpage;
mod slow;
mod validate;
mod zero;

pub use block::PageBlock;
pub use bulk::alloc_pages_bulk;
pub use folio_ref::FolioRef;
pub(crate) use free::put_all;
pub(crate) use hooks::Hooks;
pub use hooks::{Reclaim, WakeKswapd, register_kswapd, register_reclaim};
pub use isolate::{isolate_block, undo_isolate};
pub(crate) use slow::FailureLog;
pub use validate::validate;
#[cfg(not(target_os = "none"))]
pub use validate::validate_still;
pub(crate) use zero::ZeroPage;
pub use zero::zero_folio;

use core::panic::Location;

use rux_machine::{HartMask, Hot, HotExt, Hw, IrqGuard, MAX_HARTS, PreemptGuard, Scope, cold};

use crate::addr::{Order, PAGE_SIZE};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::lru;
use crate::memory::{memory, this_hart};
use crate::page::{Folio, MappingWord, PagePtr};
use crate::pcp::{self, Asked};
use crate::stat::{self, Item};
use crate::zone::{FirstTry, Locked, MigrateType, Zone, ZoneId};

/// Allocates a folio of `order` for user or file memory: one reference, no flags, no mapping; its bytes
/// are whatever was there, unless `gfp` has `ZERO`.
///
/// Sleeps if `gfp` lets it; then no spinlock may be held. Safe from interrupts with `ATOMIC` or `NOWAIT`.
///
/// # Errors
/// No memory, after what `gfp` allows was tried.
#[inline(always)]
#[track_caller]
pub fn alloc_folio(gfp: Gfp, order: Order) -> Result<FolioRef, AllocError> {
    let head = alloc(gfp, order)?;
    if order != Order::ZERO {
        compound::make(head, order);
    }
    Folio::of(head).set_mapping(MappingWord::None);
    Ok(FolioRef::from_head(head))
}

/// Allocates a raw block of `order` for the kernel. As [`alloc_folio`], but the pages stay single, with
/// no head and no tails, unless `gfp` has `COMP`.
///
/// # Errors
/// No memory, after what `gfp` allows was tried.
#[inline(always)]
#[track_caller]
pub fn alloc_pages(gfp: Gfp, order: Order) -> Result<PageBlock, AllocError> {
    let first = alloc(gfp, order)?;
    if gfp.contains(Gfp::COMP) && order != Order::ZERO {
        compound::make(first, order);
    }
    Ok(PageBlock::new(first, order))
}

#[inline(always)]
#[track_caller]
fn alloc(gfp: Gfp, order: Order) -> Result<PagePtr, AllocError> {
    let page = match if pcp::has_list(order) {
        pop(gfp, order)
    } else {
        pop_large(order, MigrateType::of(gfp), ZoneId::of(gfp))
    } {
        Some(page) => page,
        None => slow::alloc(gfp, order, Location::caller())?,
    };
    if gfp.contains(Gfp::ZERO) {
        zero(page, order);
    }
    #[cfg(debug_assertions)]
    free::check_new(page, order);
    Ok(page)
}

/// From this hart's list of what `gfp` tries first, if there is one and nothing special is asked of the thread.
#[inline(always)]
fn pop(gfp: Gfp, order: Order) -> Option<PagePtr> {
    // Movable memory of the kernel's own, and what only a low zone will do for, go the long way.
    let usual = !gfp.contains(Gfp::DMA32) && (!gfp.contains(Gfp::MOVABLE) || gfp.contains(Gfp::HIGHMEM));
    if !usual || Hw::scope() != Scope::default() {
        return None;
    }
    let irqs = IrqGuard::new();
    let page = this_hart().pcp.pop(&irqs, order, MigrateType::of(gfp))?;
    page.count().set_first();
    Some(page)
}

/// Straight from the zone that is tried first where `highest` is the highest one, for orders that harts have no
/// lists of. From what `kind` has of its own alone: to spoil other blocks is `slow`'s affair.
#[inline(never)]
fn pop_large(order: Order, kind: MigrateType, highest: ZoneId) -> Option<PagePtr> {
    if Hw::scope() != Scope::default() {
        return None;
    }
    let id = memory().preferred(highest);
    let zone = memory().zone(id);
    match zone.first_try(order, kind, highest) {
        FirstTry::Page(page) => Some(popped(page, order, id)),
        FirstTry::Larger(lists) => pop_larger(zone, lists, order, kind),
        FirstTry::Nothing => None,
    }
}

/// The rest of [`pop_large`] where there is no block of just that order. By itself, so that the other is a leaf.
#[inline(never)]
fn pop_larger(zone: &Zone, lists: Locked<'_>, order: Order, kind: MigrateType) -> Option<PagePtr> {
    let page = zone.take_off(lists, order, kind)?;
    Some(popped(page, order, zone.id()))
}

#[inline(always)]
fn popped(page: PagePtr, order: Order, zone: ZoneId) -> PagePtr {
    stat::add(Item::pgalloc(zone), order.pages() as i64);
    page.count().set_first();
    page
}

fn zero(page: PagePtr, order: Order) {
    let start = page.pfn().as_ptr();
    for offset in (0..order.bytes()).step_by(PAGE_SIZE) {
        // SAFETY: the block is ours and not handed out yet.
        unsafe { Hw::clear_page(start.wrapping_add(offset)) };
    }
}

/// Gives this hart's lists back to the zones. From anywhere.
pub fn drain_pcp() {
    let _irqs = IrqGuard::new();
    let hart = this_hart();
    hart.pcp.drain();
    // Who asks at this moment has it.
    hart.seat.serve(|| ());
}

/// Gives the lists of all harts back to the zones. Interrupts are on and no spinlock is held. On return those of all
/// harts that serve interrupts are drained, and of those that are away.
pub fn drain_all() {
    // Pinned, so that "the others" are the others.
    let here = PreemptGuard::new();
    drain_pcp();
    let mut harts = HartMask::EMPTY;
    for index in (0..MAX_HARTS).filter(|&index| index != here.hart()) {
        let hart = memory().hart(index);
        let asked = hart.seat.ask(|| {
            let _irqs = IrqGuard::new();
            hart.pcp.drain();
        });
        if asked == Asked::Hart {
            harts = harts.with(index);
        }
    }
    cold::run_on(harts.and(cold::online()), |_| serve_drain(), core::ptr::null_mut());
}

/// Drains this hart's lists if somebody asked for that. From anywhere; the slow path does it by itself.
pub fn serve_drain() {
    let _irqs = IrqGuard::new();
    let hart = this_hart();
    hart.seat.serve(|| hart.pcp.drain());
}

/// Says that the hart which runs this uses the allocator from now on: before its first allocation.
pub fn hart_arrives() {
    memory().this_hart_arrives();
}

/// Says that the hart which runs this uses the allocator no more: its lists are given back. After its last
/// allocation; it may arrive again.
pub fn hart_leaves() {
    let _irqs = IrqGuard::new();
    lru::drain();
    let hart = this_hart();
    hart.pcp.drain();
    hart.seat.leave();
}

/// Once a second on each hart: it keeps less if it did not need what it has (Linux: `refresh_cpu_vm_stats`).
pub fn tick() {
    let _irqs = IrqGuard::new();
    this_hart().pcp.decay();
}

/// Pages that are free, in the zones and on the harts' lists (`MemFree`). Exact when nobody allocates
/// meanwhile.
pub fn free_pages_count() -> u64 {
    memory().free_pages()
}

/// Pages that the allocator was given (`MemTotal`).
pub fn total_pages() -> u64 {
    memory().total_pages()
}

#[cfg(test)]
mod tests;
