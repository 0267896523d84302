//! The page allocator as everybody sees it (Linux: `mm/page_alloc.c`).

mod block;
mod folio_ref;
mod zero;

pub use block::PageBlock;
pub use folio_ref::FolioRef;
pub(crate) use zero::ZeroPage;
pub use zero::zero_folio;

use crate::addr::Order;
use crate::error::AllocError;
use crate::gfp::Gfp;

/// Allocates a folio of `order` for user or file memory: one reference, no flags, no mapping; its bytes
/// are whatever was there, unless `gfp` has `ZERO`.
///
/// Sleeps if `gfp` lets it; then no spinlock may be held. Safe from interrupts with `ATOMIC` or `NOWAIT`.
///
/// # Errors
/// No memory, after what `gfp` allows was tried.
#[inline]
pub fn alloc_folio(_gfp: Gfp, _order: Order) -> Result<FolioRef, AllocError> {
    unimplemented!()
}

/// Allocates a raw block of `order` for the kernel. As [`alloc_folio`], but the pages stay single: no
/// head, no tails.
///
/// # Errors
/// No memory, after what `gfp` allows was tried.
#[inline]
pub fn alloc_pages(_gfp: Gfp, _order: Order) -> Result<PageBlock, AllocError> {
    unimplemented!()
}

/// Gives this hart's lists back to the zones.
pub fn drain_pcp() {
    unimplemented!()
}

/// Gives the lists of all harts back to the zones. May sleep; interrupts are on.
pub fn drain_all() {
    unimplemented!()
}

/// Pages that are free, in the zones and on the harts' lists (`MemFree`). Exact when nobody allocates
/// meanwhile.
pub fn free_pages_count() -> u64 {
    unimplemented!()
}

/// Pages that the allocator was given (`MemTotal`).
pub fn total_pages() -> u64 {
    unimplemented!()
}

/// Frees memory so that an allocation of `order` may succeed, within `gfp`; says how many pages it freed.
/// Called with nothing locked, in a thread that may sleep.
pub type Reclaim = fn(gfp: Gfp, order: Order) -> usize;

/// Registers who frees memory when there is none; the first call counts.
pub fn register_reclaim(_reclaim: Reclaim) {
    unimplemented!()
}
