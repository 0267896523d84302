//! Four readers without a lock and one writer. Nodes that the writer takes out are poisoned as soon as no reader is
//! left who could be in them.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use super::super::Tree;
use super::source::Poisoning;
use super::{Numbers, Word};
use crate::gfp::Gfp;
use crate::host::HostMachine;

const READERS: usize = 4;
/// Addresses are dealt out in yards of this many; an entry is within one, and its value is the yard's number and 1.
const YARD: u64 = 16;
/// Every so many yards one has an entry that never changes.
const STEADY: u64 = 8;

fn steady(yard: u64) -> (u64, u64) {
    (yard * YARD + 3, yard * YARD + 9)
}

fn readers_and_a_writer<const N: usize>(yards: u64, changes: usize) {
    let machine = HostMachine::new(16 << 20, 1);
    let source = Poisoning::<N>::new(READERS);
    let mut tree = Tree::<Word, _, N>::new_in(source.clone(), Gfp::KERNEL).unwrap();
    for yard in (0..yards).step_by(STEADY as usize) {
        let (start, end) = steady(yard);
        tree.insert(start, end, Word(yard as usize + 1)).unwrap();
    }
    let done = AtomicBool::new(false);
    let (found, retries) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let readers: Vec<_> = (0..READERS).map(|_| tree.reader()).collect();
    thread::scope(|scope| {
        for (index, reader) in readers.iter().enumerate() {
            let (source, done, found, retries) = (&source, &done, &found, &retries);
            scope.spawn(move || {
                let mut numbers = Numbers(index as u64 * 77 + 0x1234_5677);
                while !done.load(Relaxed) {
                    let yard = numbers.below(yards) / STEADY * STEADY;
                    let addr = if numbers.below(2) == 0 {
                        numbers.below(yards * YARD)
                    } else {
                        yard * YARD + 3 + numbers.below(6)
                    };
                    let guard = source.enter(index);
                    let Ok(entry) = reader.find(&guard, addr) else {
                        retries.fetch_add(1, Relaxed);
                        continue;
                    };
                    found.fetch_add(1, Relaxed);
                    let Some(entry) = entry else {
                        assert!(addr >= steady((yards - 1) / STEADY * STEADY).1, "lost all above {addr}");
                        continue;
                    };
                    let yard = entry.start / YARD;
                    assert_eq!(entry.value.addr().get() as u64, yard + 1, "half of one and half of another");
                    assert!(entry.start < entry.end && entry.end <= (yard + 1) * YARD && entry.end > addr);
                    // No steady entry is passed over.
                    let near = addr / YARD / STEADY * STEADY;
                    let next = if steady(near).1 > addr { near } else { near + STEADY };
                    assert!(
                        next >= yards || entry.start <= steady(next).0,
                        "{next} was not found from {addr}"
                    );
                    if yard.is_multiple_of(STEADY) {
                        assert_eq!((entry.start, entry.end), steady(yard));
                    }
                }
            });
        }
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for count in 0..changes {
            let yard = numbers.below(yards);
            if yard.is_multiple_of(STEADY) {
                continue;
            }
            let start = yard * YARD + numbers.below(YARD - 1);
            let end = start + 1 + numbers.below((yard + 1) * YARD - start);
            // It fills and empties by turns, so that nodes come and go on all levels.
            let rising = (count / (changes / 10)).is_multiple_of(2);
            match numbers.below(8) {
                0..5 if rising => drop(tree.insert(start, end, Word(yard as usize + 1))),
                0..4 => drop(tree.remove(start)),
                4 => drop(tree.insert(start, end, Word(yard as usize + 1))),
                5 => tree.remove_range(yard * YARD, (yard + 1) * YARD, drop),
                _ => drop(tree.resize(start, start, end)),
            }
        }
        done.store(true, Relaxed);
    });
    tree.validate();
    let poisoned = source.0.poisoned.load(Relaxed);
    assert!(poisoned > 0 && found.load(Relaxed) > 0, "{poisoned} poisoned, {found:?} found, {retries:?} not");
    drop((tree, readers, machine));
}

#[test]
fn four_readers_and_a_writer_in_small_nodes() {
    readers_and_a_writer::<4>(if cfg!(miri) { 64 } else { 2000 }, if cfg!(miri) { 300 } else { 200_000 });
}

#[test]
#[cfg_attr(miri, ignore = "takes more entries than Miri has the time for to empty a large node")]
fn four_readers_and_a_writer() {
    readers_and_a_writer::<32>(8000, 300_000);
}
