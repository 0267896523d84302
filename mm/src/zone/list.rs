//! The free lists of a zone: for each mobility and order a doubly linked list through the descriptors
//! of the blocks' first pages (Linux: `struct free_area`). Last in, first out.

use core::ptr::null_mut;
use core::sync::atomic::Ordering::Relaxed;

use super::MigrateType;
use crate::addr::Order;
use crate::page::arm::FreeArm;
use crate::page::{Count, Page, PagePtr};

/// Bits of a list's number that are the order; the mobility is above.
const ORDER_BITS: u32 = 4;
/// Mobilities that the numbers have room for: a power of two, so that a mask bounds an index.
const KINDS: usize = 8;
const LISTS: usize = KINDS << ORDER_BITS;

const _: () = assert!(Order::COUNT <= 1 << ORDER_BITS && MigrateType::COUNT <= KINDS);

#[derive(Clone, Copy, Debug)]
struct List {
    head: *mut Page,
    count: u64,
}

/// The number of a list.
#[inline(always)]
const fn number(kind: u32, order: Order) -> u32 {
    kind << ORDER_BITS | order.get() as u32
}

/// All free lists of a zone.
#[derive(Debug)]
pub(crate) struct FreeLists {
    lists: [List; LISTS],
    /// Of each mobility: bit `order` is set when that list has a block.
    filled: [u32; KINDS],
    /// Of each mobility: where a page that is taken goes when it is freed ([`super::Home`]).
    homes: [u32; KINDS],
}

// SAFETY: descriptors may be looked at by all; who owns the lists has their lock.
unsafe impl Send for FreeLists {}

impl FreeLists {
    pub(crate) const fn new() -> Self {
        Self { lists: [List { head: null_mut(), count: 0 }; LISTS], filled: [0; KINDS], homes: [0; KINDS] }
    }

    #[inline(always)]
    fn list(&mut self, number: u32) -> &mut List {
        &mut self.lists[number as usize % LISTS]
    }

    #[inline(always)]
    fn now_empty(&mut self, number: u32) {
        self.filled[(number >> ORDER_BITS) as usize % KINDS] &= !(1 << (number % (1 << ORDER_BITS)));
    }

    /// Where pages of a mobility go when they are freed.
    #[inline(always)]
    pub(super) fn home(&self, kind: u32) -> u32 {
        self.homes[kind as usize % KINDS]
    }

    /// See [`FreeLists::home`]; at boot.
    pub(crate) fn set_home(&mut self, kind: MigrateType, home: u32) {
        self.homes[kind as usize] = home;
    }

    /// Blocks of an order and type.
    pub(crate) fn count(&self, kind: MigrateType, order: Order) -> u64 {
        self.lists[number(kind as u32, order) as usize].count
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
        unsafe { PagePtr::from_ptr(self.lists[number(kind as u32, order) as usize % LISTS].head) }
    }

    /// Puts a block first, and marks it as free. `kind` is the number of a mobility.
    #[inline(always)]
    pub(super) fn push(&mut self, page: PagePtr, order: Order, kind: u32) {
        let number = number(kind, order);
        let list = self.list(number);
        let next = list.head;
        list.head = page.as_ptr();
        list.count += 1;
        let arm = page.arm_unchecked::<FreeArm>();
        arm.next.store(next, Relaxed);
        arm.prev.store(null_mut(), Relaxed);
        arm.list.store(number, Relaxed);
        page.count().set_raw(Count::buddy_word(order.get()));
        // SAFETY: the lists hold pointers of `PagePtr`s.
        match unsafe { PagePtr::from_ptr(next) } {
            Some(next) => next.arm_unchecked::<FreeArm>().prev.store(page.as_ptr(), Relaxed),
            None => self.filled[kind as usize % KINDS] |= 1 << order.get(),
        }
    }

    /// Takes the first block out. It is nobody's then.
    #[inline(always)]
    pub(super) fn pop(&mut self, order: Order, kind: MigrateType) -> Option<PagePtr> {
        let number = number(kind as u32, order);
        let page = self.first(kind, order)?;
        debug_assert_eq!(page.count().raw(), Count::buddy_word(order.get()), "{page:?}");
        let next = page.arm_unchecked::<FreeArm>().next.load(Relaxed);
        let list = self.list(number);
        list.head = next;
        list.count -= 1;
        // SAFETY: the lists hold pointers of `PagePtr`s.
        match unsafe { PagePtr::from_ptr(next) } {
            Some(next) => next.arm_unchecked::<FreeArm>().prev.store(null_mut(), Relaxed),
            None => self.filled[kind as usize] &= !(order.pages() as u32),
        }
        page.count().set_raw(0);
        Some(page)
    }

    /// Takes a block out from anywhere. It is nobody's then.
    #[inline(always)]
    pub(super) fn remove(&mut self, page: PagePtr) {
        let arm = page.arm_unchecked::<FreeArm>();
        let number = arm.list.load(Relaxed);
        let (next, prev) = (arm.next.load(Relaxed), arm.prev.load(Relaxed));
        // SAFETY: the lists hold pointers of `PagePtr`s.
        let (after, before) = unsafe { (PagePtr::from_ptr(next), PagePtr::from_ptr(prev)) };
        self.list(number).count -= 1;
        if let Some(after) = after {
            after.arm_unchecked::<FreeArm>().prev.store(prev, Relaxed);
        }
        match before {
            Some(before) => before.arm_unchecked::<FreeArm>().next.store(next, Relaxed),
            None => {
                self.list(number).head = next;
                if after.is_none() {
                    self.now_empty(number);
                }
            }
        }
        page.count().set_raw(0);
    }
}

/// Whether a free block says that it is on the list of that type and order.
pub(super) fn is_on(page: PagePtr, kind: MigrateType, order: Order) -> bool {
    page.arm_unchecked::<FreeArm>().list.load(Relaxed) == number(kind as u32, order)
}
