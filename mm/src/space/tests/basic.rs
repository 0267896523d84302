//! One operation at a time.

use super::*;

const A: u64 = 0x10_0000;

#[test]
fn untouched_memory_is_zero_and_keeps_what_is_written() {
    let _machine = Machine::new();
    let space = new_space();
    let addr = map(&space, 0, 4, RW, PRIVATE).unwrap();
    assert_eq!(load(&space, addr), Ok(0));
    assert_eq!(space.stat().rss.anon, 0, "the page of zeroes is nobody's");
    store(&space, addr, 1).unwrap();
    store(&space, addr + PAGE, 2).unwrap();
    assert_eq!((load(&space, addr), load(&space, addr + PAGE)), (Ok(1), Ok(2)));
    assert_eq!(load(&space, addr + 2 * PAGE), Ok(0));
    assert_eq!(space.stat().rss.anon, 2);
    assert_eq!(space.stat().total_vm, 4);
    assert_eq!(super::super::committed_pages(), 4);
}

#[test]
fn signals_say_why() {
    let _machine = Machine::new();
    let space = new_space();
    let addr = map(&space, A, 2, abi::PROT_READ, PRIVATE | FIXED).unwrap();
    assert_eq!(load(&space, at(0)), Err(maperr(at(0))));
    assert_eq!(store(&space, addr + 5, 1), Err(accerr(addr + 5)));
    assert_eq!(fetch(&space, addr), Err(accerr(addr)));
    assert_eq!(load(&space, addr + 2 * PAGE), Err(maperr(addr + 2 * PAGE)));
    assert_eq!(load(&space, TASK_SIZE), Err(maperr(TASK_SIZE)));
    let none = map(&space, 0, 1, 0, PRIVATE).unwrap();
    assert_eq!(load(&space, none), Err(accerr(none)));
}

#[test]
fn unmapping_splits_and_frees() {
    let _machine = Machine::new();
    let space = new_space();
    map(&space, A, 5, RW, PRIVATE | FIXED).unwrap();
    for page in 0..5 {
        store(&space, at(A + page * PAGE), page as u8).unwrap();
    }
    space.munmap(at(A + PAGE), PAGE).unwrap();
    space.munmap(at(A + 3 * PAGE), PAGE).unwrap();
    let rw = |start, pages| (A + start * PAGE, pages, "rw-p".into());
    assert_eq!(maps(&space), [rw(0, 1), rw(2, 1), rw(4, 1)]);
    assert_eq!(space.stat().rss.anon, 3);
    assert_eq!(load(&space, at(A + PAGE)), Err(maperr(at(A + PAGE))));
    assert_eq!(load(&space, at(A + 4 * PAGE)), Ok(4));
    map(&space, A + PAGE, 1, RW, PRIVATE | FIXED).unwrap();
    assert_eq!(maps(&space), [rw(0, 3), rw(4, 1)], "the hole's neighbours take it over");
    assert_eq!(load(&space, at(A + PAGE)), Ok(0));
    space.munmap(at(A), 5 * PAGE).unwrap();
    assert_eq!((space.stat().total_vm, space.stat().table_bytes), (0, 0));
}

#[test]
fn fork_copies_on_write() {
    let _machine = Machine::new();
    let parent = new_space();
    let addr = map(&parent, 0, 3, RW, PRIVATE).unwrap();
    store(&parent, addr, 1).unwrap();
    store(&parent, addr + PAGE, 2).unwrap();
    let child = parent.fork().unwrap();
    assert_eq!(child.stat().rss.anon, 2);
    store(&parent, addr, 10).unwrap();
    store(&child, addr + PAGE, 20).unwrap();
    store(&child, addr + 2 * PAGE, 30).unwrap();
    assert_eq!((load(&parent, addr), load(&child, addr)), (Ok(10), Ok(1)));
    assert_eq!((load(&parent, addr + PAGE), load(&child, addr + PAGE)), (Ok(2), Ok(20)));
    assert_eq!((load(&parent, addr + 2 * PAGE), load(&child, addr + 2 * PAGE)), (Ok(0), Ok(30)));
    drop(parent);
    let before = free_now();
    store(&child, addr, 11).unwrap();
    assert_eq!(free_now(), before, "a page that nobody else has is not copied");
    assert_eq!(load(&child, addr), Ok(11));
}

#[test]
fn rights_change_and_mappings_merge_again() {
    let _machine = Machine::new();
    let space = new_space();
    map(&space, A, 3, RW, PRIVATE | FIXED).unwrap();
    for page in 0..3 {
        store(&space, at(A + page * PAGE), 7).unwrap();
    }
    space.mprotect(at(A + PAGE), PAGE, abi::PROT_READ).unwrap();
    assert_eq!(maps(&space).len(), 3);
    assert_eq!(store(&space, at(A + PAGE), 8), Err(accerr(at(A + PAGE))));
    store(&space, at(A), 8).unwrap();
    space.mprotect(at(A + PAGE), PAGE, RW).unwrap();
    assert_eq!(maps(&space), [(A, 3, "rw-p".into())]);
    let AnyEntry::Pte(entry) = space.core().tables().lookup(at(A + PAGE)) else { panic!() };
    assert!(entry.is_writable(), "no fault for a page of its own");
    space.mprotect(at(A), 3 * PAGE, 0).unwrap();
    assert_eq!(load(&space, at(A)), Err(accerr(at(A))));
    space.mprotect(at(A), 3 * PAGE, abi::PROT_READ).unwrap();
    assert_eq!(load(&space, at(A)), Ok(8));
    assert_eq!(space.mprotect(at(A), 4 * PAGE, RW), Err(MmError::NoMemory));
    assert_eq!(space.mprotect(at(A + 1), PAGE, RW), Err(MmError::Invalid));
}

