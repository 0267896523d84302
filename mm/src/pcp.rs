//! Each hart's own lists of free blocks: an order-0 page is had and given back without a shared lock
//! (Linux: `struct per_cpu_pages`, `rmqueue_pcplist`, `free_unref_page`).
//!
//! **What keeps others out.** The lists are used with interrupts off: an interrupt may then allocate
//! and free as everybody else, and the thread cannot change harts meanwhile. Linux 6.12 turns only
//! pre-emption off and tries a spinlock, so that an interrupt that comes in between goes to the zone:
//! that saves masking interrupts where it is dear (x86) and lets another CPU drain. On RISC-V to
//! mask is one instruction and to restore one more, less than a lock that is taken and released, and a
//! list is drained by its own hart, in an interrupt. No other hart ever writes here.
//!
//! **The lists.** For each mobility and order two stacks. Frees push on the hot one and allocations pop
//! from it; when it is full the cold one goes back to the zone and the hot one takes its place; when it
//! is empty they change places. So what goes back is what was not used for longest, a zone's lock is
//! taken once for many pages either way, and a stack needs one link.

use core::cell::Cell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed};

use rux_machine::IrqGuard;

use crate::addr::Order;
use crate::memory::memory;
use crate::page::arm::FreeArm;
use crate::page::{Page, PagePtr};
use crate::zone::{AllocFlags, MigrateType, Zone, ZoneId};

/// Orders that harts keep lists of (Linux: `PAGE_ALLOC_COSTLY_ORDER`).
pub(crate) const ORDERS: usize = 4;

/// The blocks of one mobility and order.
///
/// Written by its hart alone; atomic, since others read the counts.
#[repr(C, align(64))]
pub(crate) struct List {
    hot: AtomicPtr<Page>,
    /// Frees until somebody looks whether the hot stack is full. Below 0 is now.
    room: AtomicI32,
    /// Blocks in the cold stack.
    cold_count: AtomicU32,
    cold: AtomicPtr<Page>,
    /// Blocks ever popped: the event `pgalloc`, and with the two below the length of the hot stack.
    pops: AtomicU64,
    /// Blocks that came to the hot stack from the zone or the cold stack, less those that left so.
    filled: AtomicU64,
    /// All the room ever given.
    granted: AtomicU64,
}

impl List {
    const fn new() -> Self {
        Self {
            hot: AtomicPtr::new(null_mut()),
            room: AtomicI32::new(0),
            cold_count: AtomicU32::new(0),
            cold: AtomicPtr::new(null_mut()),
            pops: AtomicU64::new(0),
            filled: AtomicU64::new(0),
            granted: AtomicU64::new(0),
        }
    }

    #[inline(always)]
    fn pop(&self) -> Option<PagePtr> {
        // SAFETY: the stacks hold pointers of `PagePtr`s.
        let page = unsafe { PagePtr::from_ptr(self.hot.load(Relaxed)) }?;
        self.hot.store(page.arm_unchecked::<FreeArm>().next.load(Relaxed), Relaxed);
        self.pops.store(self.pops.load(Relaxed).wrapping_add(1), Relaxed);
        Some(page)
    }

    /// Pushes; says whether it is time for [`List::full`].
    #[inline(always)]
    #[must_use]
    fn push(&self, page: PagePtr) -> bool {
        page.arm_unchecked::<FreeArm>().next.store(self.hot.load(Relaxed), Relaxed);
        self.hot.store(page.as_ptr(), Relaxed);
        let room = self.room.load(Relaxed).wrapping_sub(1);
        self.room.store(room, Relaxed);
        room < 0
    }

    fn hot_count(&self) -> u32 {
        let pushed = self.granted.load(Relaxed).wrapping_sub(self.room.load(Relaxed) as i64 as u64);
        self.filled.load(Relaxed).wrapping_add(pushed).wrapping_sub(self.pops.load(Relaxed)) as u32
    }

