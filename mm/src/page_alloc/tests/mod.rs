use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::addr::Pfn;
use crate::host::{HostMachine, RAM_BASE};
use crate::inject::{self, Then};
use crate::memory::BootOptions;
use crate::page::{PageFlags, PageType, pfn_to_online_page};
use crate::zone::{Watermark, Zone, ZoneId};

mod checks;
mod kpage;
mod short;
// Much memory in each; what they use of the unsafe rooms the others use too.
#[cfg(not(miri))]
mod lists;
#[cfg(not(miri))]
mod slow;
#[cfg(not(miri))]
mod zones;

const MB: usize = 1 << 20;
/// Enough for several blocks of the largest order; under Miri every byte counts.
const RAM: usize = if cfg!(miri) { 8 * MB } else { 16 * MB };
const CASES: u32 = if cfg!(miri) { 2 } else { 64 };
const STEPS: usize = if cfg!(miri) { 60 } else { 600 };

fn order(order: usize) -> Order {
    Order::new(order).unwrap()
}

/// The one zone with memory: all of it is below 4 GiB.
fn normal() -> &'static Zone {
    memory().zone(ZoneId::Dma32)
}

/// What the model keeps: the frames that are in use, and the blocks that it holds.
#[derive(Default)]
struct Model {
    used: BTreeSet<u64>,
    blocks: BTreeMap<usize, Held>,
}

enum Held {
    Block(PageBlock),
    Folio(FolioRef),
}

impl Held {
    fn span(&self) -> (u64, usize) {
        match self {
            Self::Block(block) => (block.pfn().get(), block.order().pages()),
            Self::Folio(folio) => (folio.pfn().get(), folio.pages()),
        }
    }
}

impl Model {
    fn take(&mut self, slot: usize, held: Held) {
        let (first, pages) = held.span();
        assert_eq!(first % pages as u64, 0, "not aligned");
        for pfn in first..first + pages as u64 {
            assert!(pfn_to_online_page(Pfn::new(pfn)).is_some(), "no such frame: {pfn:#x}");
            assert!(self.used.insert(pfn), "frame {pfn:#x} was handed out twice");
        }
        self.blocks.insert(slot, held);
    }

    fn give(&mut self, slot: usize) {
        if let Some(held) = self.blocks.remove(&slot) {
            let (first, pages) = held.span();
            (first..first + pages as u64).for_each(|pfn| assert!(self.used.remove(&pfn)));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Block { slot: usize, order: usize, gfp: Gfp },
    Folio { slot: usize, order: usize },
    Give { slot: usize },
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = 0..64usize;
    // Small orders most often, as in life.
    let orders = || prop_oneof![6 => 0..1usize, 3 => 0..4usize, 2 => 0..11usize];
    let gfp = prop_oneof![
        Just(Gfp::NOWAIT),
        Just(Gfp::NOWAIT | Gfp::MOVABLE),
        Just(Gfp::NOWAIT | Gfp::RECLAIMABLE),
        Just(Gfp::ATOMIC),
        Just(Gfp::KERNEL | Gfp::MEMALLOC),
        Just(Gfp::NOWAIT | Gfp::COMP),
        Just(Gfp::NOWAIT | Gfp::ZERO),
    ];
    prop_oneof![
        4 => (slot.clone(), orders(), gfp).prop_map(|(slot, order, gfp)| Step::Block { slot, order, gfp }),
        3 => (slot.clone(), orders()).prop_map(|(slot, order)| Step::Folio { slot, order }),
        4 => slot.prop_map(|slot| Step::Give { slot }),
        1 => Just(Step::Drain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..Default::default() })]

    #[test]
    fn blocks_are_as_a_set_of_frames(steps in prop::collection::vec(step(), 1..STEPS)) {
        let machine = HostMachine::new(RAM, 1);
        let free = free_pages_count();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Block { slot, order: o, gfp } => {
                    model.give(slot);
                    if let Ok(block) = alloc_pages(gfp, order(o)) {
                        if gfp.contains(Gfp::ZERO) {
                            // SAFETY: the block is ours.
                            let bytes = unsafe { std::slice::from_raw_parts_mut(block.as_ptr(), block.bytes()) };
                            prop_assert!(bytes.iter().all(|&byte| byte == 0));
                            bytes.fill(0xa5);
                        }
                        model.take(slot, Held::Block(block));
                    }
                }
                Step::Folio { slot, order: o } => {
                    model.give(slot);
                    if let Ok(folio) = alloc_folio(Gfp::NOWAIT | Gfp::MOVABLE, order(o)) {
                        prop_assert_eq!(folio.order(), order(o));
                        prop_assert_eq!(folio.refcount(), 1);
                        prop_assert_eq!(folio.mapping(), MappingWord::None);
                        prop_assert_eq!(folio.page(folio.pages() - 1).head(), folio.head());
                        folio.set_flags(PageFlags::UPTODATE | PageFlags::SWAPBACKED);
                        folio.set_mapping(MappingWord::Anon(64));
                        folio.set_private(u64::MAX);
                        model.take(slot, Held::Folio(folio));
                    }
                }
                Step::Give { slot } => model.give(slot),
                Step::Drain => drain_pcp(),
            }
            prop_assert_eq!(free_pages_count() + model.used.len() as u64, free);
        }
        prop_assert_eq!(validate_still(), Ok(()));
        drop(model);
        prop_assert_eq!(free_pages_count(), free);
        drain_pcp();
        prop_assert_eq!(normal().free_pages(), free);
        prop_assert_eq!(validate_still(), Ok(()));
        drop(machine);
    }
}

