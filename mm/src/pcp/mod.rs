//! Each hart's own lists of free blocks: an order-0 page is had and given back without a shared lock
//! (Linux: `struct per_cpu_pages`, `rmqueue_pcplist`, `free_unref_page`).
//!
//! **What keeps others out.** The lists are used with interrupts off: an interrupt may then allocate
//! and free as everybody else, and the thread cannot change harts meanwhile. Linux 6.12 turns only
//! pre-emption off and tries a spinlock, so that an interrupt that comes in between goes to the zone:
//! that saves masking interrupts where it is dear (x86) and lets another CPU drain. On RISC-V to
//! mask is one instruction and to restore one more, less than a lock that is taken and released, and a
//! list is drained by its own hart, in an interrupt, or in the place of a hart that is away ([`seat`]).
//!
//! **Which lists.** One for each zone, mobility and order (0 to 3, and that of a huge page). Those that kernel
//! data and user memory come from in the first place stand first, at an offset that is known when the call
//! is compiled; a page knows the offset of the list that it goes back to ([`crate::zone::Home`]).
//! One more keeps nothing: pages that have to be looked at when they are freed go there.

mod list;
mod seat;
mod tune;

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rux_machine::IrqGuard;

use crate::addr::Order;
use crate::memory::memory;
use crate::page::PagePtr;
use crate::page_alloc::debug;
use crate::zone::{MigrateType, Request, Zone, ZoneId};

use list::List;
pub(crate) use seat::{Asked, Seat};
pub(crate) use tune::Settings;
use tune::State;

/// What [`seat`] stands on. `mm/tests/loom` gives it loom's instead.
mod shim {
    pub(super) use core::sync::atomic::{AtomicU32, Ordering};

    pub(super) fn relax() {
        use rux_machine::{Hot, Hw};
        Hw::relax()
    }
}

/// Small orders that harts keep lists of (Linux: up to `PAGE_ALLOC_COSTLY_ORDER`).
pub(crate) const ORDERS: usize = 4;
/// Lists of one mobility: the small orders, and a huge page's.
const LISTS: usize = ORDERS + 1;
const KINDS: usize = MigrateType::MOBILITIES;

/// Blocks that a chunk has at least: fewer are not worth one.
const SEALED: u32 = 8;
/// A list is looked at after so many pushes at the earliest, unless its zone has no memory.
const EARLIEST: u32 = 2;
/// A list is looked at after so many pushes at the latest, or after four batches of pages.
const LATEST: u32 = 8;

/// Whether harts keep lists of an order (Linux: `pcp_allowed_order`).
#[inline(always)]
pub(crate) const fn has_list(order: Order) -> bool {
    order.get() < ORDERS || order.get() == Order::HUGE.get()
}

/// Which of the lists of a mobility an order has; [`has_list`] holds.
#[inline(always)]
const fn index(order: Order) -> usize {
    if order.get() < ORDERS { order.get() } else { ORDERS }
}

fn orders() -> impl Iterator<Item = Order> {
    Order::all().filter(|&order| has_list(order))
}

/// Bytes of the lists of one mobility.
const KIND_BYTES: usize = LISTS * size_of::<List>();

/// One hart's lists.
#[repr(C)]
pub(crate) struct Pcp {
    /// Of the first zone for each mobility ([`Places`]).
    first: [[List; LISTS]; KINDS],
    /// Of each zone.
    own: [[[List; LISTS]; KINDS]; ZoneId::ALLOCATED],
    /// Those that keep nothing.
    direct: [List; LISTS],
    states: [State; ZoneId::ALLOCATED],
}

/// Where the lists are, in bytes from the first one: of a zone and a mobility. Written at boot, before there are
/// pages in any list.
#[derive(Debug)]
pub(crate) struct Places([[AtomicU32; KINDS]; ZoneId::ALLOCATED]);

/// Where the lists are that keep nothing.
const DIRECT: usize = core::mem::offset_of!(Pcp, direct);

