//! Entries and the pages behind them: what one more entry, or one less, changes (Linux:
//! `folio_add_anon_rmap_pte`, `folio_add_file_rmap_pte`, `folio_remove_rmap_pte`).
//!
//! Every present entry that is not special owns one reference of its folio, one mapcount of its page and
//! one page of the address space's resident set. Entries come and go through here, so that this holds.
//! The lock of the entry's table is held throughout.

use crate::addr::Pfn;
use crate::error::AllocError;
use crate::lru;
use crate::page::{Folio, PageFlags, pfn_to_page};
use crate::page_alloc::FolioRef;
use crate::paging::{Bits, Entry, Kind, Level, Slot};
use crate::rmap::{PageKind, SpaceCore};
use crate::stat::{self, Item};

fn item(folio: &Folio) -> Item {
    if folio.is_anon() { Item::AnonMapped } else { Item::FileMapped }
}

/// Sets `slot`, which is empty, to `entry`, which maps page `entry.pfn()` of `folio`. The entry takes the
/// reference over.
///
/// # Errors
/// The page has more mappings than can be counted; nothing has changed.
#[inline]
pub(crate) fn map_page(
    core: &SpaceCore,
    slot: &Slot,
    folio: FolioRef,
    entry: Entry,
) -> Result<(), AllocError> {
    debug_assert!(slot.get().is_none() && entry.is_present() && !entry.is_special());
    count(&folio, entry.pfn())?;
    core.add_rss(PageKind::of(&folio), 1);
    folio.into_raw();
    slot.set(entry);
    Ok(())
}

/// Counts one more entry that maps page `pfn`.
#[inline(always)]
fn count(folio: &Folio, pfn: Pfn) -> Result<(), AllocError> {
    match folio.map_page((pfn - folio.pfn()) as usize) {
        Some(0) => stat::inc(item(folio)),
        Some(_) => {}
        None => return Err(AllocError),
    }
    Ok(())
}

/// Empties `slot`. What it mapped, if anything was counted for it, and its last state come back; the
/// caller fences before it lets go of the folio.
#[inline]
pub(crate) fn unmap_page(core: &SpaceCore, slot: &Slot) -> Option<(FolioRef, Entry)> {
    let entry = slot.take();
    let (folio, kind) = uncount(entry)?;
    core.add_rss(kind, -1);
    Some((folio, entry))
}

/// Takes what an entry owned, which was just taken out of its slot; the resident set is the caller's
/// affair. What the entry knew of dirt and use goes to the folio.
#[inline(always)]
pub(super) fn uncount<L: Level>(entry: Entry<L>) -> Option<(FolioRef, PageKind)> {
    let pfn = match entry.kind() {
        Kind::Leaf(pfn) | Kind::ProtNone(pfn) if !entry.is_special() => pfn,
        _ => return None,
    };
    // SAFETY: the entry owned a reference of the page's folio, and is gone: it is ours now.
    let folio = unsafe { FolioRef::from_raw(pfn_to_page(pfn).head().pfn()) };
    // Asked again, the count might be another's doing already.
    if folio.unmap_page((pfn - folio.pfn()) as usize) == 0 {
        stat::dec(item(&folio));
    }
    let kind = PageKind::of(&folio);
    if kind != PageKind::Anon {
        if entry.is_dirty() && !folio.flags().contains(PageFlags::DIRTY) {
            folio.set_flags(PageFlags::DIRTY);
        }
        if entry.is_young() {
            lru::mark_accessed(&folio);
        }
    }
    Some((folio, kind))
}

/// Copies the entry of `from` to `to`, which is empty, for a child; with `cow`, neither may write afterwards
/// and the page is nobody's alone. Returns whether the parent's entry lost its right to write, which
/// somebody has to fence (Linux: `copy_present_ptes`, `folio_try_dup_anon_rmap_pte`).
///
/// # Errors
/// The page has more mappings than can be counted; nothing has changed.
#[inline]
pub(crate) fn copy_page<L: Level>(
    child: &mut [i64; 3],
    cow: bool,
    from: &Slot<L>,
    to: &Slot<L>,
) -> Result<bool, AllocError> {
    let mut entry = from.get();
    let mut revoked = false;
    match entry.kind() {
        Kind::Leaf(pfn) | Kind::ProtNone(pfn) if !entry.is_special() => {
            let page = pfn_to_page(pfn);
            let folio = page.folio();
            let reference = FolioRef::of(folio);
            count(folio, pfn)?;
            reference.into_raw();
            if folio.is_anon() && page.anon_exclusive() {
                page.clear_anon_exclusive();
            }
            if cow && entry.has(Bits::W) {
                // A and D may have been set since.
                entry = from.remove(Bits::W).read_only();
                revoked = true;
            }
            child[PageKind::of(folio) as usize] += 1;
        }
        Kind::Leaf(_) | Kind::ProtNone(_) | Kind::NonPresent(_) => {}
        Kind::None | Kind::Table(_) => return Ok(false),
    }
    to.set(entry);
    Ok(revoked)
}
