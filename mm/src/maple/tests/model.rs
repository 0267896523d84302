//! All operations against a `BTreeMap`, with nodes of 4, 8 and 32 slots.

use std::collections::BTreeMap;

use core::sync::atomic::Ordering::SeqCst;
use proptest::prelude::*;

use super::super::{InsertError, Tree};
use super::source::Poisoning;
use super::{Numbers, Word, word};
use crate::gfp::Gfp;
use crate::host::HostMachine;

#[derive(Clone, Debug)]
enum Op {
    Insert(u64, u64),
    Remove(u64),
    RemoveRange(u64, u64),
    Resize(u64, u64, u64),
    Split(u64, u64, u64),
    Look(u64),
    Gap(u64, u64, u64),
    Clear,
}

struct Pair<const N: usize> {
    tree: Tree<Word, Poisoning<N>, N>,
    model: BTreeMap<u64, (u64, usize)>,
    source: Poisoning<N>,
    next: usize,
}

impl<const N: usize> Pair<N> {
    fn new() -> Self {
        let source = Poisoning::new(1);
        let tree = Tree::new_in(source.clone(), Gfp::KERNEL).unwrap();
        Self { tree, model: BTreeMap::new(), source, next: 1 }
    }

    /// Of the model: the first that ends above.
    fn find(&self, addr: u64) -> Option<(u64, u64, usize)> {
        let below = self.model.range(..=addr).next_back().filter(|(_, (end, _))| *end > addr);
        below.or_else(|| self.model.range(addr..).next()).map(|(&start, &(end, value))| (start, end, value))
    }

    fn before(&self, addr: u64) -> Option<(u64, u64, usize)> {
        let mut below = self.model.range(..addr).rev();
        below.find(|(_, (end, _))| *end <= addr).map(|(&start, &(end, value))| (start, end, value))
    }

