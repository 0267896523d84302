//! Looking whether a zone's books are in order.

use core::ptr::null_mut;
use core::sync::atomic::Ordering::Relaxed;

use super::list::is_on;
use super::{BLOCK_ORDER, FreeLists, MigrateType, Zone};
use crate::addr::{Order, Pfn};
use crate::page::arm::FreeArm;
use crate::page::{Count, PagePtr, pfn_to_online_page};

/// Something is wrong with the allocator's books.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}, at {pfn:?}")]
pub struct Corrupt {
    /// What.
    pub what: &'static str,
    /// Where; 0 when that is not known.
    pub pfn: Pfn,
}

impl Zone {
    /// Checks every free list under the zone's lock.
    pub(crate) fn validate(&self) -> Result<(), Corrupt> {
        let lists = self.lists.lock();
        let mut free = 0;
        for kind in MigrateType::ALL {
            for order in Order::all() {
                let count = lists.validate_list(kind, order)?;
                if count != lists.count(kind, order) {
                    return Err(Corrupt { what: "a free list is shorter than it says", pfn: Pfn::new(0) });
                }
                if kind != MigrateType::Isolate {
                    free += count << order.get();
                }
            }
        }
        if free != self.free_pages() {
            return Err(Corrupt { what: "the free lists do not add up to what is free", pfn: Pfn::new(0) });
        }
        Ok(())
    }
}

impl FreeLists {
    /// Checks a list; says how many blocks it has.
    fn validate_list(&self, kind: MigrateType, order: Order) -> Result<u64, Corrupt> {
        let mut found = 0;
        let mut prev = null_mut();
        let mut next = self.first(kind, order);
        while let Some(page) = next {
            found += 1;
            let arm = page.arm_unchecked::<FreeArm>();
            let wrong = match () {
                _ if found > self.count(kind, order) => Some("a free list is longer than it says"),
                _ if arm.prev.load(Relaxed) != prev => Some("a free list's links do not match"),
                _ if !is_on(page, kind, order) => Some("a free block does not know its list"),
                _ if page.block_kind() != kind as u32 => Some("a free block is on another mobility's list"),
                _ => wrong_block(page, order),
            };
            if let Some(what) = wrong {
                return Err(Corrupt { what, pfn: page.pfn() });
            }
            prev = page.as_ptr();
            // SAFETY: the lists hold pointers of `PagePtr`s.
            next = unsafe { PagePtr::from_ptr(arm.next.load(Relaxed)) };
        }
        Ok(found)
    }
}

fn wrong_block(page: PagePtr, order: Order) -> Option<&'static str> {
    if !page.pfn().is_aligned(order) {
        return Some("a free block is not aligned");
    }
    if page.count().raw() != Count::buddy_word(order.get()) {
        return Some("a free block is not marked so");
    }
    if order > BLOCK_ORDER && page.nth(BLOCK_ORDER.pages()).block_kind() != page.block_kind() {
        return Some("the halves of a free block are of two mobilities");
    }
    let inside = (1..order.pages()).map(|index| page.nth(index));
    if inside.into_iter().any(|page| page.count().raw() != 0) || !page.flags().is_empty() {
        return Some("a page of a free block is in use");
    }
    let buddy = pfn_to_online_page(page.pfn().buddy(order));
    let apart = |buddy: PagePtr| {
        let kinds = [page.block_kind(), buddy.block_kind()];
        order >= BLOCK_ORDER && !kinds.into_iter().all(MigrateType::merges)
    };
    let joined = order == Order::MAX
        || buddy.is_none_or(|buddy| buddy.count().buddy_order() != Some(order) || apart(buddy));
    if joined { None } else { Some("two free buddies are not joined") }
}
