//! The buddy algorithm: blocks of 2^order pages are split in halves and joined with their other half
//! (Linux: `__rmqueue_smallest`, `__free_one_page` in `mm/page_alloc.c`).

use core::sync::atomic::Ordering::Relaxed;

use super::migrate::set_block_type;
use super::{AllocFlags, BLOCK_ORDER, BlockWord, FreeLists, Locked, MigrateType, Request, Zone, ZoneId};
use crate::addr::Order;
use crate::page::{Count, PagePtr};

/// What came of [`Zone::first_try`].
pub(crate) enum FirstTry<'a> {
    /// A block that is nobody's: no reference, no type.
    Page(PagePtr),
    /// No block of that order; the watermark allows to take one off a larger one.
    Larger(Locked<'a>),
    /// The watermark does not allow it, or somebody else has the lock.
    Nothing,
}

impl Zone {
    /// Takes one block, if the watermark allows. It is nobody's: no reference, no type.
    #[inline(always)]
    pub(crate) fn alloc_block(&self, order: Order, kind: MigrateType, request: Request) -> Option<PagePtr> {
        let mut lists = self.lists.lock();
        if !self.watermark_ok(order, 1, request) {
            return None;
        }
        let page = lists.take(order, kind, request.flags)?;
        self.sub_free(order.pages());
        Some(page)
    }

    /// The first try of an allocation: takes a block of just that order and mobility. Where there is none but may
    /// be a larger one, it is the lock that is had.
    #[inline(always)]
    pub(crate) fn first_try(&self, order: Order, kind: MigrateType, highest: ZoneId) -> FirstTry<'_> {
        let Some(mut lists) = self.lists.lock_masked() else { return FirstTry::Nothing };
        let Some(after) = self.after_first_try(order.pages(), highest) else { return FirstTry::Nothing };
        let Some(page) = lists.pop(order, kind) else { return FirstTry::Larger(lists) };
        lists.leave(page, kind);
        self.free.store(after, Relaxed);
        FirstTry::Page(page)
    }

    /// After [`FirstTry::Larger`]: takes the block off the smallest of the mobility's own that is large enough.
    pub(crate) fn take_off(&self, mut lists: Locked<'_>, order: Order, kind: MigrateType) -> Option<PagePtr> {
        let (page, from, kind) = lists.take_own(order, kind)?;
        lists.cut(page, from, order, kind);
        lists.leave(page, kind);
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
        request: Request,
        wanted: usize,
        mut each: impl FnMut(PagePtr),
    ) -> usize {
        let mut lists = self.lists.lock();
        let plain = Request { flags: request.flags - AllocFlags::BELOW_MIN, ..request };
        let wanted = match () {
            _ if self.watermark_ok(order, wanted, plain) => wanted,
            _ if self.watermark_ok(order, 1, request) => 1,
            _ => return 0,
        };
        let mut got = 0;
        while got < wanted {
            let Some((first, units)) = lists.take_units(order, kind, request.flags, wanted - got) else {
                break;
            };
            // Descending, so that a last-in-first-out list hands them out in ascending order.
            for unit in (0..units).rev() {
                each(first.nth(unit << order.get()));
            }
            got += units;
        }
        self.sub_free(got << order.get());
        got
    }

    /// As [`Zone::free_block`]; `block` is what is known of the block of 2 MiB that it is in. Where nobody else has
    /// the lock and the buddy is in use this calls nobody, and has nothing to keep across calls.
    #[inline(always)]
    pub(crate) fn free_fit(&self, page: PagePtr, order: Order, block: &BlockWord) {
        let Some(mut lists) = self.lists.lock_masked() else { return self.free_block(page, order) };
        let kind = block.kind();
        let alone = order < BLOCK_ORDER && !is_free(page.buddy(order), order);
        if !alone || kind == MigrateType::Isolate as u32 {
            return self.free_joined(lists, page, order);
        }
        check_alignment(page, order);
        lists.push(page, order, kind);
        self.add_free(order.pages());
    }

    #[inline(never)]
    fn free_joined(&self, mut lists: Locked<'_>, page: PagePtr, order: Order) {
        self.free_under(&mut lists, page, order);
    }

    /// Gives a block back that is nobody's.
    #[inline(never)]
    pub(crate) fn free_block(&self, page: PagePtr, order: Order) {
        self.free_under(&mut self.lists.lock(), page, order);
    }

    #[inline(always)]
    fn free_under(&self, lists: &mut FreeLists, page: PagePtr, order: Order) {
        let counted = if order > BLOCK_ORDER {
            // Either half where it belongs: one may have been isolated meanwhile.
            lists.put(page, BLOCK_ORDER) + lists.put(page.nth(BLOCK_ORDER.pages()), BLOCK_ORDER)
        } else {
            lists.put(page, order)
        };
        self.add_free(counted);
    }

    /// Gives a chain of blocks back, linked as `pcp` links them; says how many there were.
    pub(crate) fn free_chain(&self, chain: impl Iterator<Item = PagePtr>, order: Order) -> usize {
        let mut lists = self.lists.lock();
        let (mut freed, mut counted) = (0, 0);
        for page in chain {
            counted += lists.put(page, order);
            freed += 1;
        }
        self.add_free(counted);
        freed
    }

    /// Under the lock, so that a plain store does.
    #[inline(always)]
    pub(super) fn add_free(&self, pages: usize) {
        self.free.store(self.free.load(Relaxed) + pages as u64, Relaxed);
    }

    /// Under the lock.
    #[inline(always)]
    pub(super) fn sub_free(&self, pages: usize) {
        self.free.store(self.free.load(Relaxed) - pages as u64, Relaxed);
    }
}

