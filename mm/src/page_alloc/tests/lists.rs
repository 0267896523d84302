//! Harts' lists: how they follow what a hart does, and who drains them.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::*;
use crate::page::PAGES_PER_SECTION;
use crate::stat::{self, Item};

fn info() -> crate::pcp::PcpInfo {
    memory().pcp_info(ZoneId::Dma32, 0)
}

fn page() -> PageBlock {
    alloc_pages(Gfp::KERNEL, Order::ZERO).unwrap()
}

#[test]
fn a_hart_that_frees_much_keeps_more_and_then_less() {
    let machine = HostMachine::new(256 * MB, 1);
    let start = info();
    assert_eq!((start.batch, start.high_max), (15, 65536 / 8));
    assert!(start.high >= start.high_min && start.high < 1000);
    assert!(start.high_min < 1000, "{start:?}");
    let pages: Vec<_> = (0..20_000).map(|_| page()).collect();
    let grown = info();
    assert!(grown.high > start.high && grown.high <= grown.high_max);
    drop(pages);
    let kept = info();
    assert!(kept.count >= kept.high / 2 && kept.count <= kept.high + 8 * 15 * 4, "{kept:?}");
    for _ in 0..100 {
        tick();
    }
    let idle = info();
    assert_eq!(idle.high, idle.high_min);
    assert!(idle.count <= idle.high_min, "{idle:?}");
    drain_pcp();
    assert_eq!(info().count, 0);
    assert_eq!(validate_still(), Ok(()));
    drop(machine);
}

#[test]
fn a_hart_keeps_little_when_memory_is_short() {
    let machine = HostMachine::new(256 * MB, 1);
    let mut held = Vec::new();
    while normal().free_pages() > normal().watermark(Watermark::Low) {
        held.push(page());
    }
    let (before, free) = (info(), normal().free_pages());
    // The first of them fill the least that a hart keeps.
    held.drain(..1500).for_each(drop);
    assert!(info().high < before.high && info().count < before.high, "{before:?} {:?}", info());
    assert!(normal().free_pages() > free && normal().free_pages() >= normal().watermark(Watermark::High));
    drop(held);
    drop(machine);
}

#[test]
fn huge_pages_and_small_blocks_have_lists_too() {
    let machine = HostMachine::new(256 * MB, 1);
    for size in [1, 2, 3, 9] {
        drain_pcp();
        let first = alloc_pages(Gfp::KERNEL, order(size)).unwrap();
        let pfn = first.pfn();
        let before = normal().free_pages();
        drop(first);
        assert_eq!(normal().free_pages(), before, "order {size} went to the zone");
        assert!(info().count >= 1 << size);
        assert_eq!(
            alloc_pages(Gfp::KERNEL, order(size)).unwrap().pfn(),
            pfn,
            "order {size}: last in, first out"
        );
    }
    drain_pcp();
    // Others do not stay.
    let before = info().count;
    drop(alloc_pages(Gfp::KERNEL, order(4)).unwrap());
    assert_eq!(info().count, before);
    drop(machine);
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let machine = HostMachine::new(256 * MB, 1);
    let pages: Vec<_> = (0..20_000).map(|_| page()).collect();
    drain_pcp();
    let order: Vec<_> = pages.iter().map(PageBlock::pfn).collect();
    pages.into_iter().for_each(drop);
    let kept: BTreeSet<_> =
        this_hart().pcp.blocks().flat_map(|(_, _, blocks)| blocks.map(|page| page.pfn())).collect();
    let (early, late) = order.split_at(order.len() - kept.len() / 2);
    assert!(late.iter().all(|pfn| kept.contains(pfn)), "the last ones are not kept");
    assert!(early.iter().take(1000).all(|pfn| !kept.contains(pfn)), "the first ones are");
    drop(machine);
}

#[test]
fn events_count_pages() {
    let machine = HostMachine::new(RAM, 1);
    let (alloc, free) = (stat::read(Item::PgAllocDma32), stat::read(Item::PgFree));
    let blocks: Vec<_> = [0, 0, 1, 3, 5, 9].map(|size| alloc_pages(Gfp::KERNEL, order(size)).unwrap()).into();
    let pages = 1 + 1 + 2 + 8 + 32 + 512;
    assert_eq!(stat::read(Item::PgAllocDma32) - alloc, pages);
    drop(blocks);
    drain_pcp();
    assert_eq!(stat::read(Item::PgFree) - free, pages);
    drop(machine);
}

