//! The kernel's own mappings: the direct map, descriptors, its image, device registers.
//!
//! Their top-level entries are the same in every address space and are all there before the first one is
//! made. Before the page allocator exists, tables come from whatever the boot code gives. Linux:
//! `create_pgd_mapping` in `arch/riscv/mm/init.c`, `ioremap_page_range`.

use core::sync::atomic::Ordering;

use rux_machine::PreemptGuard;
use rux_machine::cold::{self, Fence};

use super::alloc::alloc_table;
use super::entry::{Entry, Prot};
use super::flush;
use super::level::{Level, Mode, Pgd, Pmd, Pte, Pud, TABLE_ENTRIES, Upper};
use super::table::{Slot, Table};
use super::walk::{self, Look, Parent, Walker};
use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, VirtAddr, VirtRange};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::memory::memory;

/// The largest leaf that [`KernelTables::map`] may make.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MaxLeaf {
    /// 4 KiB.
    Page,
    /// 2 MiB.
    Mega,
    /// 1 GiB.
    Giga,
}

/// The kernel's tables while they are built. Tables are reached through the direct map.
#[derive(Debug)]
pub struct KernelTables {
    mode: Mode,
    root: Pfn,
}

impl KernelTables {
    /// Empty tables of `mode`, in a zeroed frame from `alloc`.
    ///
    /// # Errors
    /// `alloc`'s.
    pub fn new(mode: Mode, alloc: &mut impl FnMut() -> Result<Pfn, AllocError>) -> Result<Self, AllocError> {
        Ok(Self { mode, root: alloc()? })
    }

    /// Maps `range` to the physical memory from `phys` on, with the largest leaves up to `max` that fit.
    /// `alloc` gives zeroed frames. What was mapped there is replaced, but no huge leaf by smaller ones; no fence is
    /// made. The last page of the address space is not in `range`.
    ///
    /// # Errors
    /// `alloc`'s.
    pub fn map(
        &mut self,
        range: VirtRange,
        phys: PhysAddr,
        prot: Prot,
        max: MaxLeaf,
        alloc: &mut impl FnMut() -> Result<Pfn, AllocError>,
    ) -> Result<(), AllocError> {
        let max = match max {
            MaxLeaf::Page => Pte::BYTES,
            MaxLeaf::Mega => Pmd::BYTES,
            MaxLeaf::Giga => Pud::BYTES,
        };
        let mut map = Map { base: range.start, pfn: phys.pfn(), prot, max, alloc };
        walk::walk(self.mode, self.root, range, &mut map)
    }

    /// Makes the top-level entries over `range`, so that what is mapped there later is seen in every address
    /// space.
    ///
    /// # Errors
    /// `alloc`'s.
    pub fn reserve(
        &mut self,
        range: VirtRange,
        alloc: &mut impl FnMut() -> Result<Pfn, AllocError>,
    ) -> Result<(), AllocError> {
        walk::walk(self.mode, self.root, range, &mut Reserve { levels: self.mode.levels(), alloc })
    }

    /// The root's frame.
    pub fn root(&self) -> Pfn {
        self.root
    }

    /// What `satp` is to be.
    pub fn satp(&self) -> u64 {
        super::level::satp(self.mode, self.root, 0)
    }

    /// Makes these the tables that every address space copies the kernel's half from, and `ioremap` the addresses
    /// that device registers get, whose top-level entries are reserved. Once, at boot.
    pub fn publish(self, ioremap: VirtRange) {
        let paging = &memory().paging;
        paging.mode.store(self.mode as u8, Ordering::Relaxed);
        paging.kernel_root.store(self.root.get(), Ordering::Release);
        *paging.ioremap.lock() = ioremap;
    }
}

/// Maps memory that is one piece.
struct Map<'a, A> {
    /// The address that `pfn` is for.
    base: VirtAddr,
    pfn: Pfn,
    prot: Prot,
    /// Bytes of the largest leaf.
    max: u64,
    alloc: &'a mut A,
}

impl<A> Map<'_, A> {
    #[inline(always)]
    fn frame(&self, addr: VirtAddr) -> Pfn {
        self.pfn + (addr - self.base) / PAGE_SIZE as u64
    }
}