#[test]
fn all_memory_can_be_had_and_comes_back() {
    let machine = HostMachine::new(RAM, 1);
    let (free, total) = (free_pages_count(), total_pages());
    assert_eq!(total, (RAM / PAGE_SIZE) as u64);
    for order in Order::all() {
        let mut blocks = Vec::new();
        while let Ok(block) = alloc_pages(Gfp::KERNEL | Gfp::MEMALLOC | Gfp::NOWARN, order) {
            blocks.push(block);
        }
        assert_eq!(free_pages_count(), free - ((blocks.len() as u64) << order.get()));
        // What lies around the few pages that boot took is too small.
        assert!(free_pages_count() < order.pages() as u64 + (total - free), "{order:?}");
        drop(blocks);
        assert_eq!(free_pages_count(), free, "{order:?}");
    }
    assert_eq!(validate_still(), Ok(()));
    drop(machine);
}

#[test]
fn free_memory_joins_to_the_largest_blocks() {
    let machine = HostMachine::new(RAM, 1);
    drain_pcp();
    let before = normal().free_blocks();
    let pages: Vec<_> =
        std::iter::from_fn(|| alloc_pages(Gfp::NOWAIT | Gfp::MEMALLOC, Order::ZERO).ok()).collect();
    // Every other one first: nothing can join until its buddy comes.
    let (even, odd): (Vec<_>, Vec<_>) = pages.into_iter().partition(|page| page.pfn().get() % 2 == 0);
    drop(even);
    drain_pcp();
    assert_eq!(normal().free_blocks()[1..], before.map(|_| 0)[1..]);
    drop(odd);
    drain_pcp();
    assert_eq!(normal().free_blocks(), before);
    drop(machine);
}

#[test]
fn the_reserve_is_for_those_who_may() {
    let machine = HostMachine::new(RAM, 1);
    let mut held = Vec::new();
    let mut exhaust = |gfp: Gfp| {
        while let Ok(page) = alloc_pages(gfp | Gfp::NOWARN, Order::ZERO) {
            held.push(page);
        }
        drain_pcp();
        normal().free_pages()
    };
    let min = normal().watermark(Watermark::Min);
    assert!(min > 8 && min < normal().watermark(Watermark::Low));
    assert_eq!(exhaust(Gfp::KERNEL), min);
    assert_eq!(exhaust(Gfp::NOWAIT), min);
    assert_eq!(exhaust(Gfp::KERNEL | Gfp::HIGH), min - min / 2);
    let atomic = exhaust(Gfp::ATOMIC);
    assert!(atomic < min - min / 2 && atomic > 0);
    assert_eq!(exhaust(Gfp::KERNEL | Gfp::MEMALLOC | Gfp::NOMEMALLOC), atomic);
    let scope = Hw::thread().enter_scope(Scope::MEMALLOC);
    assert_eq!(exhaust(Gfp::KERNEL), 0);
    Hw::thread().set_scope(scope);
    drop(held);
    drop(machine);
}

