//! The page tables of one address space: its root, its tables, and how to reach an entry in them.
//!
//! A walk goes down without locks and locks the last table; intermediate entries only ever change from
//! empty to a table while somebody else may walk. Who walks holds the address space's mmap_lock, or the lock
//! of a VMA around the address, or that of a reverse map which the VMA is in: each keeps [`free_tables`]
//! away. Linux: `__pte_alloc`, `pte_offset_map_lock`, `follow_page_mask`.
//!
//! [`free_tables`]: PageTables::free_tables

use core::marker::PhantomData;
use core::sync::atomic::AtomicUsize;

use super::context::Context;
use super::entry::Entry;
use super::level::{Level, P4d, Pgd, Pmd, Pte, Pud};
use super::table::Slot;
use crate::addr::{Pfn, VirtAddr, VirtRange};
use crate::error::AllocError;
use crate::gfp::Gfp;

/// The tables of one address space (Linux: `mm->pgd`, `mm->context`, `mm_cpumask`, `mm->pgtables_bytes`).
#[derive(Debug)]
pub struct PageTables {
    root: Pfn,
    /// Tables below the root.
    tables: AtomicUsize,
    pub(super) context: Context,
}

/// An entry at the level where a walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnyEntry {
    /// 4 KiB.
    Pte(Entry<Pte>),
    /// 2 MiB.
    Pmd(Entry<Pmd>),
    /// 1 GiB.
    Pud(Entry<Pud>),
    /// 512 GiB.
    P4d(Entry<P4d>),
    /// 256 TiB.
    Pgd(Entry<Pgd>),
}

/// Why [`PageTables::lock_pte`] has no entry to give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPte {
    /// There was no memory for a table.
    OutOfMemory,
    /// A level above has an entry that is neither empty nor a table: a huge leaf, or one that is prot-none or
    /// not present.
    Huge(AnyEntry),
}

impl From<AllocError> for NoPte {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl PageTables {
    /// Tables that map the kernel and nothing else.
    pub fn new(_gfp: Gfp) -> Result<Self, AllocError> {
        unimplemented!()
    }

    /// The root's frame.
    #[inline]
    pub fn root(&self) -> Pfn {
        self.root
    }

    /// Bytes of tables below the root (`VmPTE`; Linux: `mm_pgtables_bytes`).
    pub fn bytes(&self) -> usize {
        self.tables.load(core::sync::atomic::Ordering::Relaxed) * crate::addr::PAGE_SIZE
    }

    /// The entry at which a walk for `addr` ends, a leaf or not. Takes no lock; the entry may be another the
    /// moment after.
    pub fn lookup(&self, _addr: VirtAddr) -> AnyEntry {
        unimplemented!()
    }

    /// Locks the last-level table over `addr`, allocating tables down to it where they are missing.
    pub fn lock_pte(&self, _addr: VirtAddr, _gfp: Gfp) -> Result<PteGuard<'_>, NoPte> {
        unimplemented!()
    }

    /// Locks the last-level table over `addr`, if there is one.
    pub fn find_pte(&self, _addr: VirtAddr) -> Option<PteGuard<'_>> {
        unimplemented!()
    }

    /// Frees the tables that cover nothing but `range` and what is around it up to `floor` and `ceiling`:
    /// the end of the last mapping below and the start of the next above (Linux: `free_pgtables`). All
    /// entries in them are empty. mmap_lock is held for writing, or nobody else uses the address space.
    pub fn free_tables(
        &self,
        _range: VirtRange,
        _floor: VirtAddr,
        _ceiling: VirtAddr,
        _gather: &mut super::gather::Gather<'_>,
    ) {
        unimplemented!()
    }
}

/// A locked last-level table, with a cursor on one of its entries. Holds a spin lock of rank `PAGE_TABLE`.
#[derive(Debug)]
pub struct PteGuard<'a> {
    addr: VirtAddr,
    slots: &'a [Slot<Pte>; super::level::TABLE_ENTRIES],
    not_send: PhantomData<*mut ()>,
}

impl<'a> PteGuard<'a> {
    /// The first address of the page that the cursor is on.
    #[inline(always)]
    pub fn addr(&self) -> VirtAddr {
        self.addr
    }

    /// The entry under the cursor.
    #[inline(always)]
    pub fn slot(&self) -> &Slot<Pte> {
        &self.slots[Pte::index(self.addr)]
    }

    /// The entry under the cursor, read.
    #[inline(always)]
    pub fn get(&self) -> Entry {
        self.slot().get()
    }

    /// Sets the entry under the cursor; see [`Slot::set`].
    #[inline(always)]
    pub fn set(&self, entry: Entry) {
        self.slot().set(entry)
    }

    /// What the table covers: 2 MiB around the cursor.
    #[inline]
    pub fn span(&self) -> VirtRange {
        let start = self.addr.align_down(Pmd::BYTES);
        VirtRange::new(start, start + Pmd::BYTES)
    }

    /// Moves the cursor; `addr` is within [`PteGuard::span`].
    #[inline]
    pub fn seek(&mut self, addr: VirtAddr) {
        debug_assert!(self.span().contains(addr));
        self.addr = addr.page_floor();
    }

    /// The entry of `addr`, which is within [`PteGuard::span`]. For fault-around and the like.
    #[inline]
    pub fn slot_of(&self, addr: VirtAddr) -> &Slot<Pte> {
        debug_assert!(self.span().contains(addr));
        &self.slots[Pte::index(addr)]
    }
}
