//! The frames that tables are in.

use super::level::Level;
use super::table::Table;
use crate::addr::{Order, Pfn};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::page::{PageType, TableArm, pfn_to_page};
use crate::page_alloc::{PageBlock, alloc_pages};

/// An empty table, nobody's yet (Linux: `pagetable_pte_ctor` and the like).
pub(super) fn alloc_table<L: Level>(gfp: Gfp) -> Result<Table<L>, AllocError> {
    let pfn = alloc_pages(gfp | Gfp::ZERO, Order::ZERO)?.into_raw();
    let page = pfn_to_page(pfn);
    page.clear_arm();
    page.count().set_type(PageType::Table);
    Ok(Table::at(pfn))
}

/// Frees the table in frame `pfn`.
///
/// # Safety
/// It comes from [`alloc_table`], and neither software nor hardware reaches it any more.
pub(super) unsafe fn free_table(pfn: Pfn) {
    let page = pfn_to_page(pfn);
    debug_assert!(!page.arm::<TableArm>().lock.is_locked());
    page.count().clear_type(PageType::Table);
    // SAFETY: `alloc_table` took it from such a block; the caller gives it away.
    drop(unsafe { PageBlock::from_raw(pfn, Order::ZERO) });
}
