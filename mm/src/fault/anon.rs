//! First touch of anonymous memory (Linux: `do_anonymous_page`): the page of zeroes for a read, a page of
//! its own for a write.

use super::{Access, Fault, Step, step};
use crate::addr::Order;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::lru;
use crate::page::{Folio, MappingWord, PageFlags};
use crate::page_alloc::{FolioRef, alloc_folio, zero_folio};
use crate::paging::{Bits, Entry};
use crate::rmap::map_page;
use crate::vma::group_of_neighbour;

impl Fault<'_> {
    pub(super) fn anonymous(&self) -> Step {
        let prot = self.vma.flags().page_prot();
        if self.access != Access::Write {
            let Ok(zero) = zero_folio() else { return Step::Oom };
            let guard = step!(self.lock_empty());
            guard.set(Entry::leaf(zero.pfn(), prot.read_only().special()).with(Bits::A));
            return Step::Done;
        }
        let folio = step!(self.new_page(Gfp::HIGHUSER_MOVABLE | Gfp::ZERO));
        let guard = step!(self.lock_empty());
        let entry = Entry::leaf(folio.pfn(), prot).dirty();
        match map_page(self.core, guard.slot(), folio, entry) {
            Ok(()) => Step::Done,
            Err(AllocError) => Step::Oom,
        }
    }

    /// Keeps a page in memory that the mapping maps now, if it locks its pages.
    #[inline(always)]
    pub(super) fn lock_page(&self, folio: &Folio) {
        if self.vma.flags().locks_pages() {
            lru::mlock(folio);
        }
    }

    /// A page for this mapping alone, which nobody has seen yet; or what is in the way.
    pub(super) fn new_page(&self, gfp: Gfp) -> Result<FolioRef, Step> {
        self.have_group()?;
        let Ok(folio) = alloc_folio(gfp, Order::ZERO) else { return Err(Step::Oom) };
        folio.set_mapping(MappingWord::Anon(self.vma.anon.word()));
        folio.set_index(self.vma.page_index(self.addr));
        folio.set_flags(PageFlags::SWAPBACKED | PageFlags::UPTODATE | PageFlags::ANON_EXCLUSIVE);
        lru::add(&folio);
        self.lock_page(&folio);
        Ok(folio)
    }

    /// Sees to it that there is a group for the mapping's anonymous pages.
    #[inline(always)]
    pub(super) fn have_group(&self) -> Result<(), Step> {
        if self.vma.anon.is_some() { Ok(()) } else { self.prepare_group() }
    }

    /// The mapping gets a group for its anonymous pages, which takes a look at its neighbours (Linux:
    /// `vmf_anon_prepare`).
    #[cold]
    fn prepare_group(&self) -> Result<(), Step> {
        let Some(layout) = self.layout else { return Err(Step::Again) };
        let neighbour = group_of_neighbour(self.vma, &layout.vmas);
        let prepared = self.vma.anon.prepare(neighbour, &layout.core, self.vma.place());
        prepared.map_err(|AllocError| Step::Oom)
    }
}
