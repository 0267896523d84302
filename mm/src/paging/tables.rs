//! The page tables of one address space: its root, its tables, and how to reach an entry in them.
//!
//! A walk goes down without locks and locks the last table ([`super::down`] has the short way); intermediate entries
//! only ever change from empty to a table while somebody else may walk. Who walks holds the address space's mmap_lock,
//! or the lock of a VMA around the address, or that of a reverse map which the VMA is in: each keeps [`free_tables`]
//! away. Linux: `__pte_alloc`, `pte_offset_map_lock`, `follow_page_mask`.
//!
//! [`free_tables`]: PageTables::free_tables

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::alloc::{alloc_table, free_table};
use super::context::Context;
use super::down::At;
use super::entry::{Entry, Kind};
use super::kernel;
use super::level::{Level, Mode, P4d, Pgd, Pmd, Pte, Pud, TABLE_ENTRIES, Upper};
use super::table::{Slot, Table};
use super::walk::Parent;
use crate::addr::{PAGE_SIZE, Pfn, VirtAddr, VirtRange};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::stat::{self, Item};
use crate::sync::RawSpinGuard;

/// The tables of one address space (Linux: `mm->pgd`, `mm->context`, `mm_cpumask`, `mm->pgtables_bytes`).
#[derive(Debug)]
pub struct PageTables {
    root: Pfn,
    /// The root again, as a walk takes it.
    pub(super) top: At,
    mode: Mode,
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

impl AnyEntry {
    /// The bits.
    #[inline]
    pub fn bits(self) -> u64 {
        match self {
            Self::Pte(entry) => entry.bits(),
            Self::Pmd(entry) => entry.bits(),
            Self::Pud(entry) => entry.bits(),
            Self::P4d(entry) => entry.bits(),
            Self::Pgd(entry) => entry.bits(),
        }
    }

    /// The bytes that it covers.
    #[inline]
    pub fn covers(self) -> u64 {
        match self {
            Self::Pte(_) => Pte::BYTES,
            Self::Pmd(_) => Pmd::BYTES,
            Self::Pud(_) => Pud::BYTES,
            Self::P4d(_) => P4d::BYTES,
            Self::Pgd(_) => Pgd::BYTES,
        }
    }

    /// What it is, as if it were one of base pages: [`Kind::Table`] cannot be, as no walk ends there.
    #[inline]
    pub fn kind(self) -> Kind {
        Entry::<Pte>::from_bits(self.bits()).kind()
    }

    /// The frame that the page of `addr` is in, if it is a leaf.
    #[inline]
    pub fn frame(self, addr: VirtAddr) -> Option<Pfn> {
        match self.kind() {
            Kind::Leaf(first) => Some(first + (addr.get() & (self.covers() - 1)) / PAGE_SIZE as u64),
            _ => None,
        }
    }
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

/// Wraps an entry into the right arm of [`AnyEntry`].
pub(super) fn any<L: Level>(entry: Entry<L>) -> AnyEntry {
    let bits = entry.bits();
    match L::NUMBER {
        0 => AnyEntry::Pte(Entry::from_bits(bits)),
        1 => AnyEntry::Pmd(Entry::from_bits(bits)),
        2 => AnyEntry::Pud(Entry::from_bits(bits)),
        3 => AnyEntry::P4d(Entry::from_bits(bits)),
        _ => AnyEntry::Pgd(Entry::from_bits(bits)),
    }
}

impl PageTables {
    /// Tables that map the kernel and nothing else.
    ///
    /// # Errors
    /// No memory for the root.
    pub fn new(gfp: Gfp) -> Result<Self, AllocError> {
        let root = alloc_table::<Pgd>(gfp)?.pfn();
        let mode = kernel::mode();
        kernel::copy_kernel_half(root, mode);
        Ok(Self { root, top: At::of(root), mode, tables: AtomicUsize::new(0), context: Context::new() })
    }

