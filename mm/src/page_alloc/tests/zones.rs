//! Several zones: who gets memory from where, what is kept for whom, and that all adds up.

use super::*;
use crate::addr::PhysAddr;
use crate::zone::{Amount, Force, NotIsolated};

const GB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// 64 MiB just below 4 GiB and 64 MiB just above, the upper half of which is movable.
fn three_zones() -> HostMachine {
    let ranges = [(PhysAddr::new(4 * GB - 64 * MIB), 64 * MIB), (PhysAddr::new(4 * GB), 64 * MIB)];
    let options = BootOptions { movablecore: Some(Amount::Bytes(32 * MIB)), ..Default::default() };
    HostMachine::with_ram(&ranges, 2, options)
}

fn zone(id: ZoneId) -> &'static Zone {
    memory().zone(id)
}

fn zone_of(block: &PageBlock) -> ZoneId {
    block.page().zone()
}

fn exhaust(gfp: Gfp, order: Order) -> Vec<PageBlock> {
    std::iter::from_fn(|| alloc_pages(gfp | Gfp::NOWARN, order).ok()).collect()
}

fn zones_of(blocks: &[PageBlock]) -> Vec<ZoneId> {
    let mut zones: Vec<_> = blocks.iter().map(zone_of).collect();
    zones.dedup();
    zones
}

#[test]
fn zones_are_tried_from_the_highest_that_is_allowed() {
    let machine = three_zones();
    let sizes = ZoneId::ALL.map(|id| zone(id).present_pages() / 256);
    assert_eq!(sizes, [64, 32, 32, 0]);
    let user = exhaust(Gfp::HIGHUSER_MOVABLE, Order::ZERO);
    // Down to the low mark in each, highest first; then to the minimum, highest first again.
    let mut first = zones_of(&user);
    first.truncate(3);
    assert_eq!(first, [ZoneId::Movable, ZoneId::Normal, ZoneId::Dma32]);
    drop(user);
    let kernel = exhaust(Gfp::KERNEL, Order::ZERO);
    assert_eq!(zones_of(&kernel)[..2], [ZoneId::Normal, ZoneId::Dma32]);
    assert!(kernel.iter().all(|page| zone_of(page) != ZoneId::Movable));
    drop(kernel);
    let low = exhaust(Gfp::KERNEL | Gfp::DMA32, Order::ZERO);
    assert_eq!(zones_of(&low), [ZoneId::Dma32]);
    assert!(low.iter().all(|page| page.phys() < PhysAddr::new(4 * GB)));
    drop(low);
    // Movable memory of the kernel's own is no user memory.
    let own = alloc_pages(Gfp::KERNEL | Gfp::MOVABLE, Order::ZERO).unwrap();
    assert_eq!((zone_of(&own), own.page().block_type()), (ZoneId::Normal, MigrateType::Movable));
    drop(own);
    drain_pcp();
    assert_eq!(validate_still(), Ok(()));
    drop(machine);
}

#[test]
fn low_memory_is_kept_for_those_who_need_it() {
    let machine = three_zones();
    memory().set_lowmem_reserve_ratio([8, 4, 0, 0]);
    let dma = zone(ZoneId::Dma32);
    // 64 MiB above, one page in eight; for user memory also the movable ones.
    assert_eq!(dma.lowmem_reserve(ZoneId::Normal), zone(ZoneId::Normal).managed_pages() / 8);
    let above = zone(ZoneId::Normal).managed_pages() + zone(ZoneId::Movable).managed_pages();
    assert_eq!(dma.info().protection, [0, zone(ZoneId::Normal).managed_pages() / 8, above / 8, above / 8]);
    assert_eq!(
        zone(ZoneId::Normal).lowmem_reserve(ZoneId::Movable),
        zone(ZoneId::Movable).managed_pages() / 4
    );
    let user = exhaust(Gfp::HIGHUSER_MOVABLE, Order::ZERO);
    drain_pcp();
    assert_eq!(dma.free_pages(), dma.watermark(Watermark::Min) + above / 8);
    let kernel = exhaust(Gfp::KERNEL, Order::ZERO);
    drain_pcp();
    assert_eq!(dma.free_pages(), dma.watermark(Watermark::Min) + dma.lowmem_reserve(ZoneId::Normal));
    let low = exhaust(Gfp::KERNEL | Gfp::DMA32, Order::ZERO);
    drain_pcp();
    assert_eq!(dma.free_pages(), dma.watermark(Watermark::Min));
    drop((user, kernel, low));
    memory().set_lowmem_reserve_ratio([0; 4]);
    assert_eq!(dma.info().protection, [0; 4]);
    drop(machine);
}

