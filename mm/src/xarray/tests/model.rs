//! The array and a map of ranges do the same.

use core::sync::atomic::Ordering::Relaxed;
use std::collections::BTreeMap;

use super::super::{Entry, Mark, Spare, StoreError, Value, XArray};
use super::Numbers;
use super::things::{Poisoning, Things, Token};
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::rcu;
use crate::sync::Rank;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    order: u32,
    /// Odd: an item; even: a value.
    number: u64,
    marks: [bool; 3],
}

struct Check<const N: usize> {
    array: XArray<Token, Poisoning, N>,
    source: Poisoning,
    /// By their first index.
    model: BTreeMap<u64, Known>,
    numbers: Numbers,
    count: u64,
}

fn last(first: u64, order: u32) -> u64 {
    first | ((1 << order) - 1)
}

fn number_of(entry: &Entry<Token>) -> u64 {
    match entry {
        Entry::Item(token) => token.number(),
        Entry::Value(value) => value.get(),
    }
}

impl<const N: usize> Check<N> {
    fn new(seed: u64) -> Self {
        let source = Poisoning::default();
        let array = XArray::new_in(source.clone(), Rank::PageIndex);
        Self { array, source, model: BTreeMap::new(), numbers: Numbers(seed), count: 0 }
    }

    /// Mostly near to others, sometimes far up.
    fn index(&mut self) -> u64 {
        let near = self.numbers.below(3 * N as u64);
        match self.numbers.below(8) {
            0 => 0,
            1..5 => near,
            5 => near << self.numbers.below(4 * u64::from(N.trailing_zeros())),
            6 => u64::MAX - near,
            _ => self.numbers.next() >> self.numbers.below(64),
        }
    }

    fn order(&mut self) -> u32 {
        match self.numbers.below(8) {
            0..4 => 0,
            4..7 => self.numbers.below(2 * u64::from(N.trailing_zeros()) + 1) as u32,
            _ => self.numbers.below(20) as u32,
        }
    }

    /// The entry that an index is of.
    fn at(&self, index: u64) -> Option<(u64, Known)> {
        let (&first, &known) = self.model.range(..=index).next_back()?;
        (last(first, known.order) >= index).then_some((first, known))
    }

    fn in_range(&self, first: u64, last_index: u64) -> Vec<(u64, Known)> {
        let before = self.at(first).filter(|(at, _)| *at < first);
        before
            .into_iter()
            .chain(self.model.range(first..=last_index).map(|(at, known)| (*at, *known)))
            .collect()
    }

    fn put(&mut self, things: &Things) {
        let (index, order) = (self.index(), self.order());
        let first = index & !((1 << order) - 1);
        let end = last(first, order);
        let over = self.numbers.below(2) == 0;
        self.count += 1;
        let item = self.numbers.below(4) > 0;
        let number = self.count * 2 + u64::from(item);
        let mut entry = if item {
            let Some(token) = things.take(number) else { return };
            Entry::Item(token)
        } else {
            Entry::Value(Value::new(number).unwrap())
        };
        let there = self.in_range(first, end);
        let may = if over {
            there.iter().all(|(at, known)| *at >= first && last(*at, known.order) <= end)
        } else {
            there.is_empty()
        };
        let mut spare = Spare::new_in(self.source.clone());
        let mut gone = Vec::new();
        let mut asked = false;
        let done = loop {
            let mut locked = self.array.lock();
            let before = locked.validate();
            let done = if over {
                locked.store(index, order, entry, &mut spare, |old| gone.push(number_of(&old)))
            } else {
                locked.insert(index, order, entry, &mut spare)
            };
            match done {
                Err(StoreError::Nodes(needed, back)) => {
                    assert!(!asked && may && locked.validate() == before && gone.is_empty());
                    asked = true;
                    drop(locked);
                    spare.fill(needed, Gfp::KERNEL).unwrap();
                    entry = back;
                }
                Err(StoreError::Present(back)) => {
                    assert_eq!((number_of(&back), locked.validate()), (number, before));
                    break false;
                }
                Ok(()) => break true,
            }
        };
        assert_eq!(done, may, "{index:#x} of order {order}, {over}: {there:x?}");
        // Just as many nodes as it said.
        assert!(spare.pool().len() == 0);
        if done {
            for (at, known) in &there {
                self.model.remove(at);
                assert!(gone.contains(&known.number));
            }
            assert_eq!(gone.len(), there.len());
            self.model.insert(first, Known { order, number, marks: [false; 3] });
        }
    }

    fn erase(&mut self) {
        let index = self.some_index();
        let expected = self.at(index);
        let erased = self.array.lock().erase(index);
        assert_eq!(erased.as_ref().map(number_of), expected.map(|(_, known)| known.number));
        expected.map(|(at, _)| self.model.remove(&at));
    }

