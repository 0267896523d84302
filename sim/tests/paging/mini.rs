//! An address space as small as can be: what a fault, an unmapping and a fork do to tables and TLBs, without
//! the rest of `mm`'s upper floors.

use rux_mm::FolioRef;
use rux_mm::addr::{Order, PAGE_SIZE, Pfn, VirtAddr, VirtRange};
use rux_mm::alloc_folio;
use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::page::pfn_to_page;
use rux_mm::paging::{
    Bits, Copied, CopyEntry, Entry, Gather, Kind, Level, PageTables, Prot, Protect, Slot, Zap,
};
use rux_mm::sync::{Rank, RwSem};
use rux_sim::{Access, Hart, PageFault};

/// The page of this number.
pub(crate) fn page(index: u64) -> VirtAddr {
    VirtAddr::new(index * PAGE_SIZE as u64)
}

/// The pages from `start` up to `end`.
pub(crate) fn pages(start: u64, end: u64) -> VirtRange {
    VirtRange::new(page(start), page(end))
}

/// The access is not allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segv;

/// One area: its pages, and whether they may be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    pub(crate) range: VirtRange,
    pub(crate) writable: bool,
}

/// The address space.
pub(crate) struct Mini {
    pub(crate) tables: PageTables,
    pub(crate) areas: RwSem<Vec<Area>>,
}

struct ZapPages;

impl Zap for ZapPages {
    fn taken<L: Level>(&mut self, _: VirtAddr, entry: Entry<L>, gather: &mut Gather<'_>) {
        if let Kind::Leaf(pfn) | Kind::ProtNone(pfn) = entry.kind() {
            // SAFETY: `fault` gave each mapping a reference.
            gather.page(unsafe { FolioRef::from_raw(pfn) });
        }
    }
}

struct SetProt(Prot);

impl Protect for SetProt {
    fn change<L: Level>(&mut self, _: VirtAddr, entry: Entry<L>) -> Entry<L> {
        if entry.is_present() { entry.with_prot(self.0) } else { entry }
    }
}

struct Share;

impl CopyEntry for Share {
    fn copy<L: Level>(&mut self, _: VirtAddr, from: &Slot<L>, to: &Slot<L>) -> Copied {
        from.remove(Bits::W);
        let entry = from.get();
        std::mem::forget(FolioRef::of(pfn_to_page(entry.pfn()).folio()));
        to.set(entry);
        Copied::Next
    }

    fn refill(&mut self) -> Result<(), AllocError> {
        Err(AllocError)
    }
}

fn new_page() -> FolioRef {
    alloc_folio(Gfp::HIGHUSER_MOVABLE | Gfp::ZERO, Order::ZERO).expect("memory")
}

fn copy_page(from: Pfn) -> FolioRef {
    let new = alloc_folio(Gfp::HIGHUSER_MOVABLE, Order::ZERO).expect("memory");
    // SAFETY: `from` is mapped read-only, and the new page is ours.
    unsafe { <rux_machine::Hw as rux_machine::Hot>::copy_page(new.pfn().as_ptr(), from.as_ptr()) };
    new
}

impl Mini {
    pub(crate) fn new() -> Self {
        Self {
            tables: PageTables::new(Gfp::KERNEL).expect("memory"),
            areas: RwSem::new(Rank::Mmap, Vec::new()),
        }
    }

    pub(crate) fn map(&self, range: VirtRange, writable: bool) {
        self.areas.write().push(Area { range, writable });
    }

    /// Unmaps areas that begin in `range`, with their tables.
    pub(crate) fn unmap(&self, range: VirtRange) {
        let mut areas = self.areas.write();
        let mut gather = Gather::new(&self.tables);
        areas.retain(|area| !range.contains(area.range.start));
        self.tables.zap_range(range, &mut gather, &mut ZapPages);
        let below = areas.iter().map(|area| area.range.end).filter(|end| *end <= range.start).max();
        let above = areas.iter().map(|area| area.range.start).filter(|start| *start >= range.end).min();
        let (floor, ceiling) = (below.unwrap_or_default(), above.unwrap_or(self.tables.mode().user_end()));
        self.tables.free_tables(range, floor, ceiling, &mut gather);
    }

    /// Throws the pages of `range` away, as MADV_DONTNEED does.
    pub(crate) fn zap(&self, range: VirtRange) {
        let _areas = self.areas.read();
        self.tables.zap_range(range, &mut Gather::new(&self.tables), &mut ZapPages);
    }