impl Places {
    pub(crate) const fn new() -> Self {
        Self([const { [const { AtomicU32::new(0) }; KINDS] }; ZoneId::ALLOCATED])
    }

    /// Gives each zone and mobility its lists. `first` is the zone that a mobility's allocations try first; with
    /// `None` none is, and so every allocation goes the long way, as every free does ([`Places::home`]).
    pub(crate) fn init(&self, first: Option<&dyn Fn(MigrateType) -> ZoneId>) {
        for zone in 0..ZoneId::ALLOCATED {
            for (kind, place) in self.0[zone].iter().enumerate() {
                let own = core::mem::offset_of!(Pcp, own) + (zone * KINDS + kind) * KIND_BYTES;
                let is_first =
                    first.is_some_and(|first| first(MigrateType::from_index(kind as u32)) as usize == zone);
                place.store(if is_first { kind * KIND_BYTES } else { own } as u32, Relaxed);
            }
        }
    }

    fn of(&self, zone: ZoneId, kind: MigrateType) -> usize {
        self.0[zone as usize % ZoneId::ALLOCATED][kind as usize % KINDS].load(Relaxed) as usize
    }

    /// Where pages of a zone and mobility go when they are freed; all to where they are looked at if `checked`.
    /// Blocks kept for the urgent give theirs as movable ones, isolated ones to the zone.
    pub(crate) fn home(&self, zone: ZoneId, kind: MigrateType, checked: bool) -> u32 {
        let place = match kind {
            _ if checked => DIRECT,
            MigrateType::Isolate => DIRECT,
            MigrateType::HighAtomic => self.of(zone, MigrateType::Movable),
            kind => self.of(zone, kind),
        };
        place as u32
    }
}

/// A hart's lists of a zone as `/proc/zoneinfo` shows them, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PcpInfo {
    /// In the lists.
    pub count: u64,
    /// How many are too many, now.
    pub high: u64,
    /// How many are had or given back at once.
    pub batch: u64,
    /// The least that `high` may be.
    pub high_min: u64,
    /// The most.
    pub high_max: u64,
}

impl Pcp {
    pub(crate) const fn new() -> Self {
        Self {
            first: [const { [const { List::new() }; LISTS] }; KINDS],
            own: [const { [const { [const { List::new() }; LISTS] }; KINDS] }; ZoneId::ALLOCATED],
            direct: [const { List::new() }; LISTS],
            states: [const { State::new() }; ZoneId::ALLOCATED],
        }
    }

    /// At boot: tells the lists which zone they are of.
    pub(crate) fn init(&self, places: &Places) {
        for zone in [ZoneId::Dma32, ZoneId::Normal, ZoneId::Movable] {
            for kind in &MigrateType::ALL[..KINDS] {
                self.own[zone as usize][*kind as usize].iter().for_each(|list| list.set_tag(zone as u32));
                orders().for_each(|order| self.at(places.of(zone, *kind), order).set_tag(zone as u32));
            }
        }
        self.direct.iter().for_each(|list| list.set_tag(List::DIRECT));
    }

    /// The list at so many bytes, for an order that has one.
    #[inline(always)]
    fn at(&self, place: usize, order: Order) -> &List {
        debug_assert!(place <= DIRECT && has_list(order));
        // SAFETY: places are offsets of five lists, which are all in `self` before `states`: written by
        // `Places::init` alone, and read from there or from a page that was taken out of a zone.
        unsafe { &*core::ptr::from_ref(self).byte_add(place).cast::<List>().add(index(order)) }
    }

    /// Takes a block that is nobody's from where `kind` comes from first, if there is one; interrupts are off.
    #[inline(always)]
    pub(crate) fn pop(&self, _irqs: &IrqGuard, order: Order, kind: MigrateType) -> Option<PagePtr> {
        self.first[kind as usize][index(order)].pop()
    }

    /// Gives back a block that is nobody's, of an order that has lists.
    #[inline(always)]
    pub(crate) fn push(&self, irqs: IrqGuard, page: PagePtr, order: Order) {
        let list = self.at(page.home.bytes(), order);
        if list.push(page) {
            full(list, irqs, order);
        }
    }