#[test]
fn reclaim_is_asked_as_long_as_it_helps() {
    use std::cell::RefCell;
    thread_local! { static CACHE: RefCell<Vec<PageBlock>> = const { RefCell::new(Vec::new()) } }

    let machine = HostMachine::new(RAM, 1);
    let free = free_pages_count();
    while let Ok(page) = alloc_pages(Gfp::KERNEL | Gfp::NOWARN, Order::ZERO) {
        CACHE.with_borrow_mut(|cache| cache.push(page));
    }
    register_reclaim(|_, _| {
        CACHE.with_borrow_mut(|cache| cache.pop().map_or(0, |page| page.order().pages()))
    });
    let pages = CACHE.with_borrow(Vec::len);
    let had: Vec<_> = (0..pages).map(|_| alloc_pages(Gfp::KERNEL, Order::ZERO).unwrap()).collect();
    assert_eq!(alloc_pages(Gfp::KERNEL | Gfp::NOWARN, Order::ZERO).err(), Some(AllocError));
    drop(had);
    // Who cannot sleep does not ask.
    while let Ok(page) = alloc_pages(Gfp::NOWAIT, Order::ZERO) {
        CACHE.with_borrow_mut(|cache| cache.push(page));
    }
    assert!(!CACHE.with_borrow(Vec::is_empty));
    CACHE.with_borrow_mut(Vec::clear);
    assert_eq!(free_pages_count(), free);
    drop(machine);
}

#[test]
fn the_nth_allocation_fails() {
    let machine = HostMachine::new(RAM, 1);
    let injection = inject::fail_after(2, Then::Pass);
    let results: Vec<_> = (0..5).map(|_| alloc_folio(Gfp::KERNEL, Order::ZERO).is_ok()).collect();
    assert_eq!(results, [true, true, false, true, true]);
    assert_eq!(injection.failed(), 1);
    drop(injection);
    let injection = inject::fail_after(1, Then::Fail);
    let results: Vec<_> = (0..3).map(|o| alloc_pages(Gfp::KERNEL, order(4 * o)).is_ok()).collect();
    assert_eq!(results, [true, false, false]);
    drop(injection);
    assert!(alloc_pages(Gfp::KERNEL, Order::ZERO).is_ok());
    drop(machine);
}

#[test]
fn references_free_with_the_last() {
    let machine = HostMachine::new(RAM, 1);
    let free = free_pages_count();
    let folio = alloc_folio(Gfp::HIGHUSER_MOVABLE, order(3)).unwrap();
    let pfn = folio.pfn();
    // By any page of it.
    let other = FolioRef::try_get(pfn + 5).unwrap();
    assert!(other == folio && folio.refcount() == 2);
    let again = other.clone();
    drop(folio);
    drop(other);
    assert_eq!(free_pages_count(), free - 8);
    assert!(again.freeze(1) && FolioRef::try_get(pfn).is_none());
    again.unfreeze(1);
    let raw = again.into_raw();
    // SAFETY: `into_raw` just now.
    drop(unsafe { FolioRef::from_raw(raw) });
    assert_eq!(free_pages_count(), free);
    assert!(FolioRef::try_get(pfn).is_none());
    assert!(FolioRef::try_get(Pfn::new(0)).is_none() && FolioRef::try_get(Pfn::new(u64::MAX)).is_none());
    drop(machine);
}

#[test]
fn a_look_at_a_raw_block_does_not_keep_all_of_it() {
    let machine = HostMachine::new(RAM, 1);
    let free = free_pages_count();
    let block = alloc_pages(Gfp::KERNEL, order(5)).unwrap();
    let look = FolioRef::try_get(block.pfn()).unwrap();
    assert!(FolioRef::try_get(block.pfn() + 1).is_none());
    drop(block);
    assert_eq!(free_pages_count(), free - 1);
    drop(look);
    assert_eq!(free_pages_count(), free);
    drain_pcp();
    assert_eq!(validate_still(), Ok(()));
    drop(machine);
}

