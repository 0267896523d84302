//! Whether walks find what the tables say (for tests).

use core::ops::ControlFlow;

use super::{RmapVisit, SpaceCore, rmap_walk};
use crate::addr::{Pfn, VirtAddr, VirtRange};
use crate::page::{MappingWord, pfn_to_page};
use crate::page_alloc::FolioRef;
use crate::paging::{Kind, Level, Slot, Visit};

/// The first entry of a range that maps a page.
struct First(Option<(VirtAddr, u64, Pfn)>);

impl Visit for First {
    fn entry<L: Level>(&mut self, addr: VirtAddr, slot: &Slot<L>) -> ControlFlow<()> {
        let entry = slot.get();
        match entry.kind() {
            Kind::Leaf(pfn) | Kind::ProtNone(pfn) if !entry.is_special() => {
                self.0 = Some((addr, L::BYTES, pfn));
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Looks for one entry, and counts all.
struct Seen<'a> {
    core: &'a SpaceCore,
    addr: VirtAddr,
    found: bool,
    entries: u32,
}

impl RmapVisit for Seen<'_> {
    fn entry<L: Level>(&mut self, core: &SpaceCore, addr: VirtAddr, _: &Slot<L>) -> ControlFlow<()> {
        self.found |= core::ptr::eq(core, self.core) && addr == self.addr;
        self.entries += 1;
        ControlFlow::Continue(())
    }
}

/// Walks from each page that is mapped in `range`, a mapping's: this entry has to be among those that are found, and
/// they have to be as many as are counted. Nobody maps or unmaps these pages meanwhile.
///
/// # Panics
/// When that is not so.
pub(crate) fn validate_walks(core: &SpaceCore, range: VirtRange) {
    let mut at = range.start;
    while at < range.end {
        let mut first = First(None);
        let _ = core.tables.visit_range(VirtRange::new(at, range.end), &mut first);
        let Some((addr, bytes, pfn)) = first.0 else { return };
        let folio = FolioRef::of(pfn_to_page(pfn).folio());
        // The kernel's own frames are mapped, but nothing leads back from them.
        if folio.mapping() != MappingWord::None {
            let locked = folio.lock();
            let mut seen = Seen { core, addr, found: false, entries: 0 };
            let _ = rmap_walk(&locked, &mut seen);
            assert!(seen.found, "a walk from {folio:?} does not come to {addr:?}");
            assert_eq!(seen.entries, folio.mapcount(), "entries that a walk from {folio:?} finds");
        }
        at = addr + bytes;
    }
}
