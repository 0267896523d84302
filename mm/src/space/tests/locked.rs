//! What is locked in memory is kept off the LRU lists, as long as a locked mapping shows it, and counted.

use super::*;
use crate::lru::LruList;
use crate::stat::{self, Item};

const A: u64 = 0x1000_0000;

/// Pages that are locked; with what is kept on no list they must agree.
fn locked() -> u64 {
    assert_eq!(crate::lru::validate(), Ok(()));
    assert_eq!(crate::page::validate(), Ok(()));
    assert_eq!(stat::read(Item::Unevictable), stat::read(Item::Mlock));
    stat::read(Item::Mlock)
}

#[test]
fn private_pages() {
    let _machine = Machine::new();
    let space = new_space();
    map(&space, A, 4, RW, PRIVATE | FIXED).unwrap();
    store(&space, at(A), 1).unwrap();
    assert_eq!(locked(), 0);
    space.mlock(at(A), 3 * PAGE, 0).unwrap();
    assert_eq!(locked(), 3, "one that was there, and two that are made");
    store(&space, at(A + 3 * PAGE), 1).unwrap();
    assert_eq!(locked(), 3, "beside the locked range");
    space.munlock(at(A + PAGE), PAGE).unwrap();
    assert_eq!(locked(), 2);
    space.munmap(at(A), PAGE).unwrap();
    assert_eq!(locked(), 1);
    space.madvise(at(A + 2 * PAGE), PAGE, abi::MADV_DONTNEED_LOCKED).unwrap();
    assert_eq!(locked(), 0);
    store(&space, at(A + 2 * PAGE), 1).unwrap();
    assert_eq!(locked(), 1, "a fault in a locked mapping");
    crate::lru::drain_all();
    assert_eq!(stat::read(LruList::InactiveAnon.item()), 2);
    drop(space);
    assert_eq!((locked(), stat::read(LruList::InactiveAnon.item())), (0, 0));
}

#[test]
fn on_fault() {
    let _machine = Machine::new();
    let space = new_space();
    map(&space, A, 2, RW, PRIVATE | FIXED).unwrap();
    space.mlock(at(A), 2 * PAGE, abi::MLOCK_ONFAULT).unwrap();
    assert_eq!(locked(), 0);
    load(&space, at(A)).unwrap();
    assert_eq!(locked(), 0, "the page of zeroes is nobody's");
    store(&space, at(A), 1).unwrap();
    assert_eq!(locked(), 1);
    space.munlockall();
    assert_eq!(locked(), 0);
    space.mlockall(1).unwrap();
    assert_eq!(locked(), 2);
    drop(space);
}

#[test]
fn a_file_of_two_locked_mappings() {
    let _machine = Machine::new();
    let (mapping, file) = new_file(&[7; 4 * PAGE_SIZE], true);
    let (one, two) = (new_space(), new_space());
    for space in [&one, &two] {
        map_file(space, &file, A, 4, RW, abi::MAP_SHARED | FIXED | abi::MAP_LOCKED, 0).unwrap();
    }
    assert_eq!(locked(), 4);
    one.munmap(at(A), 2 * PAGE).unwrap();
    assert_eq!(locked(), 4, "the other still locks them");
    two.munlock(at(A), 4 * PAGE).unwrap();
    assert_eq!(locked(), 2);
    mapping.set_size(3 * PAGE).unwrap();
    assert_eq!(locked(), 1, "what is cut off is gone");
    drop(one);
    assert_eq!(locked(), 0);
    crate::lru::drain_all();
    let listed = stat::read(Item::ActiveAnon) + stat::read(Item::InactiveAnon);
    assert_eq!(listed, 3, "the file's pages, which are still in the cache");
    drop((two, file, mapping));
}

#[test]
fn copies() {
    let _machine = Machine::new();
    let (mapping, file) = new_file(&[7; PAGE_SIZE], true);
    let space = new_space();
    map_file(&space, &file, A, 1, RW, abi::MAP_PRIVATE | FIXED, 0).unwrap();
    space.mlock(at(A), PAGE, abi::MLOCK_ONFAULT).unwrap();
    load(&space, at(A)).unwrap();
    assert_eq!(locked(), 1, "the file's page");
    store(&space, at(A), 1).unwrap();
    assert_eq!(locked(), 1, "its copy instead");
    let child = space.fork().unwrap();
    assert_eq!(locked(), 1);
    store(&child, at(A), 2).unwrap();
    assert_eq!(locked(), 1, "a child locks nothing");
    store(&space, at(A), 3).unwrap();
    let grandchild = space.fork().unwrap();
    drop(space);
    assert_eq!(locked(), 0, "who locked it is gone");
    drop((child, grandchild, file, mapping));
}

#[test]
fn a_file_read_again_and_again_becomes_active() {
    let _machine = Machine::new();
    let (mapping, file) = new_file(&[7; 3 * PAGE_SIZE], true);
    crate::lru::drain_all();
    let lists = || (stat::read(Item::InactiveAnon), stat::read(Item::ActiveAnon));
    assert_eq!(lists(), (3, 0));
    // Written once, which counts as use; read again.
    mapping.read(0, &mut [0; 2 * PAGE_SIZE]).unwrap();
    assert_eq!(lists(), (1, 2));
    // Used by way of a mapping.
    let space = new_space();
    map_file(&space, &file, A, 3, RW, abi::MAP_SHARED | FIXED, 0).unwrap();
    load(&space, at(A + 2 * PAGE)).unwrap();
    drop(space);
    assert_eq!(lists(), (0, 3));
    drop((file, mapping));
    assert_eq!(lists(), (0, 0));
}

#[test]
fn cold_pages_are_old_and_inactive() {
    let _machine = Machine::new();
    let (mapping, file) = new_file(&[7; 2 * PAGE_SIZE], true);
    mapping.read(0, &mut [0; 2 * PAGE_SIZE]).unwrap();
    let (space, other) = (new_space(), new_space());
    for space in [&space, &other] {
        map_file(space, &file, A, 2, RW, abi::MAP_SHARED | FIXED, 0).unwrap();
    }
    load(&space, at(A)).unwrap();
    other.munmap(at(A), PAGE).unwrap();
    load(&other, at(A + PAGE)).unwrap();
    crate::lru::drain_all();
    let lists = || (stat::read(Item::InactiveAnon), stat::read(Item::ActiveAnon));
    assert_eq!(lists(), (0, 2));
    space.madvise(at(A), 2 * PAGE, abi::MADV_COLD).unwrap();
    assert_eq!(lists(), (1, 1), "the page that another maps as well stays as it is");
    let young = |addr| match space.core().tables().lookup(addr) {
        AnyEntry::Pte(entry) => entry.is_young(),
        _ => panic!("no entry"),
    };
    assert_eq!([young(at(A)), young(at(A + PAGE))], [false, true]);
    assert_eq!(load(&space, at(A)), Ok(7));
    assert!(young(at(A)));
    assert_eq!(space.madvise(at(A + 2 * PAGE), PAGE, abi::MADV_COLD), Err(MmError::NoMemory));
    drop((space, other, file, mapping));
    assert_eq!(lists(), (0, 0));
}