#[test]
fn settings_work_at_once_and_keep_to_their_range() {
    let machine = three_zones();
    let dma = zone(ZoneId::Dma32);
    let before = dma.info();
    assert_eq!((before.low - before.min, before.high - before.low), (before.min / 4, before.min / 4));
    memory().set_watermark_scale_factor(3000).unwrap();
    assert_eq!(dma.watermark(Watermark::Low), before.min + dma.managed_pages() * 3 / 10);
    assert_eq!(dma.watermark(Watermark::Promo), before.min + 3 * (dma.managed_pages() * 3 / 10));
    assert!(
        memory().set_watermark_scale_factor(0).is_err() && memory().set_watermark_scale_factor(3001).is_err()
    );
    memory().set_watermark_scale_factor(10).unwrap();
    // Of what is not movable each zone has its share.
    memory().set_min_free_kbytes(9600).unwrap();
    let min = |id| zone(id).watermark(Watermark::Min);
    let sum = min(ZoneId::Dma32) + min(ZoneId::Normal);
    assert!((2399..=2400).contains(&sum), "{sum}");
    assert_eq!(min(ZoneId::Movable), 32);
    assert!(memory().set_min_free_kbytes(1 << 31).is_err());
    assert!(memory().set_percpu_pagelist_high_fraction(7).is_err());
    memory().set_percpu_pagelist_high_fraction(8).unwrap();
    let info = memory().pcp_info(ZoneId::Dma32, 0);
    assert_eq!((info.high_min, info.high_max), (dma.managed_pages() / 8 / 2, dma.managed_pages() / 8 / 2));
    memory().set_percpu_pagelist_high_fraction(0).unwrap();
    let info = memory().pcp_info(ZoneId::Dma32, 0);
    assert_eq!(info.high_max, dma.managed_pages() / 8 / 2);
    assert_eq!(memory().lowmem_reserve_ratio(), [256, 32, 0, 0]);
    let reserve: u64 = ZoneId::ALL
        .iter()
        .map(|&id| zone(id).info())
        .map(|info| (info.high + info.protection.iter().max().unwrap()).min(info.managed))
        .sum();
    assert_eq!(memory().total_reserve_pages(), reserve);
    drop(machine);
}

#[test]
fn what_cannot_wait_has_blocks_of_its_own() {
    // A hundredth is one block.
    let machine = HostMachine::new(256 << 20, 1);
    let dma = normal();
    // No block of two pages is left that is not kept.
    let held = exhaust(Gfp::HIGHUSER_MOVABLE, Order::ZERO);
    let blocks = |kind| dma.blocks_by_type()[kind as usize];
    assert_eq!(blocks(MigrateType::HighAtomic), 0);
    let urgent = alloc_pages(Gfp::ATOMIC, order(2)).unwrap();
    assert_eq!((blocks(MigrateType::HighAtomic), dma.info().highatomic), (1, 512));
    assert_eq!(urgent.page().block_type(), MigrateType::HighAtomic);
    drop(held);
    drain_pcp();
    let whole = dma.blocks_by_type();
    assert_eq!(whole.iter().sum::<u64>(), 128);
    // Nobody else gets of it, until the last moment.
    let held = exhaust(Gfp::HIGHUSER_MOVABLE & !Gfp::DIRECT_RECLAIM | Gfp::NOMEMALLOC, Order::ZERO);
    assert!(held.iter().all(|page| page.page().block_type() != MigrateType::HighAtomic));
    assert!(dma.free_blocks_of(MigrateType::HighAtomic).iter().sum::<u64>() > 0);
    let more = exhaust(Gfp::ATOMIC, order(3));
    assert!(more.iter().any(|block| block.page().block_type() == MigrateType::HighAtomic));
    drop(more);
    let last = exhaust(Gfp::HIGHUSER_MOVABLE, Order::ZERO);
    assert_eq!((blocks(MigrateType::HighAtomic), dma.info().highatomic), (0, 0));
    drop((held, last, urgent));
    drain_pcp();
    assert_eq!(validate_still(), Ok(()));
    assert!(!dma.unreserve_highatomic(MigrateType::Movable, Force::Yes));
    drop(machine);
}