#[test]
fn mobilities_keep_to_their_blocks() {
    let machine = HostMachine::new(RAM, 1);
    let fixed: Vec<_> = (0..64).map(|_| alloc_pages(Gfp::KERNEL, Order::ZERO).unwrap()).collect();
    let movable: Vec<_> = (0..64).map(|_| alloc_folio(Gfp::HIGHUSER_MOVABLE, Order::ZERO).unwrap()).collect();
    let block = |pfn: Pfn| pfn.get() / 512;
    let fixed_in: BTreeSet<_> = fixed.iter().map(|page| block(page.pfn())).collect();
    let movable_in: BTreeSet<_> = movable.iter().map(|page| block(page.pfn())).collect();
    assert!(fixed_in.is_disjoint(&movable_in), "{fixed_in:?} {movable_in:?}");
    assert!(fixed.iter().all(|page| page.page().block_type() == MigrateType::Unmovable));
    assert!(movable.iter().all(|page| page.head().block_type() == MigrateType::Movable));
    drop((fixed, movable));
    drop(machine);
}

#[test]
fn a_folio_counts_its_mappings() {
    let machine = HostMachine::new(RAM, 1);
    for order in [Order::ZERO, order(2)] {
        let folio = alloc_folio(Gfp::HIGHUSER_MOVABLE, order).unwrap();
        let last = folio.pages() - 1;
        assert_eq!((folio.map_page(0), folio.map_page(last)), (Some(0), Some(if last == 0 { 1 } else { 0 })));
        assert_eq!(folio.mapcount(), 2);
        folio.page(last).set_anon_exclusive();
        let left = if last == 0 { 1 } else { 0 };
        assert_eq!((folio.unmap_page(last), folio.unmap_page(0)), (left, 0));
        assert!(!folio.is_mapped());
    }
    assert_eq!(validate_still(), Ok(()));
    drop(machine);
}

#[test]
fn holes_and_odd_ends_are_not_handed_out() {
    let ranges = [(RAM_BASE, 3 * MB as u64 + 4096), (RAM_BASE + 200 * MB as u64, 2 * MB as u64)];
    let machine =
        HostMachine::with_ram(&ranges, 2, BootOptions { min_free_kbytes: Some(64), ..Default::default() });
    assert_eq!(total_pages(), 256 * 5 + 1);
    let mut held = Vec::new();
    while let Ok(page) = alloc_pages(Gfp::KERNEL | Gfp::MEMALLOC | Gfp::NOWARN, Order::ZERO) {
        let at = page.phys();
        assert!(ranges.iter().any(|range| range.0 <= at && at < range.0 + range.1), "{at:?}");
        held.push(page);
    }
    assert_eq!(normal().span().0, RAM_BASE.pfn());
    drop(held);
    assert_eq!(validate_still(), Ok(()));
    drop(machine);
}

#[test]
fn what_was_reserved_can_be_given() {
    let machine = HostMachine::new(RAM, 1);
    let block = alloc_pages(Gfp::KERNEL, order(4)).unwrap();
    let (start, pfn) = (block.phys(), block.into_raw());
    // As boot leaves it.
    for page in (0..16).map(|index| pfn_to_online_page(pfn + index).unwrap()) {
        page.count().set_raw(0);
        page.init_flags(PageFlags::RESERVED);
    }
    let (free, total) = (free_pages_count(), total_pages());
    // SAFETY: taken from the allocator above, and nobody's.
    unsafe { memory().free_reserved(start + 1, 16 * 4096 - 1) };
    assert_eq!((free_pages_count(), total_pages()), (free + 15, total + 15));
    assert_eq!(validate_still(), Ok(()));
    drop(machine);
}

