//! Blocks kept for allocations of several pages by those who cannot wait: at most a hundredth of a zone
//! (Linux: `reserve_highatomic_pageblock`, `unreserve_highatomic_pageblock`).

use core::sync::atomic::Ordering::Relaxed;

use super::{BLOCK_ORDER, FreeLists, MigrateType, Zone, migrate};
use crate::addr::Order;
use crate::page::{Count, PagePtr};

impl Zone {
    /// After `page` of `order` went to one who cannot wait: keeps the block that it came from for the next.
    #[cold]
    pub(crate) fn reserve_highatomic(&self, page: PagePtr, order: Order) {
        let block = BLOCK_ORDER.pages() as u64;
        let hundredth = self.managed_pages() / 100;
        if hundredth < block {
            return;
        }
        let most = hundredth.next_multiple_of(block);
        if self.highatomic.load(Relaxed) >= most {
            return;
        }
        let mut lists = self.lists.lock();
        let reserved = self.highatomic.load(Relaxed);
        if reserved >= most || !MigrateType::merges(page.block_kind()) {
            return;
        }
        let blocks = order.pages().div_ceil(BLOCK_ORDER.pages());
        for index in 0..blocks {
            lists.move_block(page.nth(index * BLOCK_ORDER.pages()), MigrateType::HighAtomic);
        }
        self.set_highatomic(reserved + blocks as u64 * block);
    }

    /// Gives a kept block with free pages back to `kind`: before an allocation fails. Where not all are asked
    /// for (`force`), the last block stays. Says whether there was one.
    #[cold]
    pub(crate) fn unreserve_highatomic(&self, kind: MigrateType, force: Force) -> bool {
        let block = BLOCK_ORDER.pages() as u64;
        if force == Force::No && self.highatomic.load(Relaxed) <= block {
            return false;
        }
        let mut lists = self.lists.lock();
        let reserved = self.highatomic.load(Relaxed);
        for order in Order::all() {
            let Some(page) = lists.first(MigrateType::HighAtomic, order) else { continue };
            let blocks = order.pages().div_ceil(BLOCK_ORDER.pages());
            for index in 0..blocks {
                lists.move_block(page.nth(index * BLOCK_ORDER.pages()), kind);
            }
            self.set_highatomic(reserved.saturating_sub(blocks as u64 * block));
            return true;
        }
        false
    }
}

/// Whether the last kept block goes too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Force {
    Yes,
    No,
}

impl FreeLists {
    /// Makes the block around `page` `kind`'s, and moves its free pages there (Linux: `move_freepages_block`).
    /// Returns how many those are. No free block reaches beyond it, but one that starts with it.
    pub(super) fn move_block(&mut self, page: PagePtr, kind: MigrateType) -> usize {
        let first = page.align_down(BLOCK_ORDER);
        let mut moved = 0;
        for (page, order) in super::steal::free_blocks(first) {
            self.remove(page);
            self.push(page, order, kind as u32);
            moved += order.pages();
        }
        migrate::set_block_type(first, kind);
        // A block that is free as a whole may join its buddy now.
        if first.count().raw() == Count::buddy_word(BLOCK_ORDER.get()) {
            self.remove(first);
            self.put(first, BLOCK_ORDER);
        }
        moved
    }
}