#[test]
fn an_isolated_block_is_out_of_circulation() {
    let mut machine = HostMachine::new(RAM, 1);
    machine.drain_still();
    let free = normal().free_pages();
    let page = alloc_folio(Gfp::HIGHUSER_MOVABLE, Order::ZERO).unwrap();
    let pfn = page.pfn();
    // Somebody who cannot be moved, as far as one can tell.
    assert_eq!(isolate_block(pfn), Err(NotIsolated::Unmovable));
    page.set_flags(PageFlags::SWAPBACKED);
    assert_eq!(page.map_page(0), Some(0));
    assert_eq!(isolate_block(pfn), Ok(MigrateType::Movable));
    assert_eq!(isolate_block(pfn), Err(NotIsolated::Already));
    assert_eq!(normal().isolated_blocks(), 1);
    let start = pfn.get() & !511;
    let inside = |page: &PageBlock| (start..start + 512).contains(&page.pfn().get());
    let rest = exhaust(Gfp::HIGHUSER_MOVABLE | Gfp::MEMALLOC, Order::ZERO);
    assert!(!rest.iter().any(inside));
    assert_eq!(normal().free_pages(), 0);
    drop(rest);
    // What is freed stays there, at once.
    assert_eq!(page.unmap_page(0), 0);
    drop(page);
    let blocks = normal().free_blocks_of(MigrateType::Isolate);
    assert_eq!((blocks[9], blocks.iter().sum::<u64>()), (1, 1));
    drain_pcp();
    assert_eq!(normal().free_pages(), free - 512);
    assert_eq!(validate_still(), Ok(()));
    assert!(undo_isolate(pfn, MigrateType::Movable) && !undo_isolate(pfn, MigrateType::Movable));
    assert_eq!((normal().free_pages(), normal().isolated_blocks()), (free, 0));
    assert_eq!(validate_still(), Ok(()));
    assert_eq!(isolate_block(Pfn::new(7)), Err(NotIsolated::Absent));
    // A block of the largest order is halved for it, and joined again.
    let before = normal().free_blocks();
    let whole = normal().span().1;
    let last = Pfn::new(whole.get() - 1);
    assert!(isolate_block(last).is_ok());
    assert_eq!(validate_still(), Ok(()));
    assert!(undo_isolate(last, MigrateType::Movable));
    assert_eq!(normal().free_blocks(), before);
    drop(machine);
}

#[test]
fn a_device_is_told_when_its_page_is_nobodys() {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    static TOLD: AtomicU64 = AtomicU64::new(0);

    let section = crate::page::SECTION_SIZE;
    let start = (RAM_BASE + 2 * section).pfn();
    let end = start + crate::page::PAGES_PER_SECTION;
    let options = BootOptions { device: Some((start, end)), ..Default::default() };
    let machine = HostMachine::with_ram(&[(RAM_BASE, 16 * MIB)], 1, options);
    let info = zone(ZoneId::Device).info();
    assert_eq!((info.spanned, info.present, info.managed, info.free), (32768, 32768, 0, 0));
    assert_eq!(total_pages(), 4096);
    device::register_device(|pfn| TOLD.store(pfn.get(), SeqCst));
    let page = device::take_device_page(start + 5).unwrap();
    assert_eq!(page.head().zone(), ZoneId::Device);
    assert!(device::take_device_page(start + 5).is_err(), "twice");
    assert!(device::take_device_page(RAM_BASE.pfn() + 9).is_err(), "RAM");
    let other = FolioRef::try_get(start + 5).unwrap();
    drop(page);
    assert_eq!(TOLD.load(SeqCst), 0);
    drop(other);
    assert_eq!(TOLD.load(SeqCst), (start + 5).get());
    assert!(FolioRef::try_get(start + 5).is_none());
    assert!(device::take_device_page(start + 5).is_ok());
    // Nobody is given any of it.
    let all = exhaust(Gfp::HIGHUSER_MOVABLE | Gfp::MEMALLOC, Order::ZERO);
    assert!(all.iter().all(|page| zone_of(page) == ZoneId::Dma32));
    assert_eq!(isolate_block(start), Err(NotIsolated::Absent));
    drop(all);
    assert_eq!(validate_still(), Ok(()));
    drop(machine);
}