impl<A: FnMut() -> Result<Pfn, AllocError>> Walker for Map<'_, A> {
    type Stop = AllocError;

    fn upper<L: Upper>(
        &mut self,
        _: Table<L>,
        slot: &Slot<L>,
        entry: Entry<L>,
        part: VirtRange,
    ) -> Result<Option<Table<L::Below>>, AllocError> {
        let pfn = self.frame(part.start);
        if part.len() == L::BYTES && L::BYTES <= self.max && pfn.phys().is_aligned(L::BYTES) {
            slot.set(Entry::leaf(pfn, self.prot));
            return Ok(None);
        }
        debug_assert!(entry.is_none(), "{part:?}: {entry:?} is in the way");
        let table = Table::at((self.alloc)()?);
        slot.set(Entry::table(table.pfn()));
        Ok(Some(table))
    }

    #[inline(always)]
    fn ptes(&mut self, table: Table<Pte>, _: Parent<'_>, part: VirtRange) -> Result<Look, AllocError> {
        let mut entry = Entry::<Pte>::leaf(self.frame(part.start), self.prot);
        // SAFETY: the walk came by an entry that leads here; the kernel's tables are never freed.
        for slot in &unsafe { table.slots() }[Pte::index(part.start)..][..part.pages() as usize] {
            slot.set(entry);
            entry = entry.forward(1);
        }
        Ok(Look::Done)
    }
}

/// Makes the entries of the root, and nothing below.
struct Reserve<'a, A> {
    levels: u32,
    alloc: &'a mut A,
}

impl<A: FnMut() -> Result<Pfn, AllocError>> Walker for Reserve<'_, A> {
    type Stop = AllocError;

    fn upper<L: Upper>(
        &mut self,
        _: Table<L>,
        slot: &Slot<L>,
        entry: Entry<L>,
        _: VirtRange,
    ) -> Result<Option<Table<L::Below>>, AllocError> {
        if L::NUMBER == self.levels - 1 && entry.is_none() {
            slot.set(Entry::table((self.alloc)()?));
        }
        Ok(None)
    }

    fn ptes(&mut self, _: Table<Pte>, _: Parent<'_>, _: VirtRange) -> Result<Look, AllocError> {
        Ok(Look::Done)
    }
}

/// Maps `bytes` of device registers at `phys`; the address is `phys`' within its page. Never unmapped.
///
/// # Errors
/// No memory for tables, no addresses left, or `bytes` is 0 or reaches past the end of physical memory.
pub fn ioremap(phys: PhysAddr, bytes: u64) -> Result<VirtAddr, AllocError> {
    let paging = &memory().paging;
    let end = phys.checked_add(bytes).and_then(PhysAddr::page_ceil).ok_or(AllocError)?;
    let len = end - phys.page_floor();
    if bytes == 0 {
        return Err(AllocError);
    }
    let mut left = paging.ioremap.lock();
    let range = VirtRange::from_len(left.start, len).filter(|range| range.end < left.end);
    let range = range.ok_or(AllocError)?;
    let mut tables = KernelTables { mode: mode(), root: root() };
    let mut alloc = || alloc_table::<Pte>(Gfp::ATOMIC).map(Table::pfn);
    // What a failure leaves mapped is mapped over by the next call.
    tables.map(range, phys.page_floor(), Prot::KERNEL_RW, MaxLeaf::Page, &mut alloc)?;
    // A page in between, so that running over the end of one device's does not reach the next's.
    left.start = range.end + PAGE_SIZE as u64;
    drop(left);
    fence_kernel();
    Ok(range.start + phys.page_offset() as u64)
}

/// Fences everything everywhere, since a hart may remember that an entry was not valid.
fn fence_kernel() {
    let guard = PreemptGuard::new();
    flush::all();
    flush::remote(cold::online().without(guard.hart()), Fence::All);
}

/// The mode that the machine walks, since [`KernelTables::publish`].
#[inline]
pub fn mode() -> Mode {
    match memory().paging.mode.load(Ordering::Relaxed) {
        3 => Mode::Sv39,
        5 => Mode::Sv57,
        _ => Mode::Sv48,
    }
}

/// The frame of the kernel's root.
pub(super) fn root() -> Pfn {
    Pfn::new(memory().paging.kernel_root.load(Ordering::Acquire))
}

/// `satp` of the kernel's own tables.
pub(super) fn satp_value() -> u64 {
    super::level::satp(mode(), root(), 0)
}

/// Makes the new root at `to` map the kernel.
pub(super) fn copy_kernel_half(to: Pfn, mode: Mode) {
    let from = root();
    if from == Pfn::default() {
        return;
    }
    // The level is right for Sv57 only, but entries are copied as they are.
    let (from, to) = (Table::<Pgd>::at(from), Table::<Pgd>::at(to));
    // SAFETY: both are roots: the kernel's, and one that nobody else has yet.
    let (from, to) = unsafe { (from.slots(), to.slots()) };
    for index in mode.kernel_index()..TABLE_ENTRIES {
        to[index].set(from[index].get());
    }
}