    /// As [`Pcp::pop`], from a zone: from its list, or from itself as far as `request` lets it.
    #[inline(never)]
    pub(crate) fn refill(
        &self,
        _irqs: &IrqGuard,
        zone: &Zone,
        order: Order,
        kind: MigrateType,
        request: Request,
    ) -> Option<PagePtr> {
        let list = self.at(memory().places.of(zone.id(), kind), order);
        if let Some(page) = list.pop() {
            return Some(page);
        }
        let state = &self.states[zone.id() as usize % ZoneId::ALLOCATED];
        let marks = zone.pcp.get();
        state.note(&list.news(), order, marks);
        if !list.unseal() {
            let batch = state.refill(marks, order, zone.below_high.load(Relaxed) != 0);
            let got = zone.alloc_bulk(order, kind, request, batch as usize, |page| list.fill(page));
            list.filled(got as i32);
            state.moved((got << order.get()) as i32);
        }
        list.pop()
    }

    /// Takes up to `most` pages for a bulk allocation of single pages, as [`Pcp::refill`] does one.
    pub(crate) fn take_many(
        &self,
        irqs: &IrqGuard,
        zone: &Zone,
        kind: MigrateType,
        request: Request,
        most: usize,
        mut each: impl FnMut(PagePtr),
    ) -> usize {
        let list = self.at(memory().places.of(zone.id(), kind), Order::ZERO);
        for got in 0..most {
            match list.pop().or_else(|| self.refill(irqs, zone, Order::ZERO, kind, request)) {
                Some(page) => each(page),
                None => return got,
            }
        }
        most
    }

    /// When a list has no room: gives blocks to the zone if there are too many, and makes room.
    fn make_room(&self, list: &List, order: Order) {
        let zone = memory().zone(ZoneId::from_index(list.tag()));
        let state = &self.states[zone.id() as usize % ZoneId::ALLOCATED];
        let marks = zone.pcp.get();
        state.note(&list.news(), order, marks);
        let below_high = zone.below_high.load(Relaxed) != 0;
        let (high, less) = state.look(marks, order, below_high);
        list.seal(((4 * marks.batch) >> order.get()).max(SEALED));
        if less != 0 {
            self.shed(list, zone, order, less);
            if below_high && zone.is_above_high() {
                zone.below_high.store(0, Relaxed);
            }
        }
        // Not more than there is to spare, or too many would not be seen when they are too many.
        let spare = high.saturating_sub(state.count()) >> order.get();
        let latest = ((4 * marks.batch) >> order.get()).max(LATEST);
        list.grant(spare.min(latest).max(if high == 0 { 1 } else { EARLIEST }));
    }

    /// Gives `pages` to the zone, of `list` first and then of as many of the zone's others as it takes.
    fn shed(&self, list: &List, zone: &Zone, order: Order, pages: u32) {
        let state = &self.states[zone.id() as usize % ZoneId::ALLOCATED];
        let mut left = pages;
        let mut shed = |list: &List, order: Order| {
            let blocks = list.shed(zone, order, left.div_ceil(order.pages() as u32));
            state.moved(-((blocks << order.get()) as i32));
            left = left.saturating_sub(blocks << order.get());
            left == 0
        };
        if shed(list, order) {
            return;
        }
        for (order, other) in self.of_zone(zone.id()).filter(|(_, other)| !core::ptr::eq(*other, list)) {
            state.note(&other.news(), order, zone.pcp.get());
            if shed(other, order) {
                return;
            }
        }
    }

    fn each(&self) -> impl Iterator<Item = (Order, &List)> {
        let order = |index: usize| match index % LISTS {
            ORDERS => Order::HUGE,
            small => Order::new(small).unwrap_or_default(),
        };
        let (first, own) = (self.first.as_flattened(), self.own.as_flattened().as_flattened());
        first.iter().chain(own).enumerate().map(move |(index, list)| (order(index), list))
    }

