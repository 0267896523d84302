//! From a folio to all entries that map it (Linux: `rmap_walk`, `page_vma_mapped_walk`).
//!
//! What the folio points to has a link for every mapping that may show it. Of each, the entries at the addresses where
//! the folio's pages would be are looked at, and shown if they are the folio's. The folio is locked, so that it stays
//! where it is; the lock of the links keeps the tables over them from being freed. Whatever maps the folio when the
//! walk begins, and does so when it ends, is shown: copies are behind their parents (see [`super::imap`]), and
//! `mremap` moves entries with the lock held.

use core::ops::ControlFlow;

use super::SpaceCore;
use super::anon_vma::AnonRef;
use super::imap::Link;
use crate::addr::{PAGE_SHIFT, VirtAddr};
use crate::filemap::Mapping;
use crate::page::{FolioGuard, MappingWord};
use crate::paging::{Kind, Level, Slot, Visit};

/// What is done with the entries.
pub trait RmapVisit {
    /// An entry that maps a page of the folio, or several, from `addr` on. Its table is locked. May change it as
    /// [`Slot`] allows.
    fn entry<L: Level>(&mut self, core: &SpaceCore, addr: VirtAddr, slot: &Slot<L>) -> ControlFlow<()>;
}

/// Shows `visit` all entries that map pages of the folio, present or prot-none, until it breaks. Takes the lock of
/// the links, which sleeps, and those of page tables.
pub fn rmap_walk<V: RmapVisit>(folio: &FolioGuard<'_>, visit: &mut V) -> ControlFlow<()> {
    let first = folio.index();
    let last = first.saturating_add(folio.pages() as u64 - 1);
    let each = |link: &Link| walk_link(folio, link, first, last, visit);
    match folio.mapping() {
        MappingWord::Anon(_) => {
            let Some(anon) = AnonRef::of_folio(folio) else { return ControlFlow::Continue(()) };
            let family = anon.read();
            family.state(&anon).links.overlaps(first, last, each)
        }
        MappingWord::File(at) => {
            // SAFETY: the folio is in the file's cache, and leaves it, as it does before the cache is freed, with its
            // lock held, which the caller holds.
            let mapping = unsafe { &*core::ptr::with_exposed_provenance::<Mapping>(at) };
            mapping.maps().read().overlaps(first, last, each)
        }
        MappingWord::None | MappingWord::Movable(_) => ControlFlow::Continue(()),
    }
}

fn walk_link<V: RmapVisit>(
    folio: &FolioGuard<'_>,
    link: &Link,
    first: u64,
    last: u64,
    visit: &mut V,
) -> ControlFlow<()> {
    let Some(range) = link.place.addresses(first, last) else { return ControlFlow::Continue(()) };
    let offset = folio.pfn().get().wrapping_sub(first);
    link.core.tables.visit_range(range, &mut Mapped { link, offset, visit })
}

struct Mapped<'a, V> {
    link: &'a Link,
    /// Of a page's frame from its number.
    offset: u64,
    visit: &'a mut V,
}

impl<V: RmapVisit> Visit for Mapped<'_, V> {
    fn entry<L: Level>(&mut self, addr: VirtAddr, slot: &Slot<L>) -> ControlFlow<()> {
        let entry = slot.get();
        let (Kind::Leaf(pfn) | Kind::ProtNone(pfn)) = entry.kind() else { return ControlFlow::Continue(()) };
        let place = self.link.place;
        let index = place.pgoff + ((addr - place.range.start) >> PAGE_SHIFT);
        if entry.is_special() || pfn.get() != self.offset.wrapping_add(index) {
            return ControlFlow::Continue(());
        }
        self.visit.entry(&self.link.core, addr, slot)
    }
}
