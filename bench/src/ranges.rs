//! Ranges of 3 to 6 pages with gaps of 1 to 3 between: what an address space's mappings are kept in.

use std::hint::black_box;
use std::ptr::NonNull;

use rux_mm::gfp::Gfp;
use rux_mm::host::HostMachine;
use rux_mm::maple::{Reader, Stored, Tree};
use rux_mm::rcu;
use rux_mm::slab::for_each_cache;

use crate::measure::{Bench, Numbers};
use crate::range_peers::{BTree, Nodit, Rangemap};

const GROUP: &str = "ranges";
const PAGE: u64 = 4096;
/// The first range; below is the only room for something large.
const BASE: u64 = 1 << 30;
/// What the search for room asks for: more than any gap between two ranges.
const LARGE: u64 = 4 * PAGE;

/// A store of ranges, each with a number above 0.
pub trait Ranges {
    const NAME: &'static str;
    fn new() -> Self;
    /// Puts a range in if it overlaps none; says whether it did.
    fn insert(&mut self, start: u64, end: u64, value: u64) -> bool;
    /// From here on it is only looked into.
    fn look_only(&mut self) {}
    /// The value of the range that `addr` is in.
    fn find(&self, addr: u64) -> Option<u64>;
    /// Takes out the range that starts at `start`, and ends at `end`.
    fn erase(&mut self, start: u64, end: u64);
    /// Takes what is from `start` to below `end`, the inside of a range, out of it.
    fn punch(&mut self, start: u64, end: u64);
    /// The highest room for `size` below `high`.
    fn gap(&self, size: u64, high: u64) -> Option<u64>;
    /// The sum of the values.
    fn sum(&self) -> u64;
    /// Bytes of memory in use for it.
    fn bytes(&self) -> usize;
}

/// A number as the tree keeps it.
pub struct Word(u64);

// SAFETY: nothing is of size 0, so that every address but null is one of it.
unsafe impl Stored for Word {
    type Target = ();

    #[inline(always)]
    fn into_value(self) -> NonNull<()> {
        NonNull::new(std::ptr::without_provenance_mut(self.0 as usize)).expect("a number above 0")
    }

    #[inline(always)]
    unsafe fn from_value(value: NonNull<()>) -> Word {
        Word(value.addr().get() as u64)
    }
}

/// Ours.
pub struct Rux {
    tree: Tree<Word>,
    reader: Reader<Word>,
    guard: Option<rcu::ReadGuard>,
    _machine: HostMachine,
}

impl Ranges for Rux {
    const NAME: &'static str = "rux";

    fn new() -> Rux {
        let machine = HostMachine::new(256 << 20, 1);
        let tree = Tree::new(Gfp::KERNEL).expect("memory");
        Rux { reader: tree.reader(), tree, guard: None, _machine: machine }
    }

    #[inline(always)]
    fn insert(&mut self, start: u64, end: u64, value: u64) -> bool {
        self.tree.reserve(Gfp::KERNEL).is_ok() && self.tree.insert(start, end, Word(value)).is_ok()
    }

    /// On the host the guard costs what it does not on RISC-V.
    fn look_only(&mut self) {
        self.guard = Some(rcu::read());
    }

    #[inline(always)]
    fn find(&self, addr: u64) -> Option<u64> {
        let found = self.reader.lookup(self.guard.as_ref()?, addr).expect("no writer")?;
        Some(found.value.addr().get() as u64)
    }

    #[inline(always)]
    fn erase(&mut self, start: u64, _: u64) {
        self.tree.remove(start);
    }

    #[inline(always)]
    fn punch(&mut self, start: u64, end: u64) {
        let Some(entry) = self.tree.lookup(start) else { return };
        let value = std::ptr::from_ref(entry.value).addr() as u64;
        assert!(
            self.tree.reserve(Gfp::KERNEL).is_ok() && self.tree.split(start, start, end, Word(value)).is_ok()
        );
    }

    #[inline(always)]
    fn gap(&self, size: u64, high: u64) -> Option<u64> {
        self.tree.highest_gap(size, 0, high)
    }

    #[inline(always)]
    fn sum(&self) -> u64 {
        self.tree.iter().map(|value| std::ptr::from_ref(value).addr() as u64).sum::<u64>()
    }

