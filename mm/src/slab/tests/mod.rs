//! Tests of the room as a whole, on machines of their own.

mod model;
mod owners;
mod scarce;
mod short;
mod shrink;
mod wiping;

use std::collections::BTreeMap;
use std::sync::{Barrier, mpsc};

use super::*;
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::page_alloc::{drain_pcp, free_pages_count};
use crate::stat::{self, Item};
use core::alloc::Layout;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

const MIB: usize = 1 << 20;

/// How often a loop runs: less where every step is interpreted.
fn rounds(natively: usize) -> usize {
    if cfg!(miri) { natively / 300 + 1 } else { natively }
}

/// xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Gives back all that the slab allocator keeps on `harts` harts; says how many pages are free then.
fn free_after_drain(machine: &HostMachine) -> u64 {
    for hart in 0..machine.harts() {
        machine.enter(hart);
        drain();
    }
    for hart in 0..machine.harts() {
        machine.enter(hart);
        drain();
        drain_pcp();
    }
    machine.enter(0);
    free_pages_count()
}

/// Memory that somebody wrote his sign all over.
struct Block {
    at: NonNull<u8>,
    bytes: usize,
    sign: u8,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for Block {}

impl Block {
    fn new(bytes: usize, sign: u8) -> Self {
        let at = kmalloc(Layout::from_size_align(bytes, 8).unwrap(), Gfp::KERNEL).unwrap();
        // SAFETY: just allocated.
        unsafe { at.write_bytes(sign, bytes) };
        Self { at, bytes, sign }
    }

