//! Four readers without a lock and one writer. Nodes that the writer takes out are poisoned after their grace period,
//! and things that nobody has any more stand for another index the moment after.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use super::super::{Entry, Mark, Nodes, Slab, Spare, StoreError, Value, XArray};
use super::Numbers;
use super::things::{Poisoning, Things, Token};
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::rcu;
use crate::sync::Rank;

const READERS: usize = 4;
/// Indices are dealt out in yards of this many; what is in a yard has its number.
const YARD: u64 = 16;
/// Every so many yards one has an entry that stays.
const STEADY: u64 = 4;

/// Of one yard: an index and an order.
type Place = (u64, u32);

struct Shared<const N: usize> {
    array: XArray<Token, Poisoning, N>,
    source: Poisoning,
    done: AtomicBool,
    found: AtomicUsize,
}

/// Ends the readers' loops, also when the writer fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl<const N: usize> Shared<N> {
    fn new() -> Self {
        let source = Poisoning::default();
        let array = XArray::new_in(source.clone(), Rank::PageIndex);
        Self { array, source, done: AtomicBool::new(false), found: AtomicUsize::new(0) }
    }

    /// Whether it was put there.
    fn put(&self, (index, order): Place, mut entry: Entry<Token>, over: bool) -> bool {
        let mut spare = Spare::new_in(self.source.clone());
        loop {
            let mut locked = self.array.lock();
            let done = if over {
                locked.store(index, order, entry, &mut spare, drop)
            } else {
                locked.insert(index, order, entry, &mut spare)
            };
            drop(locked);
            match done {
                Ok(()) => return true,
                Err(StoreError::Present(_)) => return false,
                Err(StoreError::Nodes(count, back)) => {
                    spare.fill(count, Gfp::KERNEL).unwrap();
                    entry = back;
                }
            }
        }
    }

    fn check(&self, index: u64, entry: &Entry<Token>) {
        self.found.fetch_add(1, Relaxed);
        let number = match entry {
            Entry::Item(token) => token.number(),
            Entry::Value(value) => value.get(),
        };
        assert_eq!(number, index / YARD, "what is in another place was found at {index}");
    }

    /// Runs `read` on four harts until `write` is done on a fifth.
    fn run(
        &self,
        machine: &HostMachine,
        read: impl Fn(&mut Numbers) + Sync,
        write: impl FnOnce(&mut Numbers),
    ) {
        thread::scope(|scope| {
            for reader in 0..READERS {
                let read = &read;
                scope.spawn(move || {
                    machine.enter(reader + 1);
                    let mut numbers = Numbers(reader as u64 * 77 + 0x1234_5677);
                    while !self.done.load(Relaxed) {
                        read(&mut numbers);
                    }
                });
            }
            let _done = Done(&self.done);
            write(&mut Numbers(0x9e37_79b9_7f4a_7c15));
        });
        self.array.lock().validate();
        rcu::barrier();
        let retired = self.source.0.retired.load(Relaxed);
        assert!(retired > 0 && self.found.load(Relaxed) > 0, "{retired} retired, {:?} found", self.found);
    }
}

fn readers_and_a_writer<const N: usize>(yards: u64, changes: usize) {
    let machine = HostMachine::new(16 << 20, READERS + 1);
    // Few more than are steady, so that they are used again soon.
    let things = Things::new((yards / STEADY) as usize + 40);
    let shared = Shared::<N>::new();
    for yard in (0..yards).step_by(STEADY as usize) {
        let token = things.take(yard).unwrap();
        assert!(shared.put((yard * YARD + 3, 0), Entry::Item(token), false));
    }
    let read = |numbers: &mut Numbers| {
        let index = numbers.below(yards * YARD);
        let steady = index / YARD / STEADY * STEADY * YARD + 3;
        match numbers.below(4) {
            0 => {
                let mut passed = steady;
                shared.array.for_each(&rcu::read(), index, index + 2 * YARD, |at, token| {
                    assert!(index <= at && at <= index + 2 * YARD);
                    shared.check(at, &Entry::Item(token));
                    if at % (STEADY * YARD) == 3 {
                        passed = at;
                    }
                    true
                });
                let next = steady + if steady < index { STEADY * YARD } else { 0 };
                assert!(
                    next > index + 2 * YARD || next >= yards * YARD || passed == next,
                    "{next} was passed over"
                );
            }
            1 => {
                let entry = shared.array.get(&rcu::read(), steady);
                shared.check(steady, &entry.expect("a steady entry"));
            }
            _ => {
                let entry = shared.array.get(&rcu::read(), index);
                entry.inspect(|entry| shared.check(index, entry));
            }
        }
    };
    shared.run(&machine, read, |numbers| {
        for count in 0..changes {
            let yard = numbers.below(yards);
            if yard.is_multiple_of(STEADY) {
                // As high as can be, and low again.
                let value = Entry::Value(Value::new(u64::MAX / YARD).unwrap());
                assert!(shared.put((u64::MAX, 0), value, true));
                assert!(shared.array.lock().erase(u64::MAX).is_some());
                continue;
            }
            let index = yard * YARD + numbers.below(YARD);
            let order = [0, 0, 1, 2, 3, 4][numbers.below(6) as usize];
            // It fills and empties by turns, so that nodes come and go on all levels.
            let rising = (count / (changes / 10)).is_multiple_of(2);
            match numbers.below(8) {
                put if put < 3 + 2 * u64::from(rising) => {
                    let token = things.take(yard).map(Entry::Item);
                    let entry = token.unwrap_or(Entry::Value(Value::new(yard).unwrap()));
                    shared.put((index, order), entry, numbers.below(2) == 0);
                }
                7 => drop(shared.array.lock().set_mark(index, Mark::A)),
                _ => drop(shared.array.lock().erase(index)),
            }
        }
    });
    drop(shared);
    assert_eq!(things.used(), 0, "a reference was lost");
}

