//! Rules that a reader of the room would want to see at work.

use super::super::{Entry, FANOUT, Mark, Slab, Spare, StoreError, Value, XArray};
use super::things::{Things, Token};
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::rcu;
use crate::sync::Rank;

type Array = XArray<Token>;

fn value(number: u64) -> Entry<Token> {
    Entry::Value(Value::new(number).unwrap())
}

/// How many nodes it took.
fn insert(array: &Array, index: u64, order: u32, mut entry: Entry<Token>) -> usize {
    let mut spare = Spare::<Slab>::new();
    let mut nodes = 0;
    loop {
        let done = array.lock().insert(index, order, entry, &mut spare);
        match done {
            Ok(()) => return nodes,
            Err(StoreError::Nodes(count, back)) => {
                spare.fill(count, Gfp::KERNEL).unwrap();
                (nodes, entry) = (count, back);
            }
            Err(StoreError::Present(_)) => panic!("{index} is there"),
        }
    }
}

fn get(array: &Array, index: u64) -> Option<u64> {
    array.get(&rcu::read(), index).map(|entry| match entry {
        Entry::Item(token) => token.number(),
        Entry::Value(value) => value.get(),
    })
}

#[test]
fn the_tree_is_as_high_as_its_highest_index_needs() {
    let _machine = HostMachine::new(16 << 20, 1);
    let array = Array::new(Rank::PageIndex);
    assert_eq!(insert(&array, 0, 0, value(1)), 0, "index 0 alone is in the head");
    assert_eq!(insert(&array, 1, 0, value(2)), 1);
    assert_eq!(insert(&array, FANOUT as u64 - 1, 0, value(3)), 0);
    assert_eq!(insert(&array, FANOUT as u64, 0, value(4)), 2);
    assert_eq!(insert(&array, u64::MAX, 0, value(5)), 9 + 10);
    assert_eq!(get(&array, u64::MAX), Some(5));
    let erase = |index| array.lock().erase(index).is_some();
    assert!(erase(u64::MAX) && erase(64));
    assert_eq!(get(&array, 64), None);
    assert_eq!(get(&array, 63), Some(3));
    assert!(erase(1) && erase(63) && !erase(63));
    assert_eq!((get(&array, 0), get(&array, 1)), (Some(1), None));
    // In the head again.
    assert_eq!(insert(&array, 5, 0, value(6)), 1);
    assert!(erase(5) && erase(0) && array.is_empty());
}

#[test]
fn an_entry_of_an_order_is_found_by_each_of_its_indices() {
    let _machine = HostMachine::new(16 << 20, 1);
    let things = Things::new(8);
    let array = Array::new(Rank::PageIndex);
    for order in 0..14 {
        let first = 3 << order;
        let token = things.take(77).unwrap();
        insert(&array, first + (1 << order) - 1, order, Entry::Item(token));
        for index in [first, first + (1 << order) / 2, first + (1 << order) - 1] {
            assert_eq!(get(&array, index), Some(77), "order {order}, {index}");
            let mut locked = array.lock();
            let found = locked.next(index, index).map(|found| (found.index, found.order));
            assert_eq!(found, Some((first, order)));
            // A mark is the whole entry's.
            assert!(locked.set_mark(index, Mark::B));
            assert!(locked.has_mark(first, Mark::B) && !locked.has_mark(first, Mark::A));
        }
        assert_eq!((get(&array, first - 1), get(&array, first + (1 << order))), (None, None));
        let refused = array.lock().insert(first, 0, value(1), &mut Spare::new());
        assert_eq!(refused, Err(StoreError::Present(value(1))));
        assert!(array.lock().erase(first + (1 << order) - 1).is_some() && array.is_empty());
        assert!(things.used() == 0 && !array.is_any_marked(Mark::B));
    }
}

/// As khugepaged puts a large folio in the place of small ones.
#[test]
fn an_entry_takes_the_place_of_smaller_ones() {
    let _machine = HostMachine::new(16 << 20, 1);
    let things = Things::new(600);
    let array = Array::new(Rank::PageIndex);
    for index in 0..520 {
        insert(&array, index, 0, Entry::Item(things.take(index).unwrap()));
        array.lock().set_mark(index, Mark::A);
    }
    let mut spare = Spare::new();
    let mut gone = Vec::new();
    let token = things.take(1000).unwrap();
    let done = array
        .lock()
        .store(512 - 1, 9, Entry::Item(token), &mut spare, |old| gone.push(old.item().unwrap().number()));
    assert_eq!(done, Ok(()));
    assert!(gone.into_iter().eq(0..512) && things.used() == 9);
    assert_eq!(array.lock().validate(), (9, 520));
    assert_eq!((get(&array, 0), get(&array, 511), get(&array, 512)), (Some(1000), Some(1000), Some(512)));
    let marked = array.lock().next_marked(Mark::A, 0, u64::MAX).map(|found| found.index);
    assert_eq!(marked, Some(512), "the new entry has no marks");
}

/// As writeback does: each search begins by number, so what comes and goes between two is no matter.
#[test]
fn a_search_goes_on_after_the_lock_was_dropped() {
    let _machine = HostMachine::new(16 << 20, 1);
    let array = Array::new(Rank::PageIndex);
    for index in (0..4000).step_by(7) {
        insert(&array, index, 0, value(index));
        array.lock().set_mark(index, Mark::A);
    }
    let (mut from, mut seen) = (0, Vec::new());
    loop {
        let mut locked = array.lock();
        let Some(index) = locked.next_marked(Mark::A, from, u64::MAX).map(|found| found.index) else { break };
        locked.clear_mark(index, Mark::A);
        locked.set_mark(index, Mark::B);
        seen.push(index);
        from = index + 1;
        // What was here goes, and so do the nodes that it was in.
        if index > 0 {
            locked.erase(index - 7);
        }
    }
    assert!(seen.into_iter().eq((0..4000).step_by(7)));
    assert!(!array.is_any_marked(Mark::A) && array.is_any_marked(Mark::B));
    assert_eq!(array.lock().validate(), (1, 1));
}
