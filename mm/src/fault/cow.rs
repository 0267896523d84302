//! A store to a page that is mapped read-only (Linux: `do_wp_page`, `wp_page_copy`).
//!
//! A private page that is this mapping's alone (anon-exclusive, or the only reference) becomes writable.
//! Otherwise the mapping gets a copy. The old translation is fenced while the entry is empty: no hart
//! goes on reading the old page once another can write to the new one.

use super::present::same_page;
use super::{Fault, Step, step};
use crate::addr::{PAGE_SIZE, VirtRange};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::lru;
use crate::page::{MappingWord, PageFlags, PagePtr, pfn_to_page};
use crate::page_alloc::FolioRef;
use crate::paging::{Bits, Entry, PteGuard};
use crate::rmap::{map_page, unmap_page};
use crate::stat::{self, Item};
use crate::vma::VmFlags;

impl Fault<'_> {
    /// `seen` is the entry, which does not let the store pass.
    pub(super) fn write_protected(&self, seen: Entry) -> Step {
        let guard = step!(self.lock_table());
        if !same_page(guard.get(), seen) {
            return Step::Again;
        }
        if seen.is_special() {
            drop(guard);
            return self.copy(seen, None);
        }
        let page = pfn_to_page(seen.pfn());
        if self.vma.flags().contains(VmFlags::SHARED) {
            page.folio().set_flags(PageFlags::DIRTY);
            return self.reuse(guard);
        }
        if page.folio().is_anon() && (page.anon_exclusive() || self.sole_reference(page)) {
            return self.reuse(guard);
        }
        let old = FolioRef::of(page.folio());
        drop(guard);
        self.copy(seen, Some((old, page)))
    }

    /// Lets the store pass.
    fn reuse(&self, guard: PteGuard<'_>) -> Step {
        guard.slot().insert(if self.vma.flags().contains(VmFlags::WRITE) {
            Bits::W | Bits::A | Bits::D
        } else {
            // A write by the kernel that overrides the rights: the page is ready for it.
            Bits::A | Bits::D
        });
        drop(guard);
        stat::inc(Item::PgReuse);
        self.core.tables.fence_spurious(self.addr);
        Step::Done
    }

    /// Gives the mapping a copy of `old`, or a page of zeroes.
    fn copy(&self, seen: Entry, old: Option<(FolioRef, PagePtr)>) -> Step {
        let new = match &old {
            Some((_, page)) => {
                self.new_page(Gfp::HIGHUSER_MOVABLE).inspect(|new| new.copy_page_from(0, page))
            }
            None => self.new_page(Gfp::HIGHUSER_MOVABLE | Gfp::ZERO),
        };
        let new = step!(new);
        let guard = step!(self.lock_table());
        if !same_page(guard.get(), seen) {
            return Step::Again;
        }
        let unmapped = unmap_page(self.core, guard.slot());
        if let Some((folio, _)) = &unmapped
            && self.vma.flags().locks_pages()
        {
            lru::munlock(folio);
        }
        self.core.tables.fence_range(VirtRange::new(self.addr, self.addr + PAGE_SIZE as u64));
        let entry = Entry::leaf(new.pfn(), self.vma.flags().page_prot()).dirty();
        let mapped = map_page(self.core, guard.slot(), new, entry);
        drop(guard);
        drop(unmapped);
        match mapped {
            Ok(()) => {
                self.fence_if_executable();
                Step::Done
            }
            // A page that nobody has seen has no mappings, so this does not come.
            Err(AllocError) => Step::Oom,
        }
    }

    /// Whether the entry has the only reference of the anonymous page: then it becomes exclusive, and is of this
    /// mapping from now on (Linux: `wp_can_reuse_anon_folio`, `folio_move_anon_rmap`). The table is locked.
    fn sole_reference(&self, page: PagePtr) -> bool {
        let folio = page.folio();
        if folio.is_large() || folio.refcount() != 1 {
            return false;
        }
        let Some(locked) = folio.try_lock() else { return false };
        if locked.refcount() != 1 {
            return false;
        }
        locked.set_mapping(MappingWord::Anon(self.vma.anon.word()));
        page.set_anon_exclusive();
        true
    }
}