    /// Whole slabs, so that what is lost between nodes counts.
    fn bytes(&self) -> usize {
        let mut bytes = 0;
        for_each_cache(|cache| {
            if cache.name == "maple_node" {
                bytes = cache.slabs * cache.pages_per_slab * PAGE as usize;
            }
        });
        bytes
    }
}

struct Range {
    start: u64,
    end: u64,
}

/// `count` ranges, ascending.
fn ranges(count: usize) -> Vec<Range> {
    let mut numbers = Numbers::new();
    let mut at = BASE;
    let mut next = |_| {
        let start = at + (1 + numbers.below(3) as u64) * PAGE;
        at = start + (3 + numbers.below(4) as u64) * PAGE;
        Range { start, end: at }
    };
    (0..count).map(&mut next).collect()
}

pub fn run(bench: &Bench) {
    all::<Rux>(bench);
    all::<BTree>(bench);
    all::<Rangemap>(bench);
    all::<Nodit>(bench);
}

/// Memory in use after insertions in random order, for each range.
pub fn shares(bench: &Bench) {
    fn of<R: Ranges>(bench: &Bench) {
        let count = bench.times(100_000);
        let mut ranges = ranges(count);
        Numbers::new().shuffle(&mut ranges);
        let mut store = R::new();
        let before = store.bytes();
        fill(&mut store, &ranges);
        // Shares are shown as per cent.
        bench.share(GROUP, "bytes a range, 100k at random", R::NAME, store.bytes() - before, 100 * count);
    }
    of::<Rux>(bench);
    of::<BTree>(bench);
    of::<Rangemap>(bench);
    of::<Nodit>(bench);
}

fn fill<R: Ranges>(store: &mut R, ranges: &[Range]) {
    for (range, value) in ranges.iter().zip(1..) {
        assert!(store.insert(range.start, range.end, value));
    }
}

fn all<R: Ranges>(bench: &Bench) {
    for (count, name) in [(100, "100"), (10_000, "10k"), (100_000, "100k")] {
        find::<R>(bench, bench.times(count).max(100), name);
    }
    for (count, name) in [(1000, "1k"), (100_000, "100k")] {
        changes::<R>(bench, bench.times(count).max(1000), name);
    }
}

fn find<R: Ranges>(bench: &Bench, count: usize, name: &str) {
    let mut ranges = ranges(count);
    let mut numbers = Numbers::new();
    numbers.shuffle(&mut ranges);
    let mut store = R::new();
    fill(&mut store, &ranges);
    let times = bench.times(20_000);
    let looked_for: Vec<u64> = (0..times)
        .map(|_| {
            let range = &ranges[numbers.below(count)];
            range.start + numbers.below((range.end - range.start) as usize) as u64
        })
        .collect();
    store.look_only();
    bench.count(GROUP, &format!("find, {name}"), R::NAME, times, || {
        for &addr in &looked_for {
            black_box(store.find(addr));
        }
    });
}

fn changes<R: Ranges>(bench: &Bench, count: usize, name: &str) {
    let mut ranges = ranges(count);
    let high = ranges[count - 1].end;
    let mut numbers = Numbers::new();
    numbers.shuffle(&mut ranges);
    let mut store = R::new();
    bench.count(GROUP, &format!("insert at random, to {name}"), R::NAME, count, || fill(&mut store, &ranges));
    if name == "100k" {
        let rounds = bench.times(64) / 64;
        bench.count(GROUP, "iterate", R::NAME, count * rounds, || {
            for _ in 0..rounds {
                black_box(store.sum());
            }
        });
    }
    let searches = bench.times(if R::NAME == Rux::NAME { 6400 } else { 64 }) / 64;
    bench.count(GROUP, &format!("top-down gap, far, {name}"), R::NAME, searches, || {
        for _ in 0..searches {
            assert!(black_box(store.gap(LARGE, high)).is_some_and(|gap| gap < BASE));
        }
    });
    let some = count / 2;
    numbers.shuffle(&mut ranges);
    bench.count(GROUP, &format!("punch a hole, {name}"), R::NAME, some, || {
        for range in &ranges[..some] {
            store.punch(range.start + PAGE, range.start + 2 * PAGE);
        }
    });
    let rest = &ranges[some..];
    bench.count(GROUP, &format!("erase at random, {name}"), R::NAME, rest.len(), || {
        for range in rest {
            store.erase(range.start, range.end);
        }
    });
}