    fn is_free(&self, start: u64, end: u64) -> bool {
        self.find(start).is_none_or(|(next, ..)| next >= end)
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Insert(start, len) => self.insert(start, start + len),
            Op::Remove(addr) => {
                let expected = self.find(addr).filter(|(start, ..)| *start <= addr);
                let removed = self.tree.remove(addr).map(|entry| (entry.start, entry.end, entry.value.0));
                assert_eq!(removed, expected);
                expected.map(|(start, ..)| self.model.remove(&start));
            }
            Op::RemoveRange(start, end) => {
                let mut expected = Vec::new();
                while let Some((at, to, value)) = self.find(start).filter(|(at, ..)| *at < end) {
                    expected.push((at, to, value));
                    self.model.remove(&at);
                }
                let mut removed = Vec::new();
                self.tree
                    .remove_range(start, end, |entry| removed.push((entry.start, entry.end, entry.value.0)));
                assert_eq!(removed, expected);
            }
            Op::Resize(addr, start, len) => self.resize(addr, start, start + len),
            Op::Split(addr, low, high) => self.split(addr, low, high),
            Op::Look(addr) => self.look(addr),
            Op::Gap(size, low, high) => self.gap(size, low, high),
            Op::Clear => {
                let mut values = Vec::new();
                self.tree.clear(|entry| values.push((entry.start, (entry.end, entry.value.0))));
                assert!(values.into_iter().eq(core::mem::take(&mut self.model)));
            }
        }
    }

    fn insert(&mut self, start: u64, end: u64) {
        let value = self.next;
        self.next += 1;
        self.tree.reserve(Gfp::KERNEL).unwrap();
        let live = self.source.0.live.load(SeqCst);
        let done = self.tree.insert(start, end, Word(value));
        assert_eq!(self.source.0.live.load(SeqCst), live, "what was reserved was enough");
        if start < end && self.is_free(start, end) {
            assert_eq!(done, Ok(()));
            self.model.insert(start, (end, value));
        } else {
            assert_eq!(done, Err(InsertError::Overlap(Word(value))));
        }
    }

    fn resize(&mut self, addr: u64, start: u64, end: u64) {
        let Some((old, old_end, value)) = self.find(addr).filter(|(start, ..)| *start <= addr) else {
            assert!(!self.tree.resize(addr, start, end));
            return;
        };
        self.model.remove(&old);
        let in_place = self.find(old_end).is_none_or(|(next, ..)| end <= next)
            && self.before(old).is_none_or(|(_, floor, _)| floor <= start);
        let fits = start < end && in_place;
        assert_eq!(self.tree.resize(addr, start, end), fits, "{old}..{old_end} to {start}..{end}");
        if fits {
            self.model.insert(start, (end, value));
        } else {
            self.model.insert(old, (old_end, value));
        }
    }

    fn split(&mut self, addr: u64, low_end: u64, high_start: u64) {
        let value = self.next;
        self.next += 1;
        self.tree.reserve(Gfp::KERNEL).unwrap();
        let done = self.tree.split(addr, low_end, high_start, Word(value));
        let entry = self.find(addr).filter(|(start, ..)| *start <= addr);
        let entry =
            entry.filter(|(start, end, _)| *start < low_end && low_end <= high_start && high_start < *end);
        let Some((start, end, old)) = entry else {
            assert_eq!(done, Err(InsertError::Overlap(Word(value))));
            return;
        };
        assert_eq!(done, Ok(()));
        self.model.insert(start, (low_end, old));
        self.model.insert(high_start, (end, value));
    }

    fn look(&mut self, addr: u64) {
        let expected = self.find(addr);
        let of = |entry: super::super::Entry<&()>| (entry.start, entry.end, word(entry.value));
        assert_eq!(self.tree.find(addr).map(of), expected);
        assert_eq!(self.tree.lookup(addr).map(of), expected.filter(|(start, ..)| *start <= addr));
        assert_eq!(self.tree.before(addr).map(word), self.before(addr).map(|(_, _, value)| value));
        let guard = self.source.enter(0);
        let found = self.tree.reader().find(&guard, addr).expect("no writer");
        assert_eq!(found.map(|entry| (entry.start, entry.end, entry.value.addr().get())), expected);
        let from = self.model.iter().filter(|(_, (end, _))| *end > addr);
        assert!(self.tree.iter_in(addr, u64::MAX).map(word).eq(from.clone().map(|(_, &(_, value))| value)));
        let until = from.filter(|(start, _)| **start < addr.saturating_add(40)).map(|(_, &(_, value))| value);
        assert!(self.tree.iter_in(addr, addr.saturating_add(40)).map(word).eq(until));
        let back = self.model.iter().filter(|(_, (end, _))| *end <= addr).map(|(_, &(_, value))| value);
        assert!(self.tree.iter_back(addr).map(word).eq(back.rev()));
    }

    fn gap(&self, size: u64, low: u64, high: u64) {
        let mut gaps = Vec::new();
        let mut floor = 0;
        for (&start, &(end, _)) in self.model.iter().chain([(&u64::MAX, &(u64::MAX, 0))]) {
            let (bottom, top) = (floor.max(low), start.min(high));
            if bottom <= top && top - bottom >= size {
                gaps.push((bottom, top - size));
            }
            floor = end;
        }
        let lowest = gaps.first().map(|(lowest, _)| *lowest);
        let highest = gaps.last().map(|(_, highest)| *highest);
        assert_eq!(self.tree.lowest_gap(size, low, high), lowest, "{size} in {low}..{high}");
        assert_eq!(self.tree.highest_gap(size, low, high), highest, "{size} in {low}..{high}");
    }

    fn check(&self) {
        let nodes = self.tree.validate();
        assert_eq!(nodes, self.source.0.live.load(SeqCst), "no node is lost");
        assert_eq!(self.tree.len(), self.model.len());
        assert!(self.tree.iter().map(word).eq(self.model.values().map(|(_, value)| *value)));
    }
}

fn op(universe: u64) -> impl Strategy<Value = Op> {
    let addr = move || 0..universe;
    prop_oneof![
        12 => (addr(), 0..6_u64).prop_map(|(start, len)| Op::Insert(start, len)),
        6 => addr().prop_map(Op::Remove),
        1 => (addr(), 0..universe / 4).prop_map(|(start, len)| Op::RemoveRange(start, start + len)),
        4 => (addr(), addr(), 0..8_u64).prop_map(|(addr, start, len)| Op::Resize(addr, start, len)),
        4 => (addr(), 0..6_u64, 0..9_u64)
            .prop_map(|(addr, down, len)| Op::Resize(addr, addr.saturating_sub(down), len)),
        6 => (addr(), 0..3_u64, 0..3_u64).prop_map(|(addr, up, hole)| Op::Split(addr, addr + up, addr + up + hole)),
        4 => addr().prop_map(Op::Look),
        4 => (0..20_u64, addr(), addr()).prop_map(|(size, low, high)| Op::Gap(size, low, high)),
    ]
}