    fn count(&self) -> u32 {
        self.hot_count() + self.cold_count.load(Relaxed)
    }

    fn moved_in(&self, blocks: u32) {
        self.filled.store(self.filled.load(Relaxed).wrapping_add(blocks as u64), Relaxed);
    }

    fn moved_out(&self, blocks: u32) {
        self.filled.store(self.filled.load(Relaxed).wrapping_sub(blocks as u64), Relaxed);
    }

    /// The cold stack becomes the hot one, which is empty.
    fn warm_up(&self) {
        let count = self.cold_count.load(Relaxed);
        self.hot.store(self.cold.load(Relaxed), Relaxed);
        self.cold.store(null_mut(), Relaxed);
        self.cold_count.store(0, Relaxed);
        self.moved_in(count);
    }

    /// Gives the cold stack to the zone.
    fn drain_cold(&self, zone: &Zone, order: Order) {
        if self.cold_count.load(Relaxed) == 0 {
            return;
        }
        let freed = zone.free_chain(chain(self.cold.load(Relaxed)), order);
        debug_assert_eq!(freed, self.cold_count.load(Relaxed) as usize);
        self.cold.store(null_mut(), Relaxed);
        self.cold_count.store(0, Relaxed);
    }

    /// The hot stack becomes the cold one, which is empty.
    fn cool_down(&self) {
        let count = self.hot_count();
        self.cold.store(self.hot.load(Relaxed), Relaxed);
        self.cold_count.store(count, Relaxed);
        self.hot.store(null_mut(), Relaxed);
        self.moved_out(count);
    }

    fn drain(&self, zone: &Zone, order: Order) {
        self.drain_cold(zone, order);
        self.cool_down();
        self.drain_cold(zone, order);
    }

    /// After a push that said so: makes room. Takes the guard along, so that a push is a leaf.
    #[cold]
    #[inline(never)]
    fn full(&self, _irqs: IrqGuard, order: Order) {
        let (zone, limit) = (memory().zone(ZoneId::Normal), memory().pcp_limits.hot(order));
        if self.hot_count() >= limit {
            self.drain_cold(zone, order);
            self.cool_down();
        }
        let more = limit - self.hot_count();
        self.room.store(self.room.load(Relaxed) + more as i32, Relaxed);
        self.granted.store(self.granted.load(Relaxed).wrapping_add(more as u64), Relaxed);
    }

    /// When there is nothing to pop: brings blocks, and pops one.
    fn refill(&self, zone: &Zone, order: Order, kind: MigrateType, flags: AllocFlags) -> Option<PagePtr> {
        if self.cold_count.load(Relaxed) != 0 {
            self.warm_up();
        } else {
            let batch = memory().pcp_limits.batch(order);
            let got = zone.alloc_bulk(order, kind, flags, batch as usize, |page| {
                page.arm_unchecked::<FreeArm>().next.store(self.hot.load(Relaxed), Relaxed);
                self.hot.store(page.as_ptr(), Relaxed);
            });
            self.moved_in(got as u32);
        }
        self.pop()
    }
}

/// The blocks of a stack.
fn chain(first: *mut Page) -> impl Iterator<Item = PagePtr> {
    let next = Cell::new(first);
    core::iter::from_fn(move || {
        // SAFETY: the stacks hold pointers of `PagePtr`s.
        let page = unsafe { PagePtr::from_ptr(next.get()) }?;
        // Before the block is given away.
        next.set(page.arm_unchecked::<FreeArm>().next.load(Relaxed));
        Some(page)
    })
}

/// Bytes from the lists of one mobility to those of the next.
pub(crate) const KIND_BYTES: u32 = (ORDERS * size_of::<List>()) as u32;

/// One hart's lists of one zone.
#[repr(C)]
pub(crate) struct Pcp {
    /// By mobility and order; a page knows its mobility ([`crate::zone::ListOffset`]).
    lists: [[List; ORDERS]; MigrateType::COUNT],
}

