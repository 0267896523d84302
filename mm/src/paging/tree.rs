//! Changes to the tree of tables itself: huge leaves are split, tables without entries are freed.
//!
//! Linux: `__split_huge_pmd`, `free_pgtables` and `free_pgd_range`.

use core::convert::Infallible;

use super::entry::{Entry, Kind, Migration, NonPresent, SwapEntry};
use super::gather::Gather;
use super::level::{Level, Pte, Upper};
use super::table::{Slot, Table};
use super::tables::PageTables;
use super::walk::{self, Look, Parent, Walker};
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::error::AllocError;
use crate::gfp::Gfp;

impl PageTables {
    /// If `addr` is inside a huge leaf, or another entry of a higher level that is no table, replaces that by a table
    /// of smaller ones, until `addr` is where one begins. What counts mappings of pages is the caller's affair.
    ///
    /// # Errors
    /// No memory for a table; nothing that the entries say has changed.
    pub fn split_at(&self, addr: VirtAddr, gather: &mut Gather<'_>, gfp: Gfp) -> Result<(), AllocError> {
        let page = VirtRange::new(addr, addr + PAGE_SIZE as u64);
        walk::walk(self.mode(), self.root(), page, &mut Splitter { tables: self, gather, gfp, all: false })
    }

    /// Splits all that is huge in `range`, down to base pages.
    ///
    /// # Errors
    /// As [`PageTables::split_at`].
    pub fn split_range(&self, range: VirtRange, gather: &mut Gather<'_>, gfp: Gfp) -> Result<(), AllocError> {
        walk::walk(self.mode(), self.root(), range, &mut Splitter { tables: self, gather, gfp, all: true })
    }

    /// Frees the tables that `range` has a part in and that cover nothing beyond `floor` and `ceiling`: the end of
    /// the last mapping below, and the start of the next above ([`super::Mode::user_end`] where there is none). All
    /// entries between are empty. mmap_lock is held for writing, and what was mapped in the range was locked, so that
    /// no fault is in these tables; or nobody else uses the address space.
    pub fn free_tables(&self, range: VirtRange, floor: VirtAddr, ceiling: VirtAddr, gather: &mut Gather<'_>) {
        debug_assert!(core::ptr::eq(self, gather.tables()));
        debug_assert!(floor <= range.start && range.end <= ceiling);
        // Above the last address that user space gets are no mappings, only the rest of its half.
        let ceiling = if ceiling >= self.mode().user_end() { self.mode().lower_half_end() } else { ceiling };
        let Ok(()) = walk::walk(self.mode(), self.root(), range, &mut Freer { floor, ceiling, gather });
    }
}

/// Entry `index` of the 512 that say together what `entry` said.
fn piece<L: Upper>(entry: Entry<L>, index: usize) -> Entry<L::Below> {
    let pages = (index as u64) * (L::Below::BYTES / PAGE_SIZE as u64);
    match entry.kind() {
        Kind::None | Kind::Table(_) => Entry::NONE,
        Kind::Leaf(_) | Kind::ProtNone(_) => Entry::from_bits(entry.bits()).forward(index as u64),
        Kind::NonPresent(what) => Entry::non_present(match what {
            NonPresent::Swap(swap) => NonPresent::Swap(SwapEntry { offset: swap.offset + pages, ..swap }),
            NonPresent::Migration(migration) => {
                NonPresent::Migration(Migration { pfn: migration.pfn + pages, ..migration })
            }
            NonPresent::Poison(pfn) => NonPresent::Poison(pfn + pages),
            NonPresent::Marker(marker) => NonPresent::Marker(marker),
        }),
    }
}

struct Splitter<'a, 'g> {
    tables: &'a PageTables,
    gather: &'a mut Gather<'g>,
    gfp: Gfp,
    /// Down to base pages everywhere; else until the range's start is where an entry begins.
    all: bool,
}

impl Walker for Splitter<'_, '_> {
    type Stop = AllocError;

    fn upper<L: Upper>(
        &mut self,
        table: Table<L>,
        slot: &Slot<L>,
        entry: Entry<L>,
        part: VirtRange,
    ) -> Result<Option<Table<L::Below>>, AllocError> {
        if entry.is_none() || !self.all && part.start.is_aligned(L::BYTES) {
            return Ok(None);
        }
        let child = self.tables.alloc::<L::Below>(self.gfp)?;
        // SAFETY: the walk is in this table, and its caller keeps tables from being freed.
        let guard = unsafe { table.lock() };
        // SAFETY: it was made above, and nobody else has it.
        let pieces = unsafe { child.slots() };
        let mut now = slot.get();
        while !now.is_none() && !now.is_table() {
            for (index, to) in pieces.iter().enumerate() {
                to.set(piece(now, index));
            }
            // The hardware may set A or D in the leaf until it is gone.
            match slot.compare_exchange(now, Entry::table(child.pfn())) {
                Ok(()) => {
                    if now.is_valid() {
                        self.gather.changed(part.start.align_down(L::BYTES), L::BYTES);
                    }
                    return Ok(Some(child));
                }
                Err(newer) => now = newer,
            }
        }
        drop(guard);
        // SAFETY: nobody else has seen it.
        unsafe { self.tables.free(child.pfn()) };
        Ok(now.is_table().then(|| Table::at(now.pfn())))
    }

    fn ptes(&mut self, _: Table<Pte>, _: Parent<'_>, _: VirtRange) -> Result<Look, AllocError> {
        Ok(Look::Done)
    }
}

struct Freer<'a, 'g> {
    floor: VirtAddr,
    ceiling: VirtAddr,
    gather: &'a mut Gather<'g>,
}

impl Walker for Freer<'_, '_> {
    type Stop = Infallible;

    #[inline(always)]
    fn upper<L: Upper>(
        &mut self,
        _: Table<L>,
        _: &Slot<L>,
        entry: Entry<L>,
        part: VirtRange,
    ) -> Result<Option<Table<L::Below>>, Infallible> {
        debug_assert!(entry.is_none(), "{part:?} still has {entry:?}");
        Ok(None)
    }

    #[inline(always)]
    fn ptes(&mut self, _: Table<Pte>, _: Parent<'_>, _: VirtRange) -> Result<Look, Infallible> {
        Ok(Look::Done)
    }

    #[inline]
    fn leave<L: Upper>(&mut self, slot: &Slot<L>, child: Table<L::Below>, start: VirtAddr) {
        if self.floor <= start && L::BYTES <= self.ceiling.get() - start.get() {
            if cfg!(debug_assertions) {
                // SAFETY: the walk has just been there.
                for (index, slot) in unsafe { child.slots() }.iter().enumerate() {
                    assert!(slot.get().is_none(), "{child:?} at {start:?} is freed with {slot:?} at {index}");
                }
            }
            slot.set(Entry::NONE);
            self.gather.table(child);
        }
    }
}