#[test]
fn private_file_memory_is_copied_and_shared_is_not() {
    let _machine = Machine::new();
    let (mapping, file) = new_file(&[5; 3 * PAGE_SIZE], true);
    let space = new_space();
    let private = map_file(&space, &file, 0, 3, RW, abi::MAP_PRIVATE, 0).unwrap();
    let shared = map_file(&space, &file, 0, 2, RW, abi::MAP_SHARED, PAGE).unwrap();
    assert_eq!(load(&space, private), Ok(5));
    assert_eq!(space.stat().rss.shmem, 3, "the pages around come along");
    store(&space, private, 6).unwrap();
    store(&space, private + 2 * PAGE, 6).unwrap();
    store(&space, shared, 9).unwrap();
    assert_eq!(load(&space, private + PAGE), Ok(9), "not yet its own");
    let mut bytes = [0; 2];
    mapping.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [5, 5]);
    mapping.read(PAGE, &mut bytes).unwrap();
    assert_eq!(bytes, [9, 5]);
    assert_eq!(space.stat().rss.anon, 2);
    drop(space);
    drop(file);
    assert!(!mapping.is_mapped());
}

#[test]
fn past_the_end_of_a_file_is_sigbus() {
    let _machine = Machine::new();
    let (mapping, file) = new_file(&[5; 3 * PAGE_SIZE], true);
    let space = new_space();
    let addr = map_file(&space, &file, 0, 4, RW, abi::MAP_SHARED, 0).unwrap();
    assert_eq!(load(&space, addr + 2 * PAGE), Ok(5));
    assert_eq!(load(&space, addr + 3 * PAGE), Err(sigbus(addr + 3 * PAGE)));
    mapping.set_size(PAGE + 1).unwrap();
    assert_eq!(load(&space, addr + 2 * PAGE), Err(sigbus(addr + 2 * PAGE)));
    assert_eq!((load(&space, addr + PAGE), load(&space, addr + PAGE + 1)), (Ok(5), Ok(0)));
    assert_eq!(mapping.pages(), 2);
}

#[test]
fn shared_memory_is_one_across_fork() {
    let _machine = Machine::new();
    let parent = new_space();
    let addr = map(&parent, 0, 2, RW, SHARED).unwrap();
    let child = parent.fork().unwrap();
    store(&child, addr, 4).unwrap();
    assert_eq!(load(&parent, addr), Ok(4));
    store(&parent, addr + PAGE, 5).unwrap();
    assert_eq!(load(&child, addr + PAGE), Ok(5));
    assert_eq!((parent.stat().rss.shmem, parent.stat().rss.anon), (2, 0));
}

#[test]
fn the_heap_grows_and_shrinks() {
    let _machine = Machine::new();
    let space = new_space();
    space.set_brk_start(at(A + 10));
    let start = at(A + PAGE);
    assert_eq!(space.brk(at(0)), start);
    assert_eq!(space.brk(start + 3 * PAGE + 5), start + 3 * PAGE + 5);
    store(&space, start + 3 * PAGE, 1).unwrap();
    assert_eq!(maps(&space), [(start.get(), 4, "rw-p".into())]);
    assert_eq!(space.brk(start + PAGE), start + PAGE);
    assert_eq!(load(&space, start + PAGE), Err(maperr(start + PAGE)));
    assert_eq!(space.brk(start - 1), start + PAGE, "not below its start");
    space.set_limits(Limits { data: 4 * PAGE, ..Limits::default() });
    assert_eq!(space.brk(start + 5 * PAGE), start + PAGE);
}

#[test]
fn a_stack_grows_to_its_limit() {
    let _machine = Machine::new();
    let space = new_space();
    let top = space.setup_stack(100, crate::space::StackRights::Data).unwrap();
    assert_eq!(maps(&space)[0].1, 33, "one page of arguments and 128 KiB");
    store(&space, top - (1 << 20), 3).unwrap();
    assert_eq!(space.stat().stack_vm, 256);
    let beyond = top - (8 << 20) - 1;
    assert_eq!(store(&space, beyond, 3), Err(maperr(beyond)));
    space.write_memory(top - 10, b"0123456789").unwrap();
    assert_eq!(load(&space, top - 1), Ok(b'9'));
    // Something mapped below keeps the stack at a distance.
    let low = top - (2 << 20);
    map(&space, low.get(), 1, RW, PRIVATE | FIXED).unwrap();
    assert_eq!(store(&space, low + 255 * PAGE, 1), Err(maperr(low + 255 * PAGE)));
    store(&space, low + 257 * PAGE, 1).unwrap();
}
