//! First touch of a page of a file (Linux: `do_fault`): a read maps the cache's page and those around it
//! that are there, a private store a copy, a shared store the page itself.

use super::{Access, Fault, Step, step};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use crate::error::AllocError;
use crate::filemap::{FileError, Mapping};
use crate::gfp::Gfp;
use crate::page::{Folio, PageFlags};
use crate::page_alloc::FolioRef;
use crate::paging::{Bits, Entry, Level, Pmd};
use crate::rmap::map_page;
use crate::slab::KArc;
use crate::vma::{SpecialMapping, VmFlags};

/// Pages that a read maps at once, a power of two (Linux: `fault_around_bytes`).
const AROUND: usize = 16;

impl Fault<'_> {
    pub(super) fn file(&self) -> Step {
        let Some(mapping) = self.vma.mapping() else { return Step::Sigbus };
        let index = self.vma.page_index(self.addr);
        match self.access {
            Access::Write if self.vma.flags().contains(VmFlags::SHARED) => self.shared_write(mapping, index),
            Access::Write => self.private_write(mapping, index),
            Access::Read | Access::Execute => self.read(mapping, index),
        }
    }

    /// The page, up to date.
    fn cached(&self, mapping: &KArc<Mapping>, index: u64) -> Result<FolioRef, Step> {
        if index >= mapping.end_index() {
            return Err(Step::Sigbus);
        }
        let found = mapping.find(index);
        match found {
            Some(folio) if folio.is_uptodate() => return Ok(folio),
            _ if !mapping.is_memory() => return Err(Step::Read(mapping.clone(), index)),
            _ => {}
        }
        mapping.get_from(index, found).map_err(|error| match error {
            FileError::NoMemory => Step::Oom,
            _ => Step::Sigbus,
        })
    }

    fn read(&self, mapping: &KArc<Mapping>, index: u64) -> Step {
        let step = match self.cached(mapping, index) {
            Ok(folio) => self.map_cached(mapping, index, folio, self.read_entry()),
            Err(step) => step,
        };
        // Linux looks around before it finds that there is no such page.
        if matches!(step, Step::Done | Step::Sigbus) {
            self.map_around(mapping);
            self.fence_if_executable();
        }
        step
    }

    /// What a page of the file is mapped with for a read: a shared mapping may write at once, as nobody
    /// waits to hear of it.
    fn read_entry(&self) -> impl Fn(&FolioRef) -> Entry {
        let flags = self.vma.flags();
        let prot = flags.page_prot();
        let prot = if flags.contains(VmFlags::SHARED) { prot } else { prot.read_only() };
        move |folio| Entry::leaf(folio.pfn(), prot).with(Bits::A)
    }

    fn shared_write(&self, mapping: &KArc<Mapping>, index: u64) -> Step {
        let folio = step!(self.cached(mapping, index));
        let prot = self.vma.flags().page_prot();
        let step = self.map_cached(mapping, index, folio, |folio| {
            folio.set_flags(PageFlags::DIRTY);
            Entry::leaf(folio.pfn(), prot).dirty()
        });
        if matches!(step, Step::Done) {
            self.fence_if_executable();
        }
        step
    }

    /// Maps the page under its lock, so that it is not truncated meanwhile.
    fn map_cached(
        &self,
        mapping: &Mapping,
        index: u64,
        folio: FolioRef,
        entry: impl Fn(&FolioRef) -> Entry,
    ) -> Step {
        let mapped = folio.clone();
        let Some(locked) = folio.try_lock() else { return Step::Locked(mapped) };
        if !mapping.owns(&locked, index) {
            return Step::Again;
        }
        if index >= mapping.end_index() {
            return Step::Sigbus;
        }
        let guard = step!(self.lock_empty());
        let entry = entry(&mapped);
        match map_page(self.core, guard.slot(), mapped, entry) {
            Ok(()) => {
                self.lock_page(&locked);
                Step::Done
            }
            Err(AllocError) => Step::Oom,
        }
    }

    /// Maps what is in the cache around the address, as far as nothing has to be waited for (Linux:
    /// `filemap_map_pages`).
    fn map_around(&self, mapping: &Mapping) {
        let window = (AROUND * PAGE_SIZE) as u64;
        let start = self.addr.align_down(window).max(self.vma.start());
        // As long as a whole window where it begins late, but within one table.
        let table_end = self.addr.align_down(Pmd::BYTES) + Pmd::BYTES;
        let end = (start + window).min(self.vma.end()).min(table_end);
        let first = self.vma.page_index(start);
        let Some(guard) = self.core.tables.find_pte(self.addr) else { return };
        let entry = self.read_entry();
        mapping.for_each_uptodate(first, (end - start) >> PAGE_SHIFT, |index, folio| {
            let at: VirtAddr = start + ((index - first) << PAGE_SHIFT);
            let slot = guard.slot_of(at);
            if !slot.get().is_none() {
                return;
            }
            let page = Folio::of(folio.head());
            let Some(locked) = page.try_lock() else { return };
            if mapping.owns(&locked, index) && locked.is_uptodate() && index < mapping.end_index() {
                let entry = entry(&folio);
                // A page that cannot be counted once more is left to its own fault. It stays the file's, and so stays
                // there, while it is locked.
                if map_page(self.core, slot, folio, entry).is_ok() {
                    self.lock_page(&locked);
                }
            }
        });
    }

    /// A copy of the page, at once (Linux: `do_cow_fault`).
    fn private_write(&self, mapping: &KArc<Mapping>, index: u64) -> Step {
        // First of all, as Linux: that there is no such page is found later.
        step!(self.have_group());
        let folio = step!(self.cached(mapping, index));
        let new = step!(self.new_page(Gfp::HIGHUSER_MOVABLE));
        let Some(locked) = folio.try_lock() else { return Step::Locked(folio.clone()) };
        if !mapping.owns(&locked, index) {
            return Step::Again;
        }
        if index >= mapping.end_index() {
            return Step::Sigbus;
        }
        new.copy_page_from(0, &locked.page(0));
        let guard = step!(self.lock_empty());
        let entry = Entry::leaf(new.pfn(), self.vma.flags().page_prot()).dirty();
        match map_page(self.core, guard.slot(), new, entry) {
            Ok(()) => {
                drop(guard);
                self.fence_if_executable();
                Step::Done
            }
            Err(AllocError) => Step::Oom,
        }
    }

    /// A frame of the kernel's (Linux: `special_mapping_fault`).
    pub(super) fn special(&self, special: &SpecialMapping) -> Step {
        let index = self.vma.page_index(self.addr);
        let Some(folio) = usize::try_from(index).ok().and_then(|index| special.folios.get(index)) else {
            return Step::Sigbus;
        };
        let guard = step!(self.lock_empty());
        let entry = Entry::leaf(folio.pfn(), self.vma.flags().page_prot().read_only()).with(Bits::A);
        match map_page(self.core, guard.slot(), folio.clone(), entry) {
            Ok(()) => {
                drop(guard);
                self.fence_if_executable();
                Step::Done
            }
            Err(AllocError) => Step::Oom,
        }
    }
}