    fn check(&self) {
        // SAFETY: owned, and written when new.
        let bytes = unsafe { core::slice::from_raw_parts(self.at.as_ptr(), self.bytes) };
        assert!(bytes.iter().all(|byte| *byte == self.sign));
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.check();
        // SAFETY: owned, and gone after this.
        unsafe { kfree(self.at) };
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn sized_allocations_follow_the_model() {
    let machine = HostMachine::new(32 * MIB, 1);
    let before = free_after_drain(&machine);
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut live: BTreeMap<usize, Block> = BTreeMap::new();
    for step in 0..rounds(30_000) {
        if random.below(5) < 3 && live.len() < 3000 {
            let most = [64, 300, 9000, 20_000][random.below(4)];
            let block = Block::new(1 + random.below(most), step as u8);
            let (start, end) = (block.at.addr().get(), block.at.addr().get() + block.bytes);
            assert!(start.is_multiple_of(8));
            let below = live.range(..end).next_back();
            assert!(below.is_none_or(|(at, other)| at + other.bytes <= start), "two owners of one byte");
            live.insert(start, block);
        } else if let Some(at) = live.range(random.below(usize::MAX)..).next().or(live.iter().next()) {
            let at = *at.0;
            live.remove(&at);
        }
        if step % 5000 == 0 {
            validate();
        }
    }
    validate();
    live.clear();
    validate();
    for_each_cache(|cache| assert_eq!(cache.active_objects, 0, "{}", cache.name));
    assert_eq!(free_after_drain(&machine), before);
    assert_eq!(stat::read(Item::SlabUnreclaimable), 0);
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn a_typed_cache_counts_its_objects() {
    #[derive(Debug)]
    struct Thing {
        _words: [u64; 11],
    }
    static THINGS: Cache<Thing> = Cache::new("thing").reclaimable();
    // Two machines: the cache of one knows nothing of the other's.
    for _ in 0..2 {
        let _machine = HostMachine::new(8 * MIB, 1);
        let count = rounds(3000);
        let things: Vec<_> = (0..count)
            .map(|n| THINGS.alloc(Thing { _words: [n as u64; 11] }, Gfp::KERNEL).unwrap())
            .collect();
        let mut seen = 0;
        for_each_cache(|cache| {
            if cache.name == "thing" {
                assert_eq!((cache.active_objects, cache.object_size), (count, 88));
                assert!(cache.reclaimable && cache.objects >= count);
                seen += 1;
            }
        });
        assert_eq!(seen, 1);
        assert!(stat::read(Item::SlabReclaimable) > 0);
        validate();
        drop(things);
        validate();
        drain();
        assert_eq!(stat::read(Item::SlabReclaimable), 0);
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn harts_free_each_others_objects() {
    const HARTS: usize = 4;
    static NODES: Cache<[usize; 6]> = Cache::new("node");
    let machine = HostMachine::new(32 * MIB, HARTS);
    let before = free_after_drain(&machine);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..HARTS).map(|_| mpsc::channel()).unzip();
    let start = Barrier::new(HARTS);
    std::thread::scope(|scope| {
        for (hart, receiver) in receivers.into_iter().enumerate() {
            let (machine, senders, start) = (&machine, senders.clone(), &start);
            scope.spawn(move || {
                machine.enter(hart);
                start.wait();
                let mut random = Random(hart as u64 * 77 + 1);
                let mut kept = Vec::new();
                for step in 0..rounds(20_000) {
                    let block = Block::new(1 + random.below(600), step as u8);
                    let node = NODES.alloc([step; 6], Gfp::KERNEL).unwrap();
                    match random.below(4) {
                        0 => kept.push((block, node)),
                        // Which ends may be closed already: the pair is dropped here then.
                        _ => drop(senders[random.below(HARTS)].send((block, node))),
                    }
                    if random.below(50) == 0 {
                        kept.clear();
                    }
                    while let Ok((block, node)) = receiver.try_recv() {
                        block.check();
                        assert!(node.iter().all(|n| *n == node[0]));
                    }
                }
                drop(senders);
                receiver.iter().for_each(drop);
            });
        }
        drop(senders);
    });
    machine.enter(0);
    validate();
    for_each_cache(|cache| {
        // The cache itself is an object, too.
        let own = (cache.name == "kmalloc-128" || cache.name == "kmalloc-192") as usize;
        assert!(cache.active_objects <= own, "{cache:?}");
    });
    let after = free_after_drain(&machine);
    validate();
    assert!(before - after <= 1, "{before} pages free before, {after} after");
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn no_memory_is_an_error_and_passes() {
    let machine = HostMachine::new(4 * MIB, 1);
    let before = free_after_drain(&machine);
    let mut blocks = Vec::new();
    while let Ok(at) = KBox::<[u8; 1000]>::new_uninit(Gfp::KERNEL | Gfp::NOWARN) {
        blocks.push(at);
    }
    assert!(blocks.len() > 1000);
    assert!(KBox::<[u8]>::zeroed(100_000, Gfp::KERNEL | Gfp::NOWARN).is_err());
    validate();
    blocks.clear();
    assert!(KBox::<[u8]>::zeroed(100_000, Gfp::KERNEL).is_ok());
    assert_eq!(free_after_drain(&machine), before);
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn memory_asked_to_be_zero_is() {
    let _machine = HostMachine::new(8 * MIB, 1);
    for bytes in [1, 8, 100, 4096, 8192, 8193, 20_000] {
        drop(Block::new(bytes, 0xff));
        assert!(KBox::<[u8]>::zeroed(bytes, Gfp::KERNEL).unwrap().iter().all(|byte| *byte == 0));
    }
    assert!(KBox::<[u8]>::zeroed(0, Gfp::KERNEL).unwrap().is_empty());
}

#[test]
#[cfg_attr(any(not(debug_assertions), miri), ignore = "checked in debug builds, and not by Miri")]
#[should_panic(expected = "double free")]
fn a_double_free_is_caught_in_the_slab() {
    let machine = HostMachine::new(8 * MIB, 2);
    let block = ManuallyDrop::new(Block::new(64, 1));
    // One beside it keeps the slab from going.
    let _beside = ManuallyDrop::new(Block::new(64, 1));
    // SAFETY: allocated above.
    unsafe { kfree(block.at) };
    drain();
    machine.enter(1);
    // SAFETY: none: that is what is tested. The memory is not used again, as the check comes first.
    unsafe { kfree(block.at) };
}

#[test]
#[cfg_attr(any(not(debug_assertions), miri), ignore = "checked in debug builds, and not by Miri")]
#[should_panic(expected = "double free")]
fn a_double_free_by_two_harts_is_caught() {
    let machine = HostMachine::new(8 * MIB, 2);
    let block = ManuallyDrop::new(Block::new(64, 1));
    // SAFETY: allocated above.
    unsafe { kfree(block.at) };
    machine.enter(1);
    // SAFETY: none: that is what is tested. The memory is not used again, as the check comes first.
    unsafe { kfree(block.at) };
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "checked in debug builds")]
#[should_panic(expected = "double free")]
fn a_double_free_is_caught() {
    let _machine = HostMachine::new(8 * MIB, 1);
    let block = ManuallyDrop::new(Block::new(100, 1));
    // SAFETY: allocated above.
    unsafe { kfree(block.at) };
    // SAFETY: none: that is what is tested. The memory is not used again, as the check comes first.
    unsafe { kfree(block.at) };
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn a_line_of_slabinfo_is_linux_s() {
    static ROWS: Cache<[u64; 5]> = Cache::new("rows");
    let _machine = HostMachine::new(8 * MIB, 1);
    let rows: Vec<_> = (0..100).map(|n| ROWS.alloc([n; 5], Gfp::KERNEL).unwrap()).collect();
    let mut lines = Vec::new();
    for_each_cache(|cache| {
        if cache.name == "rows" {
            let hart = cache.harts().next().unwrap();
            assert!(hart.refills >= 100 / 30 && hart.flushes == 0 && hart.kept < 30, "{hart:?}");
        }
        lines.push(cache.to_string());
    });
    assert_eq!(
        lines[0],
        "rows                 100    102     40  102    1 : tunables    0    0    0 : slabdata      1      1      0"
    );
    let last = lines.last().unwrap();
    assert!(last.starts_with("kmalloc-8              0      0      8  512    1 : tunables    0"), "{last}");
    assert_eq!(SLABINFO_HEADER.lines().count(), 2);
    drop(rows);
    drain();
    for_each_cache(|cache| {
        if cache.name == "rows" {
            assert!(cache.harts().next().unwrap().flushes > 0);
        }
    });
}