    fn of_zone(&self, zone: ZoneId) -> impl Iterator<Item = (Order, &List)> {
        self.each().filter(move |(_, list)| list.tag() == zone as u32)
    }

    /// Gives everything back to the zones; interrupts are off, and it is the hart's own doing or in its place.
    pub(crate) fn drain(&self) {
        for (order, list) in self.each() {
            if list.count() != 0 {
                let zone = memory().zone(ZoneId::from_index(list.tag()));
                let state = &self.states[zone.id() as usize % ZoneId::ALLOCATED];
                state.note(&list.news(), order, zone.pcp.get());
                let blocks = list.shed(zone, order, u32::MAX);
                state.moved(-((blocks << order.get()) as i32));
            }
        }
    }

    /// Once a second: gives back what the hart did not need; interrupts are off.
    pub(crate) fn decay(&self) {
        for zone in [ZoneId::Dma32, ZoneId::Normal, ZoneId::Movable].map(|id| memory().zone(id)) {
            let state = &self.states[zone.id() as usize % ZoneId::ALLOCATED];
            self.of_zone(zone.id()).for_each(|(order, list)| state.note(&list.news(), order, zone.pcp.get()));
            let less = state.decay(zone.pcp.get());
            if less != 0
                && let Some((order, list)) = self.of_zone(zone.id()).max_by_key(|(_, list)| list.count())
            {
                self.shed(list, zone, order, less);
            }
        }
    }

    /// Pages in the lists. Exact when the hart is still.
    pub(crate) fn pages(&self) -> u64 {
        self.each().map(|(order, list)| u64::from(list.count()) << order.get()).sum()
    }

    /// Pages ever taken from the lists of a zone.
    pub(crate) fn popped_pages(&self, zone: ZoneId) -> u64 {
        self.of_zone(zone).map(|(order, list)| list.pops() << order.get()).sum()
    }

    /// Pages ever given to the lists.
    pub(crate) fn pushed_pages(&self) -> u64 {
        self.each().map(|(order, list)| list.pushes() << order.get()).sum()
    }

    /// The lists of a zone, for `/proc/zoneinfo`.
    pub(crate) fn info(&self, zone: &Zone) -> PcpInfo {
        let marks = zone.pcp.get();
        let Some(state) = self.states.get(zone.id() as usize) else {
            return PcpInfo { count: 0, high: 0, batch: 1, high_min: 0, high_max: 0 };
        };
        PcpInfo {
            count: self.of_zone(zone.id()).map(|(order, list)| u64::from(list.count()) << order.get()).sum(),
            high: state.high(marks).into(),
            batch: marks.batch.into(),
            high_min: marks.high_min.into(),
            high_max: marks.high_max.into(),
        }
    }

    /// All blocks in the lists, with what each list says that it has.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (Order, u32, impl Iterator<Item = PagePtr>)> {
        self.each().map(|(order, list)| (order, list.count(), list.blocks()))
    }
}

/// After a push that said so. Takes the guard along, so that a push is a leaf.
#[cold]
#[inline(never)]
fn full(list: &List, _irqs: IrqGuard, order: Order) {
    let pcp = &crate::memory::this_hart().pcp;
    if list.tag() != List::DIRECT {
        return pcp.make_room(list, order);
    }
    let Some(page) = list.unpush() else { return };
    debug::freed(page, order);
    put(pcp, page, order);
}

/// Puts a block where it belongs by what it is now, not by what it was when it was taken.
fn put(pcp: &Pcp, page: PagePtr, order: Order) {
    let (zone, kind) = (memory().zone(page.zone_id()), page.block_type());
    if kind == MigrateType::Isolate {
        crate::stat::add(crate::stat::Item::PgFree, order.pages() as i64);
        zone.free_block(page, order);
        return;
    }
    let kind = if kind == MigrateType::HighAtomic { MigrateType::Movable } else { kind };
    let list = pcp.at(memory().places.of(zone.id(), kind), order);
    if list.push(page) {
        pcp.make_room(list, order);
    }
}

#[cfg(test)]
mod tests;