#[test]
fn four_readers_and_a_writer_in_small_nodes() {
    readers_and_a_writer::<4>(if cfg!(miri) { 16 } else { 400 }, if cfg!(miri) { 200 } else { 200_000 });
}

#[test]
#[cfg_attr(miri, ignore = "takes more entries than Miri has the time for to empty a large node")]
fn four_readers_and_a_writer() {
    readers_and_a_writer::<64>(2000, 200_000);
}

/// The entry of index 0 moves between the head and a node, and another takes its place in between.
#[test]
fn the_last_entry_moves_to_the_head() {
    let machine = HostMachine::new(16 << 20, READERS + 1);
    let things = Things::new(8);
    let shared = Shared::<4>::new();
    let read = |numbers: &mut Numbers| {
        let index = numbers.below(3) * YARD;
        let entry = shared.array.get(&rcu::read(), index);
        entry.inspect(|entry| shared.check(index, entry));
        shared.array.for_each(&rcu::read(), 0, 3 * YARD, |at, token| {
            shared.check(at, &Entry::Item(token));
            true
        });
    };
    shared.run(&machine, read, |_| {
        let take = |yard| loop {
            if let Some(token) = things.take(yard) {
                break Entry::Item(token);
            }
            thread::yield_now();
        };
        for _ in 0..if cfg!(miri) { 10 } else { 50_000 } {
            assert!(shared.put((0, 0), take(0), false));
            assert!(shared.put((YARD, 0), take(1), false));
            assert!(shared.array.lock().erase(YARD).is_some());
            assert!(shared.array.lock().erase(0).is_some());
            assert!(shared.put((2 * YARD, 0), take(2), false));
            assert!(shared.array.lock().erase(2 * YARD).is_some());
        }
    });
    drop(shared);
    assert_eq!(things.used(), 0, "a reference was lost");
}

/// Of the very source that the kernel has: while a reader is in, what was taken out is not used again.
#[test]
fn a_node_outlives_its_readers() {
    let _machine = HostMachine::new(16 << 20, 1);
    let array = XArray::<Token>::new(Rank::PageIndex);
    let mut spare = Spare::new();
    let entry = |number| Entry::Value(Value::new(number).unwrap());
    spare.fill(1, Gfp::KERNEL).unwrap();
    let node = spare.pool().take().unwrap();
    // SAFETY: taken just now.
    unsafe { spare.pool().put(node) };
    assert!(array.lock().insert(5, 0, entry(5), &mut spare).is_ok());
    let guard = rcu::read();
    assert!(array.lock().erase(5).is_some());
    let mut others = Spare::<Slab>::new();
    others.fill(20, Gfp::KERNEL).unwrap();
    while let Some(other) = others.pool().take() {
        assert_ne!(other, node, "a node was given to another under a reader");
        // SAFETY: taken just now.
        unsafe { Slab.free(other) };
    }
    drop(guard);
    rcu::barrier();
    others.fill(20, Gfp::KERNEL).unwrap();
    let mut is_back = false;
    while let Some(other) = others.pool().take() {
        is_back |= other == node;
        // SAFETY: taken just now.
        unsafe { Slab.free(other) };
    }
    assert!(is_back, "it was never freed");
}