fn model<const N: usize>(ops: &[Op]) {
    let _machine = HostMachine::new(16 << 20, 1);
    let mut pair = Pair::<N>::new();
    for op in ops {
        pair.run(op);
        pair.check();
    }
    pair.run(&Op::Clear);
    pair.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 200 }))]

    #[test]
    fn nodes_of_4(ops in prop::collection::vec(op(300), 1..if cfg!(miri) { 60 } else { 300 })) {
        model::<4>(&ops);
    }

    #[test]
    fn nodes_of_8(ops in prop::collection::vec(op(800), 1..if cfg!(miri) { 60 } else { 400 })) {
        model::<8>(&ops);
    }
}

/// Up and down again, so that nodes are split, evened out and merged on all levels.
fn tides<const N: usize>(seed: u64, universe: u64, ops: usize) {
    let _machine = HostMachine::new(16 << 20, 1);
    let mut pair = Pair::<N>::new();
    let mut numbers = Numbers(seed);
    let mut most = 0;
    for count in 0..ops {
        let (rising, addr) = ((count / (ops / 6)).is_multiple_of(2), numbers.below(universe));
        let op = match numbers.below(20) {
            0..10 if rising => Op::Insert(addr, 1 + numbers.below(4)),
            0..9 => Op::Remove(addr),
            9 => Op::RemoveRange(addr, addr + numbers.below(if rising { 9 } else { 300 })),
            10 => Op::Insert(addr, 1 + numbers.below(4)),
            11 => Op::Split(addr, addr + numbers.below(2), addr + 1),
            12..16 => Op::Resize(addr, addr.saturating_sub(numbers.below(4)), 1 + numbers.below(7)),
            16..18 => Op::Gap(1 + numbers.below(40), numbers.below(universe), numbers.below(universe)),
            _ if count.is_multiple_of(50) => Op::Look(addr),
            _ => Op::Gap(1 + numbers.below(12), addr, universe),
        };
        pair.run(&op);
        if count.is_multiple_of(16) || cfg!(miri) {
            pair.check();
        }
        most = most.max(pair.model.len());
    }
    pair.check();
    assert!(cfg!(miri) || most > 700, "only {most} entries");
}

#[test]
fn tides_of_nodes_of_4() {
    tides::<4>(0x1234_5678_9abc_def1, 8000, if cfg!(miri) { 120 } else { 30_000 });
}

#[test]
fn tides_of_nodes_of_32() {
    tides::<32>(0x9876_5432_1234_5671, 16_000, if cfg!(miri) { 120 } else { 60_000 });
}

#[test]
fn ascending_insertions_take_what_was_reserved_for_them() {
    let _machine = HostMachine::new(16 << 20, 1);
    for count in (0..if cfg!(miri) { 20 } else { 300 }).chain([1000, 2000]) {
        let mut pair = Pair::<4>::new();
        pair.tree.reserve_ascending(count, Gfp::KERNEL).unwrap();
        let live = pair.source.0.live.load(SeqCst);
        for at in 0..count as u64 {
            assert_eq!(pair.tree.insert(at * 3, at * 3 + 2, Word(1)), Ok(()));
        }
        assert_eq!((pair.source.0.live.load(SeqCst), pair.tree.len()), (live, count), "no more of them");
        assert_eq!(pair.tree.validate(), live);
        assert!(live <= count.div_ceil(4) * 3 / 2 + 2, "{live} nodes for {count} entries");
        pair.tree.reserve(Gfp::KERNEL).unwrap();
        assert_eq!(pair.tree.insert(1, 2, Word(1)).is_err(), count > 0);
    }
}

#[test]
fn borders() {
    let _machine = HostMachine::new(16 << 20, 1);
    let mut pair = Pair::<4>::new();
    let max = u64::MAX;
    assert_eq!(pair.tree.insert(0, max, Word(1)), Err(InsertError::Overlap(Word(1))), "no end");
    assert_eq!(pair.tree.insert(5, 5, Word(1)), Err(InsertError::Overlap(Word(1))), "nothing");
    pair.insert(max - 5, max - 1);
    for at in 0..20 {
        pair.insert(at, at + 1);
    }
    pair.check();
    pair.look(0);
    for addr in [max - 2, max - 1, max] {
        pair.look(addr);
    }
    pair.gap(1, 0, max - 5);
    pair.gap(max - 25, 0, max);
    pair.gap(max - 24, 0, max);
    pair.gap(0, 3, 3);
    pair.gap(1, 4, 3);
    assert!(!pair.tree.resize(max - 3, max - 5, max));
}