/// What an allocation may ask for, and the highest zone that it may come from.
const ASKS: [(Gfp, ZoneId); 6] = [
    (Gfp::HIGHUSER_MOVABLE, ZoneId::Movable),
    (Gfp::KERNEL, ZoneId::Normal),
    (Gfp::KERNEL.union(Gfp::RECLAIMABLE), ZoneId::Normal),
    (Gfp::KERNEL.union(Gfp::DMA32), ZoneId::Dma32),
    (Gfp::ATOMIC, ZoneId::Normal),
    (Gfp::KERNEL.union(Gfp::MOVABLE), ZoneId::Normal),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES / 2, failure_persistence: None, ..Default::default() })]

    #[test]
    fn zones_blocks_and_lists_add_up(
        steps in prop::collection::vec((0..10u8, 0..ASKS.len(), 0..11usize, any::<prop::sample::Index>()), 1..STEPS)
    ) {
        let machine = three_zones();
        let (free, total) = (free_pages_count(), total_pages());
        let mut held: Vec<PageBlock> = Vec::new();
        let mut isolated: Vec<(Pfn, MigrateType)> = Vec::new();
        for (what, ask, size, at) in steps {
            match what {
                0..5 => {
                    let size = if what < 3 { size % 4 } else { size };
                    // Something large, so that memory runs short.
                    let count = if what == 4 { 40 } else { 1 };
                    for _ in 0..count {
                        let Ok(block) = alloc_pages(ASKS[ask].0 | Gfp::NOWARN, order(size)) else { break };
                        prop_assert!(zone_of(&block) <= ASKS[ask].1);
                        prop_assert!(!isolated.iter().any(|one| one.0.get() / 512 == block.pfn().get() / 512));
                        held.push(block);
                    }
                }
                5..7 => {
                    if !held.is_empty() {
                        let keep = at.index(held.len());
                        held.truncate(keep);
                    }
                }
                7 => {
                    if !held.is_empty() {
                        drop(held.swap_remove(at.index(held.len())));
                    }
                }
                8 => {
                    let (start, end) = zone(ZoneId::ALL[ask % 3]).span();
                    let pfn = start + at.index((end - start) as usize) as u64;
                    if let Ok(was) = isolate_block(pfn) {
                        isolated.push((pfn, was));
                    }
                }
                _ => {
                    if let Some((pfn, was)) = isolated.pop() {
                        prop_assert!(undo_isolate(pfn, was));
                    }
                }
            }
            if what == 9 {
                prop_assert_eq!(validate_still(), Ok(()));
            }
        }
        prop_assert_eq!(validate_still(), Ok(()));
        drop(held);
        for (pfn, was) in isolated {
            prop_assert!(undo_isolate(pfn, was));
        }
        drain_pcp();
        prop_assert_eq!(free_pages_count(), free);
        prop_assert_eq!(total_pages(), total);
        prop_assert_eq!(validate_still(), Ok(()));
        // Each zone's memory is whole again but where boot took some.
        let whole = zone(ZoneId::Movable).free_blocks();
        prop_assert_eq!(whole[10] * 1024, zone(ZoneId::Movable).managed_pages());
        drop(machine);
    }
}