    /// The root's frame.
    #[inline]
    pub fn root(&self) -> Pfn {
        self.root
    }

    /// How many levels it has.
    #[inline]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Bytes of tables below the root (`VmPTE`; Linux: `mm_pgtables_bytes`).
    pub fn bytes(&self) -> usize {
        self.tables.load(Relaxed) * PAGE_SIZE
    }

    /// Locks the last-level table over `addr`, allocating tables down to it where they are missing.
    ///
    /// # Errors
    /// See [`NoPte`].
    #[inline]
    pub fn lock_pte(&self, addr: VirtAddr, gfp: Gfp) -> Result<PteGuard<'_>, NoPte> {
        match self.quick_lock(addr) {
            Some(guard) => Ok(guard),
            None => self.lock_pte_slow(addr, gfp),
        }
    }

    #[cold]
    fn lock_pte_slow(&self, addr: VirtAddr, gfp: Gfp) -> Result<PteGuard<'_>, NoPte> {
        loop {
            let pmd = self.pmd_table(addr, gfp)?;
            let table = self.step(pmd, addr, gfp)?;
            // SAFETY: the caller keeps tables from being freed.
            let parent = Parent::new(unsafe { pmd.slot(addr) }, Entry::table(table.pfn()));
            if let Some(guard) = PteGuard::lock(table, parent, addr) {
                return Ok(guard);
            }
        }
    }

    /// The last-level table over `addr`, allocating tables down to it where they are missing.
    pub(super) fn pte_table(&self, addr: VirtAddr, gfp: Gfp) -> Result<Table<Pte>, NoPte> {
        self.step(self.pmd_table(addr, gfp)?, addr, gfp)
    }

    /// Locks the last-level table over `addr`, if there is one.
    #[inline]
    pub fn find_pte(&self, addr: VirtAddr) -> Option<PteGuard<'_>> {
        match self.quick_lock(addr) {
            Some(guard) => Some(guard),
            None => self.find_pte_slow(addr),
        }
    }

    #[cold]
    fn find_pte_slow(&self, addr: VirtAddr) -> Option<PteGuard<'_>> {
        #[inline(always)]
        fn step<L: Upper>(table: Table<L>, addr: VirtAddr) -> Option<Table<L::Below>> {
            // SAFETY: the caller keeps tables from being freed.
            let entry = unsafe { table.slot(addr) }.get();
            entry.is_table().then(|| Table::at(entry.pfn()))
        }
        let pud = match self.mode {
            Mode::Sv39 => Table::<Pud>::at(self.root),
            Mode::Sv48 => step(Table::<P4d>::at(self.root), addr)?,
            Mode::Sv57 => step(step(Table::<Pgd>::at(self.root), addr)?, addr)?,
        };
        let pmd = step(pud, addr)?;
        loop {
            // SAFETY: the caller keeps tables from being freed.
            let slot = unsafe { pmd.slot(addr) };
            let entry = slot.get();
            if !entry.is_table() {
                return None;
            }
            if let Some(guard) = PteGuard::lock(Table::at(entry.pfn()), Parent::new(slot, entry), addr) {
                return Some(guard);
            }
        }
    }

    /// The table of the level above the last over `addr`.
    #[inline(always)]
    fn pmd_table(&self, addr: VirtAddr, gfp: Gfp) -> Result<Table<Pmd>, NoPte> {
        let pud = match self.mode {
            Mode::Sv39 => Table::<Pud>::at(self.root),
            Mode::Sv48 => self.step(Table::<P4d>::at(self.root), addr, gfp)?,
            Mode::Sv57 => self.step(self.step(Table::<Pgd>::at(self.root), addr, gfp)?, addr, gfp)?,
        };
        self.step(pud, addr, gfp)
    }

    /// One level down towards `addr`.
    #[inline(always)]
    fn step<L: Upper>(&self, table: Table<L>, addr: VirtAddr, gfp: Gfp) -> Result<Table<L::Below>, NoPte> {
        // SAFETY: the caller keeps tables from being freed.
        let slot = unsafe { table.slot(addr) };
        let entry = slot.get();
        if entry.is_table() { Ok(Table::at(entry.pfn())) } else { self.grow(table, slot, entry, gfp) }
    }

    /// Puts a new table into the empty `slot` of `table`, or takes the one that somebody else put there meanwhile
    /// (Linux: `__pte_alloc`). No spin lock is held, unless `gfp` does not sleep.
    #[cold]
    pub(super) fn grow<L: Upper>(
        &self,
        table: Table<L>,
        slot: &Slot<L>,
        entry: Entry<L>,
        gfp: Gfp,
    ) -> Result<Table<L::Below>, NoPte> {
        if !entry.is_none() {
            return Err(NoPte::Huge(any(entry)));
        }
        let new = self.alloc::<L::Below>(gfp)?;
        // SAFETY: the caller keeps tables from being freed.
        let guard = unsafe { table.lock() };
        let entry = slot.get();
        if entry.is_none() {
            slot.set(Entry::table(new.pfn()));
            return Ok(new);
        }
        drop(guard);
        // SAFETY: it was made above, and nobody else has seen it.
        unsafe { self.free(new.pfn()) };
        if entry.is_table() { Ok(Table::at(entry.pfn())) } else { Err(NoPte::Huge(any(entry))) }
    }

    /// An empty table, counted as this address space's.
    pub(super) fn alloc<L: Level>(&self, gfp: Gfp) -> Result<Table<L>, AllocError> {
        let table = alloc_table(gfp)?;
        self.tables.fetch_add(1, Relaxed);
        stat::inc(Item::PageTable);
        Ok(table)
    }

    /// Frees a table of [`PageTables::alloc`].
    ///
    /// # Safety
    /// Neither software nor hardware reaches it any more.
    pub(super) unsafe fn free(&self, pfn: Pfn) {
        self.tables.fetch_sub(1, Relaxed);
        stat::dec(Item::PageTable);
        // SAFETY: the caller vouches for it.
        unsafe { free_table(pfn) };
    }
}

