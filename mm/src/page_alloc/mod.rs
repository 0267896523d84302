//! The page allocator as everybody sees it (Linux: `mm/page_alloc.c`).
//!
//! Small orders come from the hart's own lists ([`crate::pcp`]), the rest from the zone; when that has
//! none, `slow` tries what the `Gfp` allows. A page that is handed out has one reference, no flags, no
//! mapping and no type; whoever frees it has to bring it back like that.

mod block;
mod compound;
mod folio_ref;
mod free;
mod slow;
mod validate;
mod zero;

pub use block::PageBlock;
pub use folio_ref::FolioRef;
pub(crate) use slow::FailureLog;
pub use validate::validate;
#[cfg(not(target_os = "none"))]
pub use validate::validate_still;
pub(crate) use zero::ZeroPage;
pub use zero::zero_folio;

use rux_machine::{Hot, HotExt, Hw, IrqGuard, PreemptGuard, Scope, cold};

use crate::addr::{Order, PAGE_SIZE};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::memory::{memory, this_hart};
use crate::page::{Folio, MappingWord, PagePtr};
use crate::pcp;
use crate::stat::{self, Item};
use crate::zone::{AllocFlags, MigrateType, ZoneId};

/// Allocates a folio of `order` for user or file memory: one reference, no flags, no mapping; its bytes
/// are whatever was there, unless `gfp` has `ZERO`.
///
/// Sleeps if `gfp` lets it; then no spinlock may be held. Safe from interrupts with `ATOMIC` or `NOWAIT`.
///
/// # Errors
/// No memory, after what `gfp` allows was tried.
#[inline(always)]
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
pub fn alloc_pages(gfp: Gfp, order: Order) -> Result<PageBlock, AllocError> {
    let first = alloc(gfp, order)?;
    if gfp.contains(Gfp::COMP) && order != Order::ZERO {
        compound::make(first, order);
    }
    Ok(PageBlock::new(first, order))
}

#[inline(always)]
fn alloc(gfp: Gfp, order: Order) -> Result<PagePtr, AllocError> {
    let page = if order.get() < pcp::ORDERS {
        match pop(gfp, order) {
            Some(page) => page,
            None => slow::alloc(gfp, order)?,
        }
    } else {
        alloc_large(gfp, order)?
    };
    if gfp.contains(Gfp::ZERO) {
        zero(page, order);
    }
    #[cfg(debug_assertions)]
    free::check_new(page, order);
    Ok(page)
}

/// From this hart's list, if it has one and nothing special is asked of the thread.
#[inline(always)]
fn pop(gfp: Gfp, order: Order) -> Option<PagePtr> {
    if Hw::scope() != Scope::default() {
        return None;
    }
    let irqs = IrqGuard::new();
    let page = this_hart().pcp.pop(&irqs, order, MigrateType::of(gfp))?;
    page.count().set_first();
    Some(page)
}

/// Straight from the zone, if that is above its low watermark and nothing special is asked of the thread.
#[inline(never)]
fn alloc_large(gfp: Gfp, order: Order) -> Result<PagePtr, AllocError> {
    if Hw::scope() == Scope::default()
        && let Some(page) =
            memory().zone(ZoneId::of(gfp)).alloc_block(order, MigrateType::of(gfp), AllocFlags::LOW)
    {
        page.count().set_first();
        stat::add(Item::PgAlloc, order.pages() as i64);
        return Ok(page);
    }
    slow::alloc(gfp, order)
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
    let irqs = IrqGuard::new();
    this_hart().pcp.drain(&irqs, memory().zone(ZoneId::Normal));
}

/// Gives the lists of all harts back to the zones. Interrupts are on and no spinlock is held.
pub fn drain_all() {
    // Pinned, so that "the others" are the others.
    let _here = PreemptGuard::new();
    drain_pcp();
    cold::run_on(cold::online().without(Hw::hart()), |_| drain_pcp(), core::ptr::null_mut());
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

/// Frees memory so that an allocation of `order` may succeed, within `gfp`; says how many pages it freed: 0
/// is the end of the matter. Called without spinlocks, in a thread that may sleep.
pub type Reclaim = fn(gfp: Gfp, order: Order) -> usize;

/// Registers who frees memory when there is none: until then, slab gives back what it keeps ready.
pub fn register_reclaim(reclaim: Reclaim) {
    *memory().reclaim.lock() = Some(reclaim);
}

#[cfg(test)]
mod tests;