impl Pcp {
    pub(crate) const fn new() -> Self {
        Self { lists: [const { [const { List::new() }; ORDERS] }; MigrateType::COUNT] }
    }

    /// Takes a block that is nobody's, if there is one; interrupts are off.
    #[inline(always)]
    pub(crate) fn pop(&self, _irqs: &IrqGuard, order: Order, kind: MigrateType) -> Option<PagePtr> {
        self.lists[kind as usize][order.get()].pop()
    }

    /// Gives back a block that is nobody's, of an order below [`ORDERS`].
    #[inline(always)]
    pub(crate) fn push(&self, irqs: IrqGuard, page: PagePtr, order: Order) {
        debug_assert!(order.get() < ORDERS && page.home.list().bytes() < size_of::<Self>());
        let first = self.lists.as_ptr().cast::<List>();
        // SAFETY: a block that is handed out knows the offset of a list of order 0, written when it was
        // taken out of the zone; those of the other orders are behind it.
        let list = unsafe { &*first.byte_add(page.home.list().bytes()).add(order.get()) };
        if list.push(page) {
            list.full(irqs, order);
        }
    }

    /// As [`Pcp::pop`], when that had none: from the zone, as far as `flags` let it.
    #[inline(never)]
    pub(crate) fn refill(
        &self,
        _irqs: &IrqGuard,
        zone: &Zone,
        order: Order,
        kind: MigrateType,
        flags: AllocFlags,
    ) -> Option<PagePtr> {
        let list = &self.lists[kind as usize][order.get()];
        list.pop().or_else(|| list.refill(zone, order, kind, flags))
    }

    fn each(&self) -> impl Iterator<Item = (Order, &List)> {
        self.lists.iter().flat_map(|lists| Order::all().zip(lists))
    }

    /// Gives everything back to the zone.
    pub(crate) fn drain(&self, _irqs: &IrqGuard, zone: &Zone) {
        self.each().for_each(|(order, list)| list.drain(zone, order));
    }

    /// Pages in the lists. Exact when the hart is still.
    pub(crate) fn pages(&self) -> u64 {
        self.each().map(|(order, list)| u64::from(list.count()) << order.get()).sum()
    }

    /// Pages ever taken from the lists.
    pub(crate) fn popped_pages(&self) -> u64 {
        self.each().map(|(order, list)| list.pops.load(Relaxed) << order.get()).sum()
    }

    /// All blocks in the lists, with what each list says that it has.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (Order, u32, impl Iterator<Item = PagePtr>)> {
        self.each().map(|(order, list)| {
            let stacks = chain(list.hot.load(Relaxed)).chain(chain(list.cold.load(Relaxed)));
            (order, list.count(), stacks)
        })
    }
}

/// How many blocks a list has at most and how many it gets at once. Set at boot.
pub(crate) struct Limits {
    batch: AtomicU32,
    hot: AtomicU32,
}

impl Limits {
    pub(crate) const fn new() -> Self {
        Self { batch: AtomicU32::new(1), hot: AtomicU32::new(1) }
    }

    /// Sizes them for a machine: Linux's batch for small pages is a 4096th of the memory, 64 at most.
    /// A hart's two stacks of an order have four batches together, unless that many harts would keep
    /// more than half of what lies below the low watermark.
    pub(crate) fn set(&self, managed_pages: u64, low_watermark: u64, harts: usize) {
        let batch = (managed_pages / 4096).clamp(1, 32) as u32;
        let fair = low_watermark / 4 / harts.max(1) as u64;
        self.batch.store(batch, Relaxed);
        self.hot.store((2 * batch).min(fair as u32).max(batch), Relaxed);
    }

    fn batch(&self, order: Order) -> u32 {
        (self.batch.load(Relaxed) >> order.get()).max(1)
    }

    fn hot(&self, order: Order) -> u32 {
        (self.hot.load(Relaxed) >> order.get()).max(1)
    }
}
