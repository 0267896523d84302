//! The free lists of a zone: for each mobility and order a doubly linked list through the descriptors
//! of the blocks' first pages (Linux: `struct free_area`). Last in, first out.

use core::ptr::null_mut;
use core::sync::atomic::Ordering::Relaxed;

use super::MigrateType;
use crate::addr::Order;
use crate::page::arm::FreeArm;
use crate::page::{Count, Page, PagePtr};

/// All free lists of a zone.
#[derive(Debug)]
pub(crate) struct FreeLists {
    heads: [[*mut Page; Order::COUNT]; MigrateType::COUNT],
    counts: [[u64; Order::COUNT]; MigrateType::COUNT],
    /// Bit `order`: that list of the type has a block.
    filled: [u32; MigrateType::COUNT],
}

// SAFETY: descriptors may be looked at by all; who owns the lists has their lock.
unsafe impl Send for FreeLists {}

impl FreeLists {
    pub(crate) const fn new() -> Self {
        Self {
            heads: [[null_mut(); Order::COUNT]; MigrateType::COUNT],
            counts: [[0; Order::COUNT]; MigrateType::COUNT],
            filled: [0; MigrateType::COUNT],
        }
    }

    /// Blocks of an order and type.
    pub(crate) fn count(&self, kind: MigrateType, order: usize) -> u64 {
        self.counts[kind as usize][order]
    }

    /// The orders of a type that have a block, as bits.
    #[inline(always)]
    pub(super) fn filled(&self, kind: MigrateType) -> u32 {
        self.filled[kind as usize]
    }

    /// The first block.
    #[inline(always)]
    pub(super) fn first(&self, kind: MigrateType, order: Order) -> Option<PagePtr> {
        // SAFETY: the lists hold pointers of `PagePtr`s.
        unsafe { PagePtr::from_ptr(self.heads[kind as usize][order.get()]) }
    }

    /// Puts a block first, and marks it as free.
    #[inline(always)]
    pub(super) fn push(&mut self, page: PagePtr, order: Order, kind: MigrateType) {
        let head = &mut self.heads[kind as usize][order.get()];
        let next = *head;
        *head = page.as_ptr();
        let arm = page.arm_unchecked::<FreeArm>();
        arm.next.store(next, Relaxed);
        arm.prev.store(null_mut(), Relaxed);
        arm.list.store(kind as u32, Relaxed);
        page.count().set_raw(Count::buddy_word(order.get()));
        self.counts[kind as usize][order.get()] += 1;
        // SAFETY: the lists hold pointers of `PagePtr`s.
        match unsafe { PagePtr::from_ptr(next) } {
            Some(next) => next.arm_unchecked::<FreeArm>().prev.store(page.as_ptr(), Relaxed),
            None => self.filled[kind as usize] |= 1 << order.get(),
        }
    }

    /// Takes the first block out. It is nobody's then.
    #[inline(always)]
    pub(super) fn pop(&mut self, order: Order, kind: MigrateType) -> Option<PagePtr> {
        let page = self.first(kind, order)?;
        let next = page.arm_unchecked::<FreeArm>().next.load(Relaxed);
        self.heads[kind as usize][order.get()] = next;
        self.counts[kind as usize][order.get()] -= 1;
        // SAFETY: the lists hold pointers of `PagePtr`s.
        match unsafe { PagePtr::from_ptr(next) } {
            Some(next) => next.arm_unchecked::<FreeArm>().prev.store(null_mut(), Relaxed),
            None => self.filled[kind as usize] &= !(1 << order.get()),
        }
        debug_assert_eq!(page.count().raw(), Count::buddy_word(order.get()), "{page:?}");
        page.count().set_raw(0);
        Some(page)
    }

    /// Takes a block out from anywhere. It is nobody's then. Says whose list it was on.
    #[inline(always)]
    pub(super) fn remove(&mut self, page: PagePtr, order: Order) -> MigrateType {
        let arm = page.arm_unchecked::<FreeArm>();
        let kind = MigrateType::from_index(arm.list.load(Relaxed) as u8);
        let (next, prev) = (arm.next.load(Relaxed), arm.prev.load(Relaxed));
        // SAFETY: the lists hold pointers of `PagePtr`s.
        let (after, before) = unsafe { (PagePtr::from_ptr(next), PagePtr::from_ptr(prev)) };
        if let Some(after) = after {
            after.arm_unchecked::<FreeArm>().prev.store(prev, Relaxed);
        }
        match before {
            Some(before) => before.arm_unchecked::<FreeArm>().next.store(next, Relaxed),
            None => {
                self.heads[kind as usize][order.get()] = next;
                if after.is_none() {
                    self.filled[kind as usize] &= !(1 << order.get());
                }
            }
        }
        self.counts[kind as usize][order.get()] -= 1;
        page.count().set_raw(0);
        kind
    }
}
