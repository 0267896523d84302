//! What an allocation may do when memory is short, by its `Gfp` and the thread's scope.

use std::cell::{Cell, RefCell};

use super::*;

thread_local! {
    static ASKED: RefCell<Vec<Gfp>> = const { RefCell::new(Vec::new()) };
    static WOKEN: Cell<usize> = const { Cell::new(0) };
    /// How many pages a reclaim still frees.
    static FREES: RefCell<Vec<PageBlock>> = const { RefCell::new(Vec::new()) };
}

/// A machine without memory for whoever may not use the reserve; what took it.
fn short() -> (HostMachine, Vec<PageBlock>) {
    let machine = HostMachine::new(RAM, 1);
    let held = std::iter::from_fn(|| alloc_pages(Gfp::NOWAIT, Order::ZERO).ok()).collect();
    ASKED.take();
    FREES.take();
    register_reclaim(|gfp, _| {
        assert!(Hw::scope().contains(Scope::MEMALLOC), "who reclaims may use the reserve");
        ASKED.with_borrow_mut(|asked| asked.push(gfp));
        FREES.with_borrow_mut(|frees| frees.pop().map_or(0, |_| 1))
    });
    (machine, held)
}

fn tries(gfp: Gfp, order: Order) -> usize {
    ASKED.take();
    assert!(alloc_pages(gfp | Gfp::NOWARN, order).is_err());
    ASKED.with_borrow(Vec::len)
}

#[test]
fn who_may_sleep_reclaims_as_often_as_it_may() {
    let (machine, mut held) = short();
    assert_eq!(tries(Gfp::KERNEL, Order::ZERO), 1);
    assert_eq!(tries(Gfp::NOWAIT, Order::ZERO), 0);
    assert_eq!(tries(Gfp::KERNEL | Gfp::MEMALLOC | Gfp::NOMEMALLOC, Order::ZERO), 0);
    // As long as something is freed: five pages, which do not make a large block.
    let mut give = || {
        let scattered: Vec<_> = (0..5).map(|index| held.swap_remove(index * 7)).collect();
        FREES.set(scattered);
    };
    give();
    assert_eq!(tries(Gfp::KERNEL, order(3)), 6);
    give();
    assert_eq!(tries(Gfp::KERNEL | Gfp::NORETRY, order(3)), 1);
    give();
    assert_eq!(tries(Gfp::KERNEL, order(5)), 1, "costly");
    give();
    assert_eq!(tries(Gfp::KERNEL | Gfp::RETRY_MAYFAIL, order(5)), 6);
    FREES.take();
    drop(held);
    drop(machine);
}

#[test]
fn the_scope_reaches_reclaim() {
    let (machine, held) = short();
    for (scope, left) in [(Scope::NOIO, Gfp::NOIO), (Scope::NOFS, Gfp::NOFS), (Scope::default(), Gfp::KERNEL)]
    {
        let old = Hw::thread().enter_scope(scope);
        assert_eq!(tries(Gfp::KERNEL, Order::ZERO), 1);
        Hw::thread().set_scope(old);
        assert_eq!(ASKED.with_borrow(|asked| asked[0]), left | Gfp::NOWARN);
    }
    drop(held);
    drop(machine);
}

#[test]
fn kswapd_is_told_below_the_low_mark() {
    let machine = HostMachine::new(RAM, 1);
    WOKEN.set(0);
    register_kswapd(|zone, _| {
        assert_eq!(zone, ZoneId::Normal);
        WOKEN.set(WOKEN.get() + 1);
    });
    let mut held = Vec::new();
    while normal().free_pages() > normal().watermark(Watermark::Low) + 8 {
        held.push(alloc_pages(Gfp::KERNEL, Order::ZERO).unwrap());
    }
    assert_eq!(WOKEN.get(), 0);
    while WOKEN.get() == 0 {
        held.push(alloc_pages(Gfp::KERNEL, Order::ZERO).unwrap());
    }
    assert!(normal().free_pages() >= normal().watermark(Watermark::Min));
    let told = WOKEN.get();
    while alloc_pages(Gfp::HIGH | Gfp::NOWARN, Order::ZERO).map(|page| held.push(page)).is_ok() {}
    assert_eq!(WOKEN.get(), told, "who does not want kswapd does not wake it");
    drop(held);
    drop(machine);
}

#[test]
fn who_may_not_fail_gets_some_of_the_reserve() {
    let (machine, mut held) = short();
    let min = normal().watermark(Watermark::Min);
    assert_eq!(normal().free_pages(), min);
    let page = alloc_pages(Gfp::KERNEL | Gfp::NOFAIL, Order::ZERO).unwrap();
    assert!(normal().free_pages() < min);
    // When that is gone too it waits until somebody frees a page: here, reclaim.
    while let Ok(page) = alloc_pages(Gfp::ATOMIC | Gfp::NOWARN, Order::ZERO) {
        held.push(page);
    }
    let freed = held.split_off(held.len() - 40);
    FREES.set(freed);
    let other = alloc_pages(Gfp::KERNEL | Gfp::NOFAIL, Order::ZERO).unwrap();
    FREES.take();
    drop((page, other, held));
    drop(machine);
}

/// A block is claimed as a whole if half of it is free, and not otherwise.
#[test]
fn what_cannot_move_claims_blocks_that_are_half_free() {
    for (kept, claimed) in [(100, true), (500, false)] {
        let machine = HostMachine::new(RAM, 1);
        // All blocks movable, and then some pages of each free; none of the free ones beside another.
        let gfp = Gfp::NOWAIT | Gfp::HIGHMEM | Gfp::MOVABLE;
        let (pages, gone): (Vec<_>, Vec<_>) = std::iter::from_fn(|| alloc_folio(gfp, Order::ZERO).ok())
            .partition(|page| {
                let at = page.pfn().get() % 512;
                if kept == 100 { at < kept } else { !at.is_multiple_of(16) }
            });
        // As user memory looks.
        pages.iter().for_each(|page| assert_eq!(page.map_page(0), Some(0)));
        drop(gone);
        drain_pcp();
        let blocks = |kind| normal().blocks_by_type()[kind as usize];
        let before = blocks(MigrateType::Unmovable);
        // What is left of the blocks that are its own goes first.
        let fixed: Vec<_> = std::iter::from_fn(|| alloc_pages(Gfp::KERNEL, Order::ZERO).ok())
            .take_while(|page| {
                page.page().block_type() == MigrateType::Unmovable && blocks(MigrateType::Unmovable) == before
            })
            .collect();
        let after = blocks(MigrateType::Unmovable);
        assert_eq!(after > before, claimed, "{before} {after}, after {} pages", fixed.len());
        drain_pcp();
        assert_eq!(validate_still(), Ok(()));
        pages.iter().for_each(|page| assert_eq!(page.unmap_page(0), 0));
        drop((pages, fixed));
        drop(machine);
    }
}

/// Of the reserve each takes what it needs: what a hart keeps, anybody may have.
#[test]
fn the_reserve_is_not_for_harts_lists() {
    let (machine, mut held) = short();
    drain_pcp();
    for gfp in [Gfp::ATOMIC, Gfp::KERNEL | Gfp::MEMALLOC] {
        let before = normal().free_pages();
        assert!(before <= normal().watermark(Watermark::Min));
        held.push(alloc_pages(gfp, Order::ZERO).unwrap());
        assert_eq!(normal().free_pages(), before - 1, "{gfp:?}");
    }
    drop(held);
    drop(machine);
}