    /// Changes the rights of the areas that begin in `range`.
    pub(crate) fn protect(&self, range: VirtRange, writable: bool) {
        let mut areas = self.areas.write();
        for area in areas.iter_mut().filter(|area| range.contains(area.range.start)) {
            area.writable = writable;
            // To write again takes a fault, which sees whether the page is shared.
            let mut gather = Gather::new(&self.tables);
            self.tables.protect_range(area.range, &mut gather, &mut SetProt(Prot::USER_R));
        }
    }

    /// Moves the pages of `from` to the addresses from `to` on, whose pages go; the areas stay.
    pub(crate) fn relocate(&self, from: VirtRange, to: VirtAddr) {
        let _areas = self.areas.write();
        let mut gather = Gather::new(&self.tables);
        let target = VirtRange::from_len(to, from.len()).expect("below the end");
        self.tables.zap_range(target, &mut gather, &mut ZapPages);
        gather.flush();
        assert_eq!(self.tables.move_range(from, to, &mut gather, Gfp::KERNEL), from.end);
    }

    /// A copy that shares the pages until one writes.
    pub(crate) fn fork(&self) -> Self {
        let areas = self.areas.write();
        let tables = PageTables::new(Gfp::KERNEL).expect("memory");
        let child = Self { tables, areas: RwSem::new(Rank::Mmap, areas.clone()) };
        for area in areas.iter() {
            self.tables.copy_range(&child.tables, area.range, Gfp::KERNEL, &mut Share).expect("memory");
        }
        // What was writable is no more.
        self.tables.fence_all();
        child
    }

    /// Serves a page fault.
    pub(crate) fn fault(&self, fault: PageFault) -> Result<(), Segv> {
        let areas = self.areas.read();
        let area = areas.iter().find(|area| area.range.contains(fault.addr)).ok_or(Segv)?;
        let write = fault.access == Access::Store;
        if write && !area.writable || fault.access == Access::Fetch {
            return Err(Segv);
        }
        let mark = |entry: Entry| if write { entry.dirty().writable() } else { entry.young() };
        let guard = self.tables.lock_pte(fault.addr, Gfp::KERNEL).expect("memory");
        let entry = guard.get();
        match entry.kind() {
            Kind::None => {
                drop(guard);
                let new = new_page();
                let guard = self.tables.lock_pte(fault.addr, Gfp::KERNEL).expect("memory");
                if guard.get().is_none() {
                    guard.set(mark(Entry::leaf(new.into_raw(), Prot::USER_R)));
                }
            }
            Kind::Leaf(pfn) if write && !entry.is_writable() => {
                let alone = pfn_to_page(pfn).refcount() == 1;
                if alone {
                    guard.slot().insert(Bits::W | Bits::A | Bits::D);
                    drop(guard);
                    self.tables.fence_spurious(fault.addr);
                } else {
                    // The old page stays while the lock is held: nobody else takes our mapping's reference.
                    let new = copy_page(pfn);
                    let mut gather = Gather::new(&self.tables);
                    let old = guard.slot().take();
                    gather.changed(fault.addr.page_floor(), PAGE_SIZE as u64);
                    gather.fence();
                    guard.set(mark(Entry::leaf(new.into_raw(), Prot::USER_R)));
                    drop(guard);
                    // SAFETY: the mapping that is gone had a reference.
                    gather.page(unsafe { FolioRef::from_raw(old.pfn()) });
                }
            }
            Kind::Leaf(_) => {
                guard.slot().insert(if write { Bits::A | Bits::D } else { Bits::A });
                drop(guard);
                self.tables.fence_spurious(fault.addr);
            }
            kind => panic!("{kind:?} at {:?}", fault.addr),
        }
        Ok(())
    }

    /// Loads as a program.
    pub(crate) fn load(&self, hart: &Hart<'_>, addr: VirtAddr) -> Result<u64, Segv> {
        hart.load(addr, |fault| self.fault(fault))
    }

    /// Stores as a program.
    pub(crate) fn store(&self, hart: &Hart<'_>, addr: VirtAddr, value: u64) -> Result<(), Segv> {
        hart.store(addr, value, |fault| self.fault(fault))
    }

    /// Gives everything back.
    pub(crate) fn end(self) {
        self.unmap(VirtRange::new(VirtAddr::ZERO, self.tables.mode().user_end()));
        assert_eq!(self.tables.bytes(), 0);
    }
}
