//! Whether everything that knows of an address space says the same (for tests).

use core::ops::ControlFlow;

use super::{Layout, Space};
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::page::{PageFlags, pfn_to_page};
use crate::paging::{Kind, Level, Slot, Visit};
use crate::rmap::{PageKind, Usage, validate_walks};
use crate::vma::{VmFlags, Vma};

impl Space {
    /// Compares mappings, tables, pages, links and figures, and walks from each page back to here. Nobody changes the
    /// address space, faults in it, or truncates a file that it maps, meanwhile.
    ///
    /// # Panics
    /// When they disagree.
    pub fn validate(&self) {
        let layout = self.layout.read();
        let found = layout.validate();
        assert_eq!(self.core.usage(), found, "the resident set");
        for vma in layout.vmas.iter() {
            vma.anon.validate(&self.core, vma.place(), &mut |_| ());
            validate_walks(&self.core, vma.range());
        }
    }
}

impl Layout {
    /// As [`Space::validate`], for who may change it alone; returns what is mapped, which a truncation may
    /// just be taking away.
    pub(super) fn validate(&self) -> Usage {
        self.vmas.validate();
        self.validate_figures();
        let tables = &self.core.tables;
        let mut found = Usage::default();
        let mut last_end = VirtAddr::ZERO;
        for vma in self.vmas.iter() {
            let _ = tables.visit_range(VirtRange::new(last_end, vma.start()), &mut Empty);
            let _ = tables.visit_range(vma.range(), &mut Pages { vma, found: &mut found });
            last_end = vma.end();
            if let Some(mapping) = vma.mapping() {
                let links = mapping.maps().read();
                assert!(links.has(&self.core, vma.place()), "no link of {:?}", vma.place());
                links.validate();
            }
        }
        let _ = tables.visit_range(VirtRange::new(last_end, tables.mode().user_end()), &mut Empty);
        found
    }

    fn validate_figures(&self) {
        let sum = |of: &dyn Fn(VmFlags) -> bool| -> u64 {
            self.vmas.iter().filter(|vma| of(vma.flags())).map(Vma::pages).sum()
        };
        assert_eq!(self.total_vm, sum(&|_| true), "total_vm");
        assert_eq!(self.locked_vm, sum(&|flags| flags.contains(VmFlags::LOCKED)), "locked_vm");
        assert_eq!(self.exec_vm, sum(&|flags| flags.is_exec()), "exec_vm");
        assert_eq!(self.stack_vm, sum(&|flags| flags.is_stack() && !flags.is_exec()), "stack_vm");
        assert_eq!(self.data_vm, sum(&|flags| flags.is_data()), "data_vm");
    }
}

/// Where nothing is mapped no entry may be.
struct Empty;

impl Visit for Empty {
    fn entry<L: Level>(&mut self, addr: VirtAddr, slot: &Slot<L>) -> ControlFlow<()> {
        panic!("{:?} at {addr:?}, where nothing is mapped", slot.get());
    }
}

/// What entries of a mapping may be.
struct Pages<'a> {
    vma: &'a Vma,
    found: &'a mut Usage,
}

impl Visit for Pages<'_> {
    fn entry<L: Level>(&mut self, addr: VirtAddr, slot: &Slot<L>) -> ControlFlow<()> {
        let entry = slot.get();
        let flags = self.vma.flags();
        let (Kind::Leaf(pfn) | Kind::ProtNone(pfn)) = entry.kind() else {
            panic!("{entry:?} at {addr:?}");
        };
        assert!(!entry.is_writable() || flags.contains(VmFlags::WRITE), "{entry:?} in {flags:?}");
        if entry.is_special() {
            assert!(!entry.is_writable(), "the page of zeroes may be written at {addr:?}");
            return ControlFlow::Continue(());
        }
        let page = pfn_to_page(pfn);
        let folio = page.folio();
        assert!(page.mapcount() > 0 && folio.refcount() > 0, "{addr:?}: {page:?}");
        let kept = folio.flags().contains(PageFlags::UNEVICTABLE);
        assert!(kept || !flags.locks_pages(), "not kept in memory at {addr:?}: {page:?}");
        let others = folio.mapcount() > 1 || !folio.is_anon();
        assert!(!kept || flags.locks_pages() || others, "kept in memory for nobody at {addr:?}: {page:?}");
        let pages = L::BYTES / PAGE_SIZE as u64;
        match PageKind::of(folio) {
            PageKind::File => self.found.file += pages,
            PageKind::Shmem => self.found.shmem += pages,
            PageKind::Anon => {
                self.found.anon += pages;
                assert!(!flags.contains(VmFlags::SHARED), "a private page in a shared mapping at {addr:?}");
                assert!(!page.anon_exclusive() || page.mapcount() == 1, "exclusive and shared: {page:?}");
            }
        }
        if entry.is_writable() && !flags.contains(VmFlags::SHARED) {
            assert!(
                folio.is_anon() && page.anon_exclusive(),
                "{addr:?} writes to a page of others: {page:?}"
            );
        }
        if folio.is_anon() {
            assert!(self.vma.anon.is_some(), "private pages of no group at {addr:?}");
        } else if self.vma.mapping().is_some() {
            assert_eq!(folio.index(), self.vma.page_index(addr), "the wrong page at {addr:?}");
        }
        ControlFlow::Continue(())
    }
}
