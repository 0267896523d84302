//! What to do when a mobility has no free block left: take one of another's, and its whole 2 MiB block
//! with it where that is worth it (Linux: `__rmqueue_fallback`, `steal_suitable_fallback`).
//!
//! The largest block is taken first: it is most likely to bring a whole 2 MiB block along, and then the
//! next allocations of that mobility stay within it.

use super::{BLOCK_ORDER, FreeLists, MigrateType, set_block_type};
use crate::addr::Order;
use crate::page::PagePtr;

impl MigrateType {
    /// Where to look next, best first (Linux: `fallbacks`).
    const fn fallbacks(self) -> [Self; 2] {
        match self {
            Self::Unmovable => [Self::Reclaimable, Self::Movable],
            Self::Movable => [Self::Reclaimable, Self::Unmovable],
            Self::Reclaimable => [Self::Unmovable, Self::Movable],
        }
    }

    /// Whether a block of `order` that falls to this type is worth taking all around it. An allocation
    /// that cannot move is always: it would spoil the block for good (Linux: `can_steal_fallback`).
    fn claims(self, order: Order) -> bool {
        order.get() >= BLOCK_ORDER.get() / 2 || self != Self::Movable
    }
}

impl FreeLists {
    /// A block of at least `order` from the lists of another type than `kind`, out of the lists; its
    /// order, and the type whose lists its rest belongs on.
    #[cold]
    #[inline(never)]
    pub(super) fn steal(&mut self, order: Order, kind: MigrateType) -> Option<(PagePtr, Order, MigrateType)> {
        let found = kind.fallbacks().into_iter().filter_map(|other| {
            let filled = self.filled(other);
            (filled >> order.get() != 0).then(|| (filled.ilog2(), other))
        });
        // `max_by_key` would keep the last of equals; the first is the better one.
        let (largest, other) = found.reduce(|a, b| if b.0 > a.0 { b } else { a })?;
        let largest = Order::new(largest as usize)?;
        let page = self.first(other, largest)?;
        if largest >= BLOCK_ORDER {
            self.remove(page);
            for block in 0..largest.pages() >> BLOCK_ORDER.get() {
                set_block_type(page.nth(block << BLOCK_ORDER.get()), kind);
            }
            return Some((page, largest, kind));
        }
        if kind.claims(largest) && self.claim_block(page, kind) {
            self.remove(page);
            return Some((page, largest, kind));
        }
        // Not worth it: just this block, the smallest that will do. Its rest stays what it was.
        let smallest = order.get() + (self.filled(other) >> order.get()).trailing_zeros() as usize;
        let smallest = Order::new(smallest)?;
        let page = self.pop(smallest, other)?;
        Some((page, smallest, other))
    }

    /// Makes the 2 MiB block around a free block `kind`'s, if half of it is free.
    fn claim_block(&mut self, page: PagePtr, kind: MigrateType) -> bool {
        let first = page.align_down(BLOCK_ORDER);
        let free: usize = free_blocks(first).map(|(_, order)| order.pages()).sum();
        if free < BLOCK_ORDER.pages() / 2 {
            return false;
        }
        for (page, order) in free_blocks(first) {
            self.remove(page);
            self.push(page, order, kind as u32);
        }
        set_block_type(first, kind);
        true
    }
}

/// The free blocks within the 2 MiB block that starts with `first`. Whoever walks may move the block
/// that it has to another list, but not join or split it.
fn free_blocks(first: PagePtr) -> impl Iterator<Item = (PagePtr, Order)> {
    let mut at = 0;
    core::iter::from_fn(move || {
        while at < BLOCK_ORDER.pages() {
            let page = first.nth(at);
            match page.count().buddy_order() {
                Some(order) => {
                    at += order.pages();
                    return Some((page, order));
                }
                None => at += 1,
            }
        }
        None
    })
}
