//! Taking pages out of an address space (Linux: `zap_pte_range`, `struct zap_details`).

use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::lru;
use crate::page::pfn_to_page;
use crate::paging::{Entry, Gather, Kind, Level, Zap};
use crate::rmap::map_page::uncount;
use crate::rmap::{PageKind, SpaceCore};
use crate::vma::VmFlags;

/// Which pages go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// All.
    All,
    /// Those of the file; private copies stay (a hole punched, not a truncation).
    FileOnly,
}

/// The visitor that lets go of pages: mapcount, resident set, and what the entry knew of dirt and use.
pub(crate) struct ZapPages<'a> {
    core: &'a SpaceCore,
    which: Which,
    /// Of a mapping that locks its pages in memory.
    locked: bool,
    gone: [i64; 3],
}

impl<'a> ZapPages<'a> {
    pub(crate) fn new(core: &'a SpaceCore, which: Which) -> Self {
        core.note_high_rss();
        Self { core, which, locked: false, gone: [0; 3] }
    }

    /// The pages that are taken from here on are of a mapping with these flags, and it locks them no more.
    #[inline]
    pub(crate) fn of(&mut self, flags: VmFlags) -> &mut Self {
        self.locked = flags.locks_pages();
        self
    }
}

impl Drop for ZapPages<'_> {
    fn drop(&mut self) {
        for kind in [PageKind::File, PageKind::Anon, PageKind::Shmem] {
            if self.gone[kind as usize] != 0 {
                self.core.add_rss(kind, -self.gone[kind as usize]);
            }
        }
    }
}

impl Zap for ZapPages<'_> {
    #[inline(always)]
    fn keeps<L: Level>(&mut self, _addr: VirtAddr, entry: Entry<L>) -> bool {
        match (self.which, entry.kind()) {
            (Which::All, _) => false,
            (Which::FileOnly, Kind::Leaf(_) | Kind::ProtNone(_)) if entry.is_special() => false,
            (Which::FileOnly, Kind::Leaf(pfn) | Kind::ProtNone(pfn)) => pfn_to_page(pfn).folio().is_anon(),
            // A private copy may be in swap.
            (Which::FileOnly, _) => true,
        }
    }

    #[inline(always)]
    fn taken<L: Level>(&mut self, _addr: VirtAddr, entry: Entry<L>, gather: &mut Gather<'_>) {
        if let Some((folio, kind)) = uncount(entry) {
            self.gone[kind as usize] += (L::BYTES / PAGE_SIZE as u64) as i64;
            if self.locked {
                lru::munlock(&folio);
            }
            gather.page(folio);
        }
    }
}

/// Takes the pages of `range` out of `core`, fences, and puts them. Which mapping shows them is not known: what it
/// locks in memory stays so until it is freed, which is at once where a file lets go of its pages.
pub(crate) fn zap_range(core: &SpaceCore, range: VirtRange, which: Which) {
    let mut gather = Gather::new(&core.tables);
    core.tables.zap_range(range, &mut gather, &mut ZapPages::new(core, which));
}