#[test]
fn harts_share_a_machine() {
    let harts = if cfg!(miri) { 3 } else { 8 };
    let rounds = if cfg!(miri) { 120 } else { 20_000 };
    let mut machine = HostMachine::new(2 * RAM, harts);
    machine.drain_still();
    let free = free_pages_count();
    let shared = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for hart in 0..harts {
            let (machine, shared) = (&machine, &shared);
            scope.spawn(move || {
                machine.enter(hart);
                let mut seed = hart as u64 * 77 + 1;
                let mut held: Vec<Held> = Vec::new();
                for _ in 0..rounds {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let dice = (seed >> 33) as usize;
                    let size = order([0, 0, 0, 0, 1, 2, 3, 5, 9, 10][dice % 10]);
                    match dice / 16 % 8 {
                        0..3 => held.extend(alloc_pages(Gfp::NOWAIT, size).map(Held::Block)),
                        3 => held.extend(alloc_folio(Gfp::NOWAIT | Gfp::MOVABLE, size).map(Held::Folio)),
                        4 if !held.is_empty() => {
                            shared.lock().unwrap().push(held.swap_remove(dice % held.len()))
                        }
                        5 => drop(shared.lock().unwrap().pop()),
                        6 => {
                            // A stranger who looks at any frame.
                            let frames = 2 * RAM as u64 / PAGE_SIZE as u64;
                            drop(FolioRef::try_get(RAM_BASE.pfn() + dice as u64 % frames));
                        }
                        _ if !held.is_empty() => drop(held.swap_remove(dice % held.len())),
                        _ => {}
                    }
                    if held.len() > 200 {
                        held.truncate(100);
                    }
                }
            });
        }
    });
    drop(shared);
    assert_eq!(free_pages_count(), free);
    assert_eq!(validate_still(), Ok(()));
    machine.drain_still();
    assert_eq!(normal().free_pages(), free);
    assert_eq!(validate_still(), Ok(()));
    assert!(normal().free_blocks()[10] > 0);
}

#[test]
fn sixty_four_harts() {
    let harts = rux_machine::MAX_HARTS;
    let mut machine = HostMachine::new(if cfg!(miri) { RAM } else { 64 * MB }, harts);
    let free = free_pages_count();
    for hart in 0..harts {
        machine.enter(hart);
        drop(alloc_pages(Gfp::KERNEL, Order::ZERO).unwrap());
    }
    assert_eq!(free_pages_count(), free);
    assert!(free - normal().free_pages() >= harts as u64);
    machine.drain_still();
    assert_eq!(normal().free_pages(), free);
}

/// What debug builds catch. In each the page is left as it is, and never used again.
#[cfg(debug_assertions)]
mod caught {
    use super::*;

    pub(super) fn caught(what: &str, wrong: impl FnOnce()) {
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(wrong)).unwrap_err();
        let message = panic.downcast_ref::<String>().expect("a message");
        assert!(message.contains(what), "{message}");
    }

    #[test]
    fn a_double_free() {
        let machine = HostMachine::new(RAM, 1);
        let block = alloc_pages(Gfp::KERNEL, order(2)).unwrap();
        let (pfn, order) = (block.pfn(), block.order());
        drop(block);
        // SAFETY: none: it is what is to be caught.
        caught("put too often", || drop(unsafe { PageBlock::from_raw(pfn, order) }));
        drain_pcp();
        // SAFETY: as above.
        caught("put too often", || drop(unsafe { FolioRef::from_raw(pfn) }));
        assert_eq!(validate_still(), Ok(()));
        drop(machine);
    }

    #[test]
    fn a_free_of_what_is_in_use() {
        let machine = HostMachine::new(RAM, 1);
        let folio = alloc_folio(Gfp::HIGHUSER_MOVABLE, Order::ZERO).unwrap();
        assert_eq!(folio.map_page(0), Some(0));
        caught("while it is mapped", || drop(folio));
        let folio = alloc_folio(Gfp::HIGHUSER_MOVABLE, Order::ZERO).unwrap();
        folio.lock().leak();
        caught("flag", || drop(folio));
        let block = alloc_pages(Gfp::KERNEL, Order::ZERO).unwrap();
        block.page().count().set_type(PageType::Table);
        caught("has a type", || drop(block));
        let folio = alloc_folio(Gfp::HIGHUSER_MOVABLE, order(2)).unwrap();
        assert_eq!(folio.map_page(3), Some(0));
        caught("as it should be", || drop(folio));
        assert_eq!(validate_still(), Ok(()));
        drop(machine);
    }

    #[test]
    fn a_write_to_a_free_page() {
        let machine = HostMachine::new(RAM, 1);
        let block = alloc_pages(Gfp::KERNEL, Order::ZERO).unwrap();
        let page = block.page();
        drop(block);
        page.set_flags(PageFlags::DIRTY);
        assert!(validate_still().is_err());
        caught("not free, but on a free list", || drop(alloc_pages(Gfp::KERNEL, Order::ZERO)));
        drop(machine);
    }
}
