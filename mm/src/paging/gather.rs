//! What was unmapped and may not be freed before no hart can reach it any more.
//!
//! Pages and tables are gathered; then one fence on every hart that may hold translations of the
//! address space; then they are freed. References to pages are kept in the gather itself at first, then
//! in pages of their own while those are to be had. Linux: `struct mmu_gather`, `mm/mmu_gather.c`.

use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::Relaxed;
use core::{ptr, slice};

use arrayvec::ArrayVec;

use super::level::Level;
use super::table::Table;
use super::tables::PageTables;
use crate::addr::{Order, PAGE_SIZE, VirtAddr, VirtRange};
use crate::gfp::Gfp;
use crate::page::{Page, PagePtr, TableArm, pfn_to_page};
use crate::page_alloc::{FolioRef, PageBlock, alloc_pages, put_all};

/// References in the gather itself: enough for a small unmapping, and little on the stack.
const INLINE: usize = 32;
/// References in a page.
const PER_BLOCK: usize = PAGE_SIZE / size_of::<FolioRef>();
/// Pages of references: the memory that waits for a fence is bounded.
const MAX_BLOCKS: usize = 16;

/// Pages, tables and the range to fence. Dropping it flushes.
#[derive(Debug)]
pub struct Gather<'a> {
    tables: &'a PageTables,
    /// Leaves that were valid and changed. Nothing: `end` is 0.
    start: VirtAddr,
    end: VirtAddr,
    /// Tables to be freed, linked by [`TableArm::next`].
    freed: *mut Page,
    /// Room for references in the last block, or inline when there is no block.
    room: usize,
    blocks: ArrayVec<PageBlock, MAX_BLOCKS>,
    inline: [MaybeUninit<FolioRef>; INLINE],
}

impl<'a> Gather<'a> {
    /// For unmapping, or for changing what is mapped.
    #[inline]
    pub fn new(tables: &'a PageTables) -> Self {
        Self {
            tables,
            start: VirtAddr::new(u64::MAX),
            end: VirtAddr::ZERO,
            freed: ptr::null_mut(),
            room: INLINE,
            blocks: ArrayVec::new_const(),
            inline: [const { MaybeUninit::uninit() }; INLINE],
        }
    }

    /// Whose tables it is for.
    #[inline]
    pub fn tables(&self) -> &'a PageTables {
        self.tables
    }

    /// The reference of a mapping that is gone is put once the fence is done.
    #[inline]
    pub fn page(&mut self, folio: FolioRef) {
        if self.is_full() {
            self.flush();
        }
        let place = match self.blocks.last() {
            None => self.inline[INLINE - self.room].as_mut_ptr(),
            Some(block) => block.as_ptr().cast::<FolioRef>().wrapping_add(PER_BLOCK - self.room),
        };
        // SAFETY: within the array, or within the block's page, which is ours; aligned, as pages are.
        unsafe { place.write(folio) };
        self.room -= 1;
        if self.room == 0 {
            self.grow();
        }
    }

    /// Makes room, if there is memory.
    #[cold]
    fn grow(&mut self) {
        if !self.blocks.is_full()
            && let Ok(block) = alloc_pages(Gfp::NOWAIT, Order::ZERO)
        {
            self.blocks.push(block);
            self.room = PER_BLOCK;
        }
    }

    /// A valid leaf of `bytes` at `addr` was changed or taken out.
    #[inline(always)]
    pub fn changed(&mut self, addr: VirtAddr, bytes: u64) {
        self.start = self.start.min(addr);
        self.end = self.end.max(addr + bytes);
    }

    /// A table was taken out of the tree.
    pub(super) fn table<L: Level>(&mut self, table: Table<L>) {
        let page = pfn_to_page(table.pfn());
        page.arm::<TableArm>().next.store(self.freed, Relaxed);
        self.freed = page.as_ptr();
    }

    /// Whether [`Gather::flush`] should be called before more is gathered, with fewer locks held than now.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.room == 0
    }

    /// How many references there is room for now, without a look whether there is memory for more.
    #[inline(always)]
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Fences what changed, and frees nothing yet. A spin lock may be held, but with interrupts on.
    pub fn fence(&mut self) {
        if !self.freed.is_null() {
            // Harts keep entries that lead to tables as well, and those are dropped only with all others.
            self.tables.fence_all();
        } else if self.end != VirtAddr::ZERO {
            self.tables.fence_range(VirtRange::new(self.start, self.end));
        }
        (self.start, self.end) = (VirtAddr::new(u64::MAX), VirtAddr::ZERO);
    }

    /// As [`Gather::flush`], where perhaps nothing changed: what dropping does, without moving it there.
    #[inline]
    pub fn finish(&mut self) {
        if self.room != INLINE
            || self.end != VirtAddr::ZERO
            || !self.freed.is_null()
            || !self.blocks.is_empty()
        {
            self.flush();
        }
    }

    /// Fences, then frees.
    pub fn flush(&mut self) {
        self.fence();
        self.put_pages();
        let mut next = core::mem::replace(&mut self.freed, ptr::null_mut());
        // SAFETY: from `as_ptr` in `table`, or null.
        while let Some(page) = unsafe { PagePtr::from_ptr(next) } {
            next = page.arm::<TableArm>().next.load(Relaxed);
            // SAFETY: nothing leads to it since `table`, and the fence made the harts forget it.
            unsafe { self.tables.free(page.pfn()) };
        }
    }

    fn put_pages(&mut self) {
        let room = core::mem::replace(&mut self.room, INLINE);
        let full = if self.blocks.is_empty() { INLINE - room } else { INLINE };
        // SAFETY: `page` wrote so many; they are forgotten, as `room` and `blocks` are reset.
        unsafe { put_all(&self.inline[..full]) };
        let last = self.blocks.len().wrapping_sub(1);
        for (index, block) in self.blocks.drain(..).enumerate() {
            let full = if index == last { PER_BLOCK - room } else { PER_BLOCK };
            // SAFETY: as above; the block is ours, and is freed after this.
            unsafe { put_all(slice::from_raw_parts(block.as_ptr().cast(), full)) };
        }
    }
}

impl Drop for Gather<'_> {
    #[inline]
    fn drop(&mut self) {
        self.finish();
    }
}