impl Drop for PageTables {
    fn drop(&mut self) {
        // A test that fails says why it did, and not what it left behind.
        #[cfg(not(target_os = "none"))]
        if std::thread::panicking() {
            return;
        }
        debug_assert_eq!(*self.tables.get_mut(), 0, "tables left behind");
        debug_assert!(self.context.is_idle(), "a hart translates with tables that are being freed");
        // SAFETY: nobody has the address space any more, no hart translates with it; what TLBs may hold is
        // under an ASID that nobody gets before they were all emptied.
        unsafe { free_table(self.root) };
    }
}

/// A locked last-level table, with a cursor on one of its entries. Holds a spin lock of rank `PageTable`.
#[derive(Debug)]
pub struct PteGuard<'a> {
    addr: VirtAddr,
    slots: &'a [Slot<Pte>; TABLE_ENTRIES],
    _lock: RawSpinGuard<'a>,
}

impl<'a> PteGuard<'a> {
    /// Locks `table`, unless `parent` does not lead to it any more.
    fn lock(table: Table<Pte>, parent: Parent<'_>, addr: VirtAddr) -> Option<Self> {
        // SAFETY: an entry led here, and the caller keeps tables from being freed.
        let (slots, lock) = unsafe { (table.slots(), table.lock()) };
        Self::new(slots, lock, parent, addr)
    }

    /// Of a table that was locked just now, unless `parent` does not lead to it any more.
    #[inline(always)]
    pub(super) fn new(
        slots: &'a [Slot<Pte>; TABLE_ENTRIES],
        lock: RawSpinGuard<'a>,
        parent: Parent<'_>,
        addr: VirtAddr,
    ) -> Option<Self> {
        parent.holds().then(|| Self { addr: addr.page_floor(), slots, _lock: lock })
    }

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
