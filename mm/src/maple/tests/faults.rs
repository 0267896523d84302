//! Shortage of memory: an operation fails before it changed anything, or not at all.

use super::super::{FANOUT, InsertError, Tree};
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::inject::{Then, fail_after};
use crate::slab::KBox;

fn boxed(value: u64) -> KBox<u64> {
    KBox::new(value, Gfp::KERNEL).expect("memory")
}

#[test]
fn what_is_reserved_is_enough_and_what_is_not_fails_whole() {
    let _machine = HostMachine::new(64 << 20, 1);
    let mut tree = Tree::new(Gfp::KERNEL).unwrap();
    let count = if cfg!(miri) { 40 } else { 3 * (FANOUT * FANOUT) as u64 };
    for at in 0..count {
        let start = at * 7919 % (count + 1) * 4;
        let value = boxed(start);
        // Each of its allocations fails once.
        let mut passed = 0;
        loop {
            let injection = fail_after(passed, Then::Fail);
            let done = tree.reserve(Gfp::KERNEL);
            let failed = injection.failed();
            drop(injection);
            tree.validate();
            if failed == 0 {
                assert_eq!(done, Ok(()));
                break;
            }
            assert!(done.is_err(), "an allocation failed");
            tree.free_reserve();
            passed += 1;
        }
        assert!(at > 0 || passed > 0, "the first entry needs a node");
        let injection = fail_after(0, Then::Fail);
        tree.insert(start, start + 3, value).expect("it was reserved");
        assert_eq!(injection.failed(), 0);
        drop(injection);
    }
    assert_eq!(tree.len(), count as usize);
    // Nothing but an insertion needs memory.
    let injection = fail_after(0, Then::Fail);
    for at in 0..count {
        assert!(tree.resize(
            at * 7919 % (count + 1) * 4,
            at * 7919 % (count + 1) * 4,
            at * 7919 % (count + 1) * 4 + 2
        ));
    }
    let mut dropped = 0;
    tree.remove_range(0, count, |entry| dropped += usize::from(*entry.value == entry.start));
    assert_eq!(tree.len() + dropped, count as usize);
    while let Some(entry) = tree.iter_back(u64::MAX).next().copied().and_then(|start| tree.remove(start)) {
        assert_eq!(*entry.value, entry.start);
    }
    assert_eq!(injection.failed(), 0);
    assert!(tree.is_empty());
}

#[test]
fn without_reserve_or_memory_the_value_comes_back() {
    let _machine = HostMachine::new(64 << 20, 1);
    let injection = fail_after(0, Then::Fail);
    assert!(Tree::<KBox<u64>>::new(Gfp::KERNEL).is_err());
    drop(injection);
    let mut tree = Tree::new(Gfp::KERNEL).unwrap();
    let value = boxed(7);
    let injection = fail_after(0, Then::Fail);
    let Err(InsertError::NoMemory(value)) = tree.insert(0, 1, value) else { panic!("there is no memory") };
    drop(injection);
    assert_eq!(*value, 7);
    tree.insert(0, 1, value).expect("memory");
    assert_eq!(tree.lookup(0).map(|entry| *entry.value), Some(7));
    *tree.lookup_mut(0).expect("an entry") = 8;
    assert_eq!(tree.remove(0).map(|entry| *entry.value), Some(8));
    assert!(tree.lookup_mut(0).is_none());
}