#[test]
fn many_pages_at_once() {
    let machine = HostMachine::new(RAM, 1);
    let free = free_pages_count();
    let mut pages = Vec::new();
    assert_eq!(alloc_pages_bulk(Gfp::KERNEL | Gfp::ZERO, 1000, |page| pages.push(page)), 1000);
    assert_eq!(pages.iter().map(PageBlock::pfn).collect::<BTreeSet<_>>().len(), 1000);
    // SAFETY: the pages are ours.
    assert!(pages.iter().all(|page| unsafe { *page.as_ptr().cast::<[u8; 4096]>() } == [0; 4096]));
    assert_eq!(free_pages_count(), free - 1000);
    // Never below the low mark, but for one.
    let got = alloc_pages_bulk(Gfp::KERNEL, 1 << 20, |page| pages.push(page));
    drain_pcp();
    assert!(got > 1000 && normal().free_pages() + 1 >= normal().watermark(Watermark::Low), "{got}");
    assert_eq!(alloc_pages_bulk(Gfp::KERNEL, 5, |page| pages.push(page)), 1);
    assert_eq!(alloc_pages_bulk(Gfp::KERNEL, 0, |_| panic!("none was asked for")), 0);
    drop(pages);
    assert_eq!(free_pages_count(), free);
    drop(machine);
}

#[test]
fn a_hart_that_goes_leaves_nothing_behind() {
    let machine = HostMachine::new(64 * MB, 3);
    drain_pcp();
    let free = normal().free_pages();
    machine.enter(1);
    drop(page());
    assert!(normal().free_pages() < free);
    hart_leaves();
    machine.enter(0);
    drain_all();
    assert_eq!(normal().free_pages(), free);
    // One that died with its pages is drained in its place.
    machine.enter(2);
    drop(page());
    this_hart().seat.leave();
    machine.enter(0);
    assert!(normal().free_pages() < free);
    drain_all();
    assert_eq!(normal().free_pages(), free);
    // One that is there does so itself, the next time that it looks.
    machine.enter(2);
    drop(page());
    machine.enter(0);
    drain_all();
    assert!(normal().free_pages() < free);
    machine.enter(2);
    serve_drain();
    assert_eq!(normal().free_pages(), free);
    machine.enter(0);
    assert_eq!(validate_still(), Ok(()));
    drop(machine);
}

#[test]
fn sixty_four_harts_come_and_go_while_one_drains() {
    let (harts, rounds) = (64, 1500);
    let mut machine = HostMachine::new(512 * MB, harts);
    machine.drain_still();
    let free = normal().free_pages();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..harts)
            .map(|hart| {
                let machine = &machine;
                scope.spawn(move || {
                    machine.enter(hart);
                    let mut held = Vec::new();
                    for round in 0..rounds {
                        let size = [0, 0, 0, 1, 2, 3, 9, 4][(round * 7 + hart) % 8];
                        held.extend(alloc_pages(Gfp::NOWAIT, order(size)).ok());
                        held.extend(
                            alloc_pages(Gfp::HIGHUSER_MOVABLE & !Gfp::DIRECT_RECLAIM, Order::ZERO).ok(),
                        );
                        if held.len() > 30 + hart {
                            held.drain(..20 + hart).for_each(drop);
                        }
                        if round % 97 == hart {
                            hart_leaves();
                            std::thread::yield_now();
                            hart_arrives();
                        }
                    }
                    held.clear();
                    // Some give theirs back, some do not.
                    if hart % 2 == 0 { hart_leaves() } else { this_hart().seat.leave() }
                })
            })
            .collect();
        let (machine, done) = (&machine, &done);
        let drainer = scope.spawn(move || {
            machine.enter(0);
            while !done.load(SeqCst) {
                drain_all();
                assert_eq!(validate(), Ok(()));
                std::thread::yield_now();
            }
            drain_all();
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        done.store(true, SeqCst);
        drainer.join().unwrap();
    });
    machine.enter(0);
    drain_all();
    assert_eq!(normal().free_pages(), free);
    assert_eq!(validate_still(), Ok(()));
}

/// A terabyte: only what is written of it, and of its descriptors, is there on the host.
#[test]
fn a_terabyte() {
    let bytes = crate::page::MAX_MEMORY - RAM_BASE.get();
    let ranges = [(RAM_BASE, bytes)];
    let machine = HostMachine::with_ram(&ranges, 64, BootOptions::default());
    let pages = bytes / PAGE_SIZE as u64;
    assert_eq!(total_pages(), pages);
    assert_eq!(memory().zone(ZoneId::Dma32).present_pages(), (2 << 30) / 4096);
    assert_eq!(memory().zone(ZoneId::Normal).present_pages(), pages - (2 << 30) / 4096);
    assert_eq!(memory().min_free_kbytes(), (pages * 4 * 16).isqrt());
    let free = free_pages_count();
    let mut held: Vec<_> = (0..1000).map(|_| alloc_pages(Gfp::KERNEL, order(10)).unwrap()).collect();
    held.extend((0..10_000).map(|_| page()));
    assert!(held.iter().all(|block| block.page().zone() == ZoneId::Normal));
    assert_eq!(free_pages_count(), free - 1000 * 1024 - 10_000);
    drop(held);
    assert_eq!(free_pages_count(), free);
    drain_pcp();
    assert_eq!(memory().zones.iter().map(Zone::free_pages).sum::<u64>(), free);
    // The last section's pages are there too.
    let last = Pfn::new((RAM_BASE + bytes).pfn().get() - PAGES_PER_SECTION);
    assert!(isolate_block(last).is_ok() && undo_isolate(last, MigrateType::Movable));
    drop(machine);
}
