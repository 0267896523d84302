//! Counting one entry that maps a page, and one that does no more (Linux: `folio_add_anon_rmap_pte`,
//! `folio_add_file_rmap_pte`, `folio_remove_rmap_pte`).

use crate::addr::Pfn;
use crate::error::AllocError;
use crate::page::{Folio, pfn_to_page};
use crate::stat::{self, Item};

fn item(folio: &Folio) -> Item {
    if folio.is_anon() { Item::AnonMapped } else { Item::FileMapped }
}

/// Counts that an entry maps page `pfn` of `folio`. Under the lock of the entry's table.
///
/// # Errors
/// More mappings than a page can count; as if there were no memory.
#[inline]
pub(crate) fn count_mapping(folio: &Folio, pfn: Pfn) -> Result<(), AllocError> {
    match folio.map_page((pfn - folio.pfn()) as usize) {
        Some(0) => stat::inc(item(folio)),
        Some(_) => {}
        None => return Err(AllocError),
    }
    Ok(())
}

/// Counts that an entry maps page `pfn` no more. Under the lock of the entry's table; the reference that
/// the entry had is still to be put. Returns the page's folio.
#[inline]
pub(crate) fn uncount_mapping<'a>(pfn: Pfn) -> &'a Folio {
    let page = pfn_to_page(pfn);
    let folio = Folio::of(page.head());
    folio.unmap_page((pfn - folio.pfn()) as usize);
    if page.mapcount() == 0 {
        stat::dec(item(folio));
    }
    folio
}
