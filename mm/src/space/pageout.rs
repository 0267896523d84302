//! `MADV_PAGEOUT`: pages that have another place than memory leave it (Linux: `madvise_pageout`, `reclaim_pages`).
//!
//! Without swap only a file's pages can: their mapping goes, and what was never written leaves the cache, since it
//! can be read again, or is zero in a file that is memory itself.

use super::Space;
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange};
use crate::page::pfn_to_page;
use crate::paging::{Entry, Gather, Kind, Level, Zap};
use crate::rmap::{Which, ZapPages};
use crate::vma::Vma;

/// Pages that are unmapped before their places in the cache are looked at: a bit each.
const CHUNK: u64 = u64::BITS as u64;

impl Space {
    /// Lets go of the pages of `part`, which is of `vma`. `mmap_lock` is held.
    pub(super) fn page_out(&self, vma: &Vma, part: VirtRange) {
        let Some(mapping) = vma.mapping() else { return };
        // Who may not change the file is not to learn by that who else uses its pages.
        if !vma.file().is_some_and(|file| file.may_see_residency()) {
            return;
        }
        let mut start = part.start;
        while start < part.end {
            let chunk = VirtRange::new(start, (start + CHUNK * PAGE_SIZE as u64).min(part.end));
            let taken = {
                let mut gather = Gather::new(&self.core.tables);
                let mut zap = ZapPages::new(&self.core, Which::FileOnly);
                let mut lonely = Lonely { zap: zap.of(vma.flags()), start, taken: 0 };
                self.core.tables.zap_range(chunk, &mut gather, &mut lonely);
                lonely.taken
            };
            // With the gather went its references, so that the cache has the only one if nobody else wants the page.
            for page in (0..CHUNK).filter(|page| taken & (1 << page) != 0) {
                let index = vma.page_index(start + (page << PAGE_SHIFT));
                if let Some(folio) = mapping.find(index) {
                    mapping.remove_unused(index, &folio);
                }
            }
            start = chunk.end;
        }
    }
}

/// Takes a file's pages out that are mapped nowhere else, and notes which.
struct Lonely<'a, 'z> {
    zap: &'a mut ZapPages<'z>,
    start: VirtAddr,
    /// A bit for each page from `start` on.
    taken: u64,
}

impl Zap for Lonely<'_, '_> {
    fn keeps<L: Level>(&mut self, addr: VirtAddr, entry: Entry<L>) -> bool {
        let (Kind::Leaf(pfn) | Kind::ProtNone(pfn)) = entry.kind() else { return true };
        entry.is_special() || pfn_to_page(pfn).folio().mapcount() != 1 || self.zap.keeps(addr, entry)
    }

    fn taken<L: Level>(&mut self, addr: VirtAddr, entry: Entry<L>, gather: &mut Gather<'_>) {
        self.taken |= 1 << ((addr - self.start) >> PAGE_SHIFT);
        self.zap.taken(addr, entry, gather);
    }
}