    /// One that is there, as often as not.
    fn some_index(&mut self) -> u64 {
        let index = self.index();
        match self.model.range(index..).next() {
            Some((first, known)) if self.numbers.0 & 1 << 40 != 0 => {
                first + (self.numbers.0 >> 20 & last(0, known.order))
            }
            _ => index,
        }
    }

    fn mark(&mut self) {
        let index = self.some_index();
        let mark = Mark::ALL[self.numbers.below(3) as usize];
        let set = self.numbers.below(2) == 0;
        let mut locked = self.array.lock();
        let found = if set { locked.set_mark(index, mark) } else { locked.clear_mark(index, mark) };
        drop(locked);
        let expected = self.at(index);
        assert_eq!(found, expected.is_some());
        if let Some(known) = expected.and_then(|(at, _)| self.model.get_mut(&at)) {
            known.marks[mark as usize] = set;
        }
    }

    fn look(&mut self) {
        let index = self.some_index();
        let expected = self.at(index);
        {
            let guard = rcu::read();
            let found = self.array.get(&guard, index);
            assert_eq!(found.as_ref().map(number_of), expected.map(|(_, known)| known.number), "{index:#x}");
        }
        let to = index.saturating_add(self.numbers.next() >> self.numbers.below(64));
        let locked = self.array.lock();
        let found = locked.next(index, to).map(|found| {
            let number = match found.entry {
                Entry::Item(thing) => thing.number(),
                Entry::Value(value) => value.get(),
            };
            (found.index, found.order, number)
        });
        let there = self.in_range(index, to);
        let first = there.first();
        assert_eq!(found, first.map(|(at, known)| (*at, known.order, known.number)), "{index:#x} to {to:#x}");
        for mark in Mark::ALL {
            let expected = there.iter().find(|(_, known)| known.marks[mark as usize]);
            let found = locked.next_marked(mark, index, to).map(|found| (found.index, found.order));
            assert_eq!(
                found,
                expected.map(|(at, known)| (*at, known.order)),
                "{mark:?} {index:#x} to {to:#x}"
            );
            let has = self.at(index).is_some_and(|(_, known)| known.marks[mark as usize]);
            assert_eq!(locked.has_mark(index, mark), has);
            let any = self.model.values().any(|known| known.marks[mark as usize]);
            assert_eq!(self.array.is_any_marked(mark), any);
        }
        drop(locked);
        let most = self.numbers.below(20) as usize;
        // As many steps as there are numbers, or slots of them.
        let to = to.min(index.saturating_add(10 * N as u64));
        let items: Vec<_> = there
            .iter()
            .filter(|(at, known)| known.number % 2 == 1 && *at <= to)
            .map(|(at, known)| ((*at).max(index), known.number))
            .take(most.max(1))
            .collect();
        let mut found = Vec::new();
        self.array.for_each(&rcu::read(), index, to, |at, token| {
            found.push((at, token.number()));
            found.len() < most
        });
        assert_eq!(found, items, "{index:#x} to {to:#x}");
    }
}

fn model<const N: usize>(seed: u64, steps: usize) {
    let machine = HostMachine::new(16 << 20, 1);
    let things = Things::new(500);
    let mut check = Check::<N>::new(seed);
    for step in 0..steps {
        // Now more and now less.
        let puts = if step / 500 % 2 == 0 { 5 } else { 2 };
        match check.numbers.below(12) {
            put if put < puts => check.put(&things),
            0..7 => check.erase(),
            7..9 => check.mark(),
            _ => check.look(),
        }
        let (entries, indices) = check.array.lock().validate();
        assert_eq!(entries, check.model.len() as u64);
        assert_eq!(indices, check.model.values().map(|known| 1 << known.order).sum::<u64>());
        let items = check.model.values().filter(|known| known.number % 2 == 1).count();
        assert_eq!(things.used(), items, "an item is lost, or is had twice");
        assert_eq!(check.array.is_empty(), check.model.is_empty());
    }
    assert!(check.source.0.retired.load(Relaxed) > 0);
    let Check { array, source, .. } = check;
    drop(array);
    assert_eq!((things.used(), source.0.live.load(Relaxed)), (0, 0), "something is left");
    drop(machine);
}

#[test]
fn it_does_what_a_map_does_in_small_nodes() {
    let (seeds, steps) = if cfg!(miri) { (1, 300) } else { (8, 4000) };
    (1..=seeds).for_each(|seed| model::<4>(0x9e37_79b9_7f4a_7c15 >> seed, steps));
}

#[test]
fn it_does_what_a_map_does() {
    let (seeds, steps) = if cfg!(miri) { (1, 200) } else { (5, 4000) };
    (1..=seeds).for_each(|seed| model::<64>(0x9e37_79b9_7f4a_7c15 >> seed, steps));
}
