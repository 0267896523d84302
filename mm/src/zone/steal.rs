//! What to do when a mobility has no free block left: take one of another's, and its whole 2 MiB block
//! with it where that is worth it (Linux: `__rmqueue_fallback`, `steal_suitable_fallback`).
//!
//! The largest block is taken first: it is most likely to bring a whole 2 MiB block along, and then the
//! next allocations of that mobility stay within it.

use super::migrate::set_block_type;
use super::{BLOCK_ORDER, FreeLists, MigrateType};
use crate::addr::Order;
use crate::page::{PageFlags, PagePtr};

impl MigrateType {
    /// Where to look next, best first (Linux: `fallbacks`).
    const fn fallbacks(self) -> [Self; 2] {
        match self {
            Self::Movable => [Self::Reclaimable, Self::Unmovable],
            Self::Reclaimable => [Self::Unmovable, Self::Movable],
            _ => [Self::Reclaimable, Self::Movable],
        }
    }

    /// Whether a block of `order` that falls to this type is worth taking all around it. An allocation
    /// that cannot move is always: it would spoil the block for good (Linux: `can_steal_fallback`).
    fn claims(self, order: Order) -> bool {
        order.get() >= BLOCK_ORDER.get() / 2 || self != Self::Movable
    }
}

impl FreeLists {
    /// A block of at least `order`, and of at least `least`, from the lists of another type than `kind`, out
    /// of the lists; its order, and the type whose lists its rest belongs on.
    #[cold]
    #[inline(never)]
    pub(super) fn steal(
        &mut self,
        order: Order,
        least: Order,
        kind: MigrateType,
    ) -> Option<(PagePtr, Order, MigrateType)> {
        let least = least.max(order);
        let found = kind.fallbacks().into_iter().filter_map(|other| {
            let filled = self.filled(other);
            (filled >> least.get() != 0).then(|| (filled.ilog2(), other))
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
        if kind.claims(largest) {
            if self.claim_block(page, other, kind) {
                // The smallest that will do, of what the block brought.
                return self.take_own(order, kind);
            }
            let page = self.pop(largest, other)?;
            return Some((page, largest, other));
        }
        // Movable memory takes the smallest that will do: it will not stay.
        let (smallest, other) = (order.get()..Order::COUNT).find_map(|order| {
            let other = kind.fallbacks().into_iter().find(|&other| self.filled(other) >> order & 1 != 0)?;
            Some((Order::new(order)?, other))
        })?;
        let page = self.pop(smallest, other)?;
        Some((page, smallest, other))
    }

    /// Makes the 2 MiB block around a free block of `other`'s `kind`'s, if half of it is free or of a like
    /// kind.
    fn claim_block(&mut self, page: PagePtr, other: MigrateType, kind: MigrateType) -> bool {
        let first = page.align_down(BLOCK_ORDER);
        let free: usize = free_blocks(first).map(|(_, order)| order.pages()).sum();
        let half = BLOCK_ORDER.pages() / 2;
        // What is in use there counts if it is as good as ours. Only of movable pages one can tell.
        let alike = || match (kind, other) {
            (MigrateType::Movable, _) => movable_pages(first),
            (_, MigrateType::Movable) => BLOCK_ORDER.pages().saturating_sub(free + movable_pages(first)),
            _ => 0,
        };
        if free < half && free + alike() < half {
            return false;
        }
        self.move_block(first, kind);
        true
    }
}

/// Whether a page in use can be moved, as far as one can tell who has no reference to it: it is on an LRU list,
/// or mapped.
pub(super) fn looks_movable(page: PagePtr) -> bool {
    page.page_type().is_none() && (page.flags().contains(PageFlags::LRU) || page.mapcount() != 0)
}

fn movable_pages(first: PagePtr) -> usize {
    (0..BLOCK_ORDER.pages()).filter(|&index| looks_movable(first.nth(index))).count()
}

/// The free blocks within the 2 MiB block that starts with `first`. Whoever walks may move the block
/// that it has to another list, but not join or split it.
pub(super) fn free_blocks(first: PagePtr) -> impl Iterator<Item = (PagePtr, Order)> {
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
