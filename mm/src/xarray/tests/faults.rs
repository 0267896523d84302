//! Shortage of memory: a change fails before it began, and nothing is lost.

use super::super::{Entry, Slab, Spare, StoreError, Value, XArray};
use super::Numbers;
use super::things::{Things, Token};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::inject::{Then, fail_after};
use crate::sync::Rank;

type Array = XArray<Token>;

/// Puts an entry in as an owner of an array does: what it takes is had with the lock dropped.
fn insert(array: &Array, index: u64, order: u32, token: Token) -> Result<(), (AllocError, Token)> {
    let mut spare = Spare::<Slab>::default();
    let mut entry = Entry::Item(token);
    loop {
        let done = array.lock().insert(index, order, entry, &mut spare);
        match done {
            Ok(()) => return Ok(()),
            Err(StoreError::Nodes(count, back)) => {
                entry = back;
                if let Err(error) = spare.fill(count, Gfp::KERNEL) {
                    return Err((error, entry.item().expect("an item")));
                }
            }
            Err(StoreError::Present(_)) => panic!("nothing is there"),
        }
    }
}

#[test]
fn each_allocation_fails_once_and_nothing_is_lost() {
    let _machine = HostMachine::new(64 << 20, 1);
    let things = Things::new(300);
    let array = Array::new(Rank::PageIndex);
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let mut failures = 0;
    let count = if cfg!(miri) { 10 } else { 200 };
    for number in 0..count {
        // Sparse, so that most take nodes on several levels.
        let order = (number % 9) as u32;
        let index = numbers.next() >> numbers.below(40) & !1023;
        if array.lock().next(index, index | 1023).is_some() {
            continue;
        }
        let mut token = things.take(index).unwrap();
        let mut passed = 0;
        loop {
            let before = array.lock().validate();
            let injection = fail_after(passed, Then::Fail);
            let done = insert(&array, index, order, token);
            let failed = injection.failed();
            drop(injection);
            let after = array.lock().validate();
            match done {
                Ok(()) => {
                    assert_eq!((failed, after.0), (0, before.0 + 1));
                    break;
                }
                Err((AllocError, back)) => {
                    assert!(failed > 0 && after == before && back.number() == index);
                    token = back;
                }
            }
            passed += 1;
        }
        failures += passed;
    }
    assert!(failures > count / 2, "only {failures} failed");
    // What is in it comes out without memory.
    let injection = fail_after(0, Then::Fail);
    let mut from = 0;
    let mut left = things.used();
    loop {
        let mut locked = array.lock();
        let Some((index, order)) = locked.next(from, u64::MAX).map(|found| (found.index, found.order)) else {
            break;
        };
        let Some(Entry::Item(token)) = locked.erase(index) else { panic!("an item") };
        assert_eq!(token.number() >> order, index >> order);
        drop(token);
        left -= 1;
        assert_eq!(things.used(), left);
        from = index;
    }
    assert_eq!((left, injection.failed()), (0, 0));
    drop(injection);
    assert!(array.is_empty());
}

#[test]
fn a_replacement_without_memory_leaves_what_was_there() {
    let _machine = HostMachine::new(16 << 20, 1);
    let things = Things::new(4);
    let array = Array::new(Rank::PageIndex);
    insert(&array, 0, 0, things.take(1).unwrap()).unwrap_or_else(|_| panic!("no memory"));
    let mut spare = Spare::new();
    let value = Entry::Value(Value::new(7).unwrap());
    // The entry of index 0 has to go, and it takes a node to hold four of them.
    let Err(StoreError::Nodes(1, Entry::Value(value))) =
        array.lock().store(2, 2, value, &mut spare, |_| panic!("nothing goes"))
    else {
        panic!("there is no node for it");
    };
    assert_eq!(array.lock().get(0).and_then(Entry::item).map(|thing| thing.number()), Some(1));
    spare.fill(1, Gfp::KERNEL).unwrap();
    let mut gone = 0;
    let done = array.lock().store(2, 2, Entry::Value(value), &mut spare, |_| gone += 1);
    assert!(done.is_ok() && gone == 1 && things.used() == 0);
    assert_eq!(array.lock().validate(), (1, 4));
}