impl FreeLists {
    /// Takes a block of `order`. Where the free blocks of its mobility are larger, the smallest is cut.
    #[inline(always)]
    fn take(&mut self, order: Order, kind: MigrateType, flags: AllocFlags) -> Option<PagePtr> {
        let (page, from, kind) = self.take_larger(order, kind, flags)?;
        self.cut(page, from, order, kind);
        self.leave(page, kind);
        Some(page)
    }

    /// Tells a block of `kind`'s that is handed out where it goes when it is freed.
    #[inline(always)]
    fn leave(&self, page: PagePtr, kind: MigrateType) {
        debug_assert_eq!(page.block_kind(), kind as u32, "on another mobility's list: {page:?}");
        page.home.set(self.home(kind as u32));
    }

    /// Takes blocks of `order` that lie side by side: one, or as many as the smallest block that is
    /// large enough has, up to `units`. Says how many: a power of two.
    #[inline(always)]
    fn take_units(
        &mut self,
        order: Order,
        kind: MigrateType,
        flags: AllocFlags,
        units: usize,
    ) -> Option<(PagePtr, usize)> {
        let (page, from, kind) = self.take_larger(order, kind, flags)?;
        let most = Order::new(order.get() + units.ilog2() as usize).unwrap_or(Order::MAX);
        let keep = most.min(from);
        self.cut(page, from, keep, kind);
        let units = 1 << (keep.get() - order.get());
        for unit in 0..units {
            self.leave(page.nth(unit << order.get()), kind);
        }
        Some((page, units))
    }

    /// Takes the smallest block of at least `order` from its list; its order, and whose lists its rest
    /// belongs on.
    #[inline(always)]
    fn take_larger(
        &mut self,
        order: Order,
        kind: MigrateType,
        flags: AllocFlags,
    ) -> Option<(PagePtr, Order, MigrateType)> {
        if flags.contains(AllocFlags::HIGHATOMIC)
            && let Some(found) = self.take_own(order, MigrateType::HighAtomic)
        {
            return Some(found);
        }
        if let Some(found) = self.take_own(order, kind) {
            return Some(found);
        }
        self.take_other(order, kind, flags)
    }

    #[cold]
    #[inline(never)]
    fn take_other(
        &mut self,
        order: Order,
        kind: MigrateType,
        flags: AllocFlags,
    ) -> Option<(PagePtr, Order, MigrateType)> {
        let whole = flags.contains(AllocFlags::NO_FRAGMENT) && order < BLOCK_ORDER;
        let least = if whole { BLOCK_ORDER } else { order };
        self.steal(order, least, kind).or_else(|| {
            // To fail now is worse than to fail one of several pages later.
            let urgent = flags.contains(AllocFlags::NON_BLOCK);
            urgent.then(|| self.take_own(order, MigrateType::HighAtomic))?
        })
    }

    /// The smallest block of at least `order` of `kind`'s own.
    #[inline(always)]
    pub(super) fn take_own(
        &mut self,
        order: Order,
        kind: MigrateType,
    ) -> Option<(PagePtr, Order, MigrateType)> {
        let fit = self.filled(kind) >> order.get();
        if fit == 0 {
            return None;
        }
        let from = Order::new(order.get() + fit.trailing_zeros() as usize)?;
        Some((self.pop(from, kind)?, from, kind))
    }

    /// Cuts a block of `order` off the start of one of `from` that is on no list, and puts the rest on
    /// the lists of `kind`.
    #[inline(always)]
    fn cut(&mut self, page: PagePtr, from: Order, order: Order, kind: MigrateType) {
        let mut at = from;
        while at > order {
            let Some(half) = at.down() else { break };
            self.push(page.nth(half.pages()), half, kind as u32);
            at = half;
        }
    }

    /// Puts a block back, joined with its buddies as far as they are free. Says how many pages more count
    /// as free: those of the block, or none if it is isolated.
    #[inline(always)]
    pub(super) fn put(&mut self, page: PagePtr, order: Order) -> usize {
        check_alignment(page, order);
        let kind = page.block_kind();
        let counted = if kind == MigrateType::Isolate as u32 { 0 } else { order.pages() };
        let (mut page, mut order) = (page, order);
        while let Some(up) = order.up() {
            let buddy = page.buddy(order);
            if !is_free(buddy, order) || order >= BLOCK_ORDER && !joins(page, buddy) {
                break;
            }
            self.remove(buddy);
            page = page.align_down(up);
            order = up;
        }
        self.push(page, order, kind);
        counted
    }
}

/// Whether a free block of just that order starts with the page.
#[inline(always)]
fn is_free(page: PagePtr, order: Order) -> bool {
    page.count().raw() == Count::buddy_word(order.get())
}

/// Whether two free blocks that are whole blocks of their mobility may become one, and makes them one mobility.
#[cold]
#[inline(never)]
fn joins(page: PagePtr, buddy: PagePtr) -> bool {
    let (mine, other) = (page.block_kind(), buddy.block_kind());
    // Of two isolated ones either may be put back alone.
    if !MigrateType::merges(mine) || !MigrateType::merges(other) {
        return false;
    }
    if mine != other {
        set_block_type(buddy, MigrateType::from_index(mine));
    }
    true
}

/// A block that is not aligned to its size cannot come from here: whoever frees it made it up.
#[inline(always)]
fn check_alignment(page: PagePtr, order: Order) {
    debug_assert!(page.pfn().is_aligned(order), "freeing {order:?} at {page:?}");
    debug_assert!(page.count().raw() == 0, "freeing a page that is free or in use: {page:?}");
}
