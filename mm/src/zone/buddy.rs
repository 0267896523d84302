//! The buddy algorithm: blocks of 2^order pages are split in halves and joined with their other half
//! (Linux: `__rmqueue_smallest`, `__free_one_page` in `mm/page_alloc.c`).

use core::sync::atomic::Ordering::Relaxed;

use super::{AllocFlags, FreeLists, MigrateType, Zone};
use crate::addr::Order;
use crate::page::{Count, PagePtr};

impl Zone {
    /// Takes one block, if the watermark allows. It is nobody's: no reference, no type.
    pub(crate) fn alloc_block(&self, order: Order, kind: MigrateType, flags: AllocFlags) -> Option<PagePtr> {
        let mut lists = self.lists.lock();
        if !self.watermark_ok(order, 1, flags) {
            return None;
        }
        let (page, _) = lists.take(order, kind, 1)?;
        self.sub_free(order.pages());
        Some(page)
    }

    /// Takes up to `wanted` blocks, 1 at least, and hands each to `each`; says how many there were.
    /// Where the watermark does not allow that many, it is one or none: what stands below the mark is
    /// for this allocation, not for a hart's list (Linux: `rmqueue_bulk`).
    pub(crate) fn alloc_bulk(
        &self,
        order: Order,
        kind: MigrateType,
        flags: AllocFlags,
        wanted: usize,
        mut each: impl FnMut(PagePtr),
    ) -> usize {
        let mut lists = self.lists.lock();
        let wanted = match () {
            _ if self.watermark_ok(order, wanted, flags) => wanted,
            _ if self.watermark_ok(order, 1, flags) => 1,
            _ => return 0,
        };
        let mut got = 0;
        while got < wanted {
            let Some((first, units)) = lists.take(order, kind, wanted - got) else { break };
            // Descending, so that a last-in-first-out list hands them out in ascending order.
            for unit in (0..units).rev() {
                each(first.nth(unit << order.get()));
            }
            got += units;
        }
        self.sub_free(got << order.get());
        got
    }

    /// Gives a block back that is nobody's.
    pub(crate) fn free_block(&self, page: PagePtr, order: Order) {
        let mut lists = self.lists.lock();
        lists.put(page, order);
        self.add_free(order.pages());
    }

    /// Gives a chain of blocks back, linked as `pcp` links them; says how many there were.
    pub(crate) fn free_chain(&self, chain: impl Iterator<Item = PagePtr>, order: Order) -> usize {
        let mut lists = self.lists.lock();
        let mut freed = 0;
        for page in chain {
            lists.put(page, order);
            freed += 1;
        }
        self.add_free(freed << order.get());
        freed
    }

    /// Under the lock, so that a plain store does.
    #[inline(always)]
    fn add_free(&self, pages: usize) {
        self.free.store(self.free.load(Relaxed) + pages as u64, Relaxed);
    }

    /// Under the lock.
    #[inline(always)]
    fn sub_free(&self, pages: usize) {
        self.free.store(self.free.load(Relaxed) - pages as u64, Relaxed);
    }
}

impl FreeLists {
    /// Takes blocks of `order` that lie side by side: one, or as many as the smallest block that is
    /// large enough has, up to `units`, a power of two of them. Says how many.
    #[inline]
    fn take(&mut self, order: Order, kind: MigrateType, units: usize) -> Option<(PagePtr, usize)> {
        let fit = self.filled(kind) >> order.get();
        if fit == 0 {
            return self.take_stealing(order, kind, units);
        }
        let found = order.get() + fit.trailing_zeros() as usize;
        let from = Order::new(found)?;
        let page = self.pop(from, kind)?;
        Some((page, self.split(page, from, order, kind, units)))
    }

    #[cold]
    fn take_stealing(&mut self, order: Order, kind: MigrateType, units: usize) -> Option<(PagePtr, usize)> {
        let (page, from, kind) = self.steal(order, kind)?;
        Some((page, self.split(page, from, order, kind, units)))
    }

    /// Cuts blocks of `order` off the start of a block of `from` that is on no list, and puts the rest
    /// on the lists of `kind`. Says how many blocks were cut.
    #[inline(always)]
    fn split(&mut self, page: PagePtr, from: Order, order: Order, kind: MigrateType, units: usize) -> usize {
        let keep = (order.get() + units.ilog2() as usize).min(from.get());
        let mut at = from;
        while at.get() > keep {
            let Some(half) = at.down() else { break };
            self.push(page.nth(half.pages()), half, kind);
            at = half;
        }
        let units = 1 << (keep - order.get());
        let list = page.block_type() as u8;
        for unit in 0..units {
            page.nth(unit << order.get()).place.list.store(list, Relaxed);
        }
        units
    }

    /// Puts a block back, joined with its buddies as far as they are free.
    #[inline]
    fn put(&mut self, page: PagePtr, order: Order) {
        check_alignment(page, order);
        let kind = page.block_type();
        let (mut page, mut order) = (page, order);
        while order < Order::MAX {
            let buddy = page.buddy(order);
            if buddy.count().raw() != Count::buddy_word(order.get()) {
                break;
            }
            self.remove(buddy, order);
            page = if buddy.as_ptr() < page.as_ptr() { buddy } else { page };
            let Some(up) = order.up() else { break };
            order = up;
        }
        self.push(page, order, kind);
    }
}

/// A block that is not aligned to its size cannot come from here: whoever frees it made it up.
#[inline(always)]
fn check_alignment(page: PagePtr, order: Order) {
    debug_assert!(page.pfn().is_aligned(order), "freeing {order:?} at {page:?}");
    debug_assert!(page.count().raw() == 0, "freeing a page that is free or in use: {page:?}");
}
