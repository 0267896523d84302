//! Errnos and effects of `mmap` and its family, call by call.

use super::*;
use crate::addr::Order;
use crate::filemap::{FileError, PageQuota};
use crate::space::STACK_GUARD_GAP;

const A: u64 = 0x10_0000;

#[test]
fn mmap_refuses_what_linux_refuses() {
    let _machine = Machine::new();
    let space = new_space();
    let (_, read_only) = new_file(&[1; PAGE_SIZE], false);
    let (_, file) = new_file(&[1; PAGE_SIZE], true);
    assert_eq!(map(&space, 0, 0, RW, PRIVATE), Err(MmError::Invalid));
    assert_eq!(map(&space, A + 1, 1, RW, PRIVATE | FIXED), Err(MmError::Invalid));
    assert_eq!(
        map(&space, 0, 1, RW, abi::MAP_ANONYMOUS),
        Err(MmError::Invalid),
        "neither shared nor private"
    );
    assert_eq!(map(&space, 0, 1, RW, abi::MAP_SHARED_VALIDATE | abi::MAP_ANONYMOUS), Err(MmError::Invalid));
    assert_eq!(map(&space, 0, 1 << 36, RW, PRIVATE), Err(MmError::NoMemory));
    assert_eq!(map(&space, 0, u64::MAX / PAGE, RW, PRIVATE), Err(MmError::NoMemory));
    assert_eq!(map(&space, 0, 1, RW, PRIVATE | abi::MAP_HUGETLB), Err(MmError::NoMemory));
    assert_eq!(map(&space, 4096, 1, RW, PRIVATE | FIXED), Err(MmError::Permission));
    assert_eq!(map(&space, 4096, 1, RW, PRIVATE), Ok(at(65536)), "a hint is raised");
    assert_eq!(map_file(&space, &read_only, 0, 1, RW, abi::MAP_SHARED, 0), Err(MmError::Access));
    assert!(map_file(&space, &read_only, 0, 1, RW, abi::MAP_PRIVATE, 0).is_ok());
    let shared = map_file(&space, &read_only, 0, 1, abi::PROT_READ, abi::MAP_SHARED, 0).unwrap();
    assert_eq!(space.mprotect(shared, PAGE, RW), Err(MmError::Access));
    assert_eq!(map_file(&space, &file, 0, 1, RW, abi::MAP_SHARED, 1), Err(MmError::Invalid));
    let unknown = abi::MAP_SHARED_VALIDATE | abi::MAP_SYNC;
    assert_eq!(map_file(&space, &file, 0, 1, RW, unknown, 0), Err(MmError::NotSupported));
    assert!(map_file(&space, &file, 0, 1, RW, abi::MAP_SHARED | abi::MAP_SYNC, 0).is_ok(), "ignored");
    let last = (i64::MAX as u64) & !(PAGE - 1);
    assert_eq!(map_file(&space, &file, 0, 2, RW, abi::MAP_SHARED, last), Err(MmError::Overflow));
    assert_eq!(
        map_file(&space, &file, 0, 1, RW, abi::MAP_PRIVATE | abi::MAP_GROWSDOWN, 0),
        Err(MmError::Invalid)
    );
    map(&space, A, 2, RW, PRIVATE | FIXED).unwrap();
    let no_replace = PRIVATE | abi::MAP_FIXED_NOREPLACE;
    assert_eq!(map(&space, A + PAGE, 2, RW, no_replace), Err(MmError::Exists));
    assert_eq!(map(&space, A + 2 * PAGE, 2, RW, no_replace), Ok(at(A + 2 * PAGE)));
}

#[test]
fn a_hint_is_followed_where_there_is_just_room_enough() {
    let _machine = Machine::new();
    let space = new_space();
    let huge = Order::HUGE.pages() as u64;
    map(&space, A, 1, RW, PRIVATE | FIXED).unwrap();
    map(&space, A + (huge + 1) * PAGE, 1, RW, PRIVATE | FIXED).unwrap();
    assert_eq!(
        map(&space, A + PAGE, huge, RW, PRIVATE),
        Ok(at(A + PAGE)),
        "room for just as much as is asked for"
    );
}

#[test]
fn limits_hold() {
    let _machine = Machine::new();
    let space = new_space();
    space.set_limits(Limits {
        address_space: 8 * PAGE,
        data: 4 * PAGE,
        memlock: 2 * PAGE,
        ..Limits::default()
    });
    assert_eq!(map(&space, 0, 9, abi::PROT_READ, PRIVATE), Err(MmError::NoMemory));
    assert_eq!(map(&space, 0, 5, RW, PRIVATE), Err(MmError::NoMemory));
    let addr = map(&space, 0, 4, RW, PRIVATE).unwrap();
    assert_eq!(space.mlock(addr, 3 * PAGE, 0), Err(MmError::NoMemory));
    space.mlock(addr, 2 * PAGE, 0).unwrap();
    space.mlock(addr, PAGE, 0).unwrap();
    assert_eq!((space.stat().locked_vm, space.stat().rss.anon), (2, 2));
    assert_eq!(map(&space, 0, 1, abi::PROT_READ, PRIVATE | abi::MAP_LOCKED), Err(MmError::Again));
    space.set_limits(Limits { memlock: 0, ..Limits::default() });
    assert_eq!(space.mlock(addr, PAGE, 0), Err(MmError::Permission));
    space.munlock(addr, 4 * PAGE).unwrap();
    assert_eq!(space.stat().locked_vm, 0);
}

#[test]
fn placement_is_top_down_and_aligned_for_huge_pages() {
    let _machine = Machine::new();
    let space = new_space();
    let base = space.stat().mmap_base;
    assert_eq!(base, TASK_SIZE - (128 << 20), "8 MiB of stack and its gap are less than the least gap");
    let a = map(&space, 0, 1, RW, PRIVATE).unwrap();
    let b = map(&space, 0, 2, RW, PRIVATE).unwrap();
    assert_eq!((a, b), (base - PAGE, base - 3 * PAGE));
    assert_eq!(maps(&space).len(), 1, "neighbours become one");
    let huge = map(&space, 0, 512, RW, PRIVATE).unwrap();
    assert!(huge.is_aligned(2 << 20));
    let stack = map(&space, A + (4 << 20), 1, RW, PRIVATE | FIXED | abi::MAP_GROWSDOWN).unwrap();
    let below = stack.get() - STACK_GUARD_GAP;
    assert_ne!(map(&space, below, 1, RW, PRIVATE), Ok(at(below)), "a hint in a guard gap");
    assert_eq!(map(&space, below - PAGE, 1, RW, PRIVATE), Ok(at(below - PAGE)));
}

#[test]
fn as_many_mappings_as_linux_allows() {
    let _machine = Machine::new();
    let space = new_space();
    for page in 0..crate::space::MAX_MAP_COUNT as u64 + 1 {
        map(&space, A + 2 * page * PAGE, 1, abi::PROT_READ, PRIVATE | FIXED | abi::MAP_NORESERVE).unwrap();
    }
    assert_eq!(map(&space, 0, 1, RW, PRIVATE), Err(MmError::NoMemory));
    assert_eq!(space.mprotect(at(A), PAGE, RW), Ok(()), "no more mappings than before");
}

#[test]
fn mremap_moves_pages_and_refuses_nonsense() {
    let _machine = Machine::new();
    let space = new_space();
    map(&space, A, 4, RW, PRIVATE | FIXED).unwrap();
    for page in 0..4 {
        store(&space, at(A + page * PAGE), page as u8 + 1).unwrap();
    }
    let may_move = abi::MREMAP_MAYMOVE;
    let zero = at(0);
    assert_eq!(space.mremap(at(A), PAGE, 0, may_move, zero), Err(MmError::Invalid));
    assert_eq!(space.mremap(at(A + 1), PAGE, PAGE, may_move, zero), Err(MmError::Invalid));
    assert_eq!(space.mremap(at(A), PAGE, PAGE, abi::MREMAP_FIXED, zero), Err(MmError::Invalid));
    assert_eq!(
        space.mremap(at(A), 0, PAGE, may_move, zero),
        Err(MmError::Invalid),
        "private memory is not doubled"
    );
    assert_eq!(space.mremap(at(A + 4 * PAGE), PAGE, PAGE, may_move, zero), Err(MmError::Fault));
    assert_eq!(space.mremap(at(A), 5 * PAGE, 6 * PAGE, may_move, zero), Err(MmError::Fault));
    map(&space, A + 4 * PAGE, 1, abi::PROT_READ, PRIVATE | FIXED).unwrap();
    assert_eq!(space.mremap(at(A), 4 * PAGE, 5 * PAGE, 0, zero), Err(MmError::NoMemory));
    let moved = space.mremap(at(A), 4 * PAGE, 5 * PAGE, may_move, zero).unwrap();
    assert_eq!(load(&space, moved + 3 * PAGE), Ok(4));
    assert_eq!(load(&space, moved + 4 * PAGE), Ok(0));
    assert_eq!(load(&space, at(A)), Err(maperr(at(A))));
    let shrunk = space.mremap(moved, 5 * PAGE, PAGE, 0, zero);
    assert_eq!(shrunk, Ok(moved));
    assert_eq!(space.stat().total_vm, 2);
    let shared = map(&space, 0, 1, RW, SHARED).unwrap();
    store(&space, shared, 7).unwrap();
    let double = space.mremap(shared, 0, PAGE, may_move, zero).unwrap();
    assert_ne!(double, shared);
    assert_eq!(load(&space, double), Ok(7));
    space.validate();
}

#[test]
fn advice_has_its_effect() {
    let _machine = Machine::new();
    let space = new_space();
    let (mapping, file) = new_file(&[3; 4 * PAGE_SIZE], true);
    let private = map(&space, 0, 4, RW, PRIVATE).unwrap();
    let shared = map_file(&space, &file, 0, 4, RW, abi::MAP_SHARED, 0).unwrap();
    let length = 4 * PAGE;
    space.madvise(private, length, abi::MADV_POPULATE_WRITE).unwrap();
    assert_eq!(space.stat().rss.anon, 4);
    store(&space, private, 5).unwrap();
    space.madvise(private, length, abi::MADV_DONTNEED).unwrap();
    assert_eq!((load(&space, private), space.stat().rss.anon), (Ok(0), 0));
    assert_eq!(space.madvise(private, length, 9999), Err(MmError::Invalid));
    assert_eq!(space.madvise(private + 1, length, abi::MADV_NORMAL), Err(MmError::Invalid));
    assert_eq!(space.madvise(shared, length, abi::MADV_FREE), Err(MmError::Invalid));
    assert_eq!(space.madvise(shared, length, abi::MADV_WIPEONFORK), Err(MmError::Invalid));
    assert_eq!(space.madvise(private, length, abi::MADV_REMOVE), Err(MmError::Invalid));
    space.madvise(shared, 2 * PAGE, abi::MADV_REMOVE).unwrap();
    assert_eq!((load(&space, shared), load(&space, shared + 2 * PAGE)), (Ok(0), Ok(3)));
    assert_eq!(mapping.size(), length);
    space.mlock(private, PAGE, 0).unwrap();
    assert_eq!(space.madvise(private, length, abi::MADV_DONTNEED), Err(MmError::Invalid));
    space.madvise(private, PAGE, abi::MADV_DONTNEED_LOCKED).unwrap();
    assert_eq!(space.msync(private, PAGE, abi::MS_INVALIDATE), Err(MmError::Busy));
    assert_eq!(space.msync(private, PAGE, abi::MS_SYNC | abi::MS_ASYNC), Err(MmError::Invalid));
    assert_eq!(space.msync(at(A), PAGE, abi::MS_SYNC), Err(MmError::NoMemory));
    let read_only = map(&space, 0, 1, abi::PROT_READ, PRIVATE).unwrap();
    assert_eq!(space.madvise(read_only, PAGE, abi::MADV_POPULATE_WRITE), Err(MmError::Invalid));
    space.validate();
}

#[test]
fn mincore_sees_the_cache() {
    let _machine = Machine::new();
    let space = new_space();
    let (mapping, file) = new_file(&[3; PAGE_SIZE], true);
    mapping.set_size(3 * PAGE).unwrap();
    let addr = map_file(&space, &file, A, 3, RW, abi::MAP_PRIVATE | FIXED, 0).unwrap();
    map(&space, A + 3 * PAGE, 2, RW, PRIVATE | FIXED).unwrap();
    store(&space, at(A + 4 * PAGE), 1).unwrap();
    let mut seen = [9; 5];
    space.mincore(addr, &mut seen).unwrap();
    assert_eq!(seen, [1, 0, 0, 0, 1]);
    assert_eq!(space.mincore(addr, &mut [0; 6]), Err(MmError::NoMemory));
    let (mapping, of_others) = new_file(&[], false);
    mapping.set_size(3 * PAGE).unwrap();
    let addr = map_file(&space, &of_others, 0, 3, abi::PROT_READ, abi::MAP_PRIVATE, 0).unwrap();
    space.mincore(addr, &mut seen[..3]).unwrap();
    assert_eq!(seen[..3], [1, 1, 1], "nothing is told of a file that cannot be written");
}

#[test]
fn mincore_tells_every_page_by_itself() {
    const PAGES: usize = 1100;
    let _machine = Machine::new();
    let space = new_space();
    // Three tables, in part: runs and holes of many lengths, on borders of four and off them; read and written.
    let base = (2 << 20) - 37 * PAGE;
    map(&space, base, PAGES as u64, RW, PRIVATE | FIXED).unwrap();
    let (mut wanted, mut page, mut length) = ([0; PAGES], 3, 1);
    while page + length <= PAGES {
        for (there, written) in (page..page + length).zip([true, true, true, false].into_iter().cycle()) {
            let to = at(base + there as u64 * PAGE);
            if written || length % 2 == 0 {
                store(&space, to, 7).unwrap();
            } else {
                assert_eq!(load(&space, to), Ok(0));
            }
            wanted[there] = 1;
        }
        (page, length) = (page + 2 * length - length % 3, length + 1);
    }
    for (first, count) in
        [(0, PAGES), (1, 9), (3, 1), (4, 600), (37, 512), (38, 511), (500, 600), (PAGES - 1, 1)]
    {
        let mut seen = [9; PAGES];
        space.mincore(at(base + first as u64 * PAGE), &mut seen[..count]).unwrap();
        assert_eq!(seen[..count], wanted[first..first + count], "{count} from {first}");
        assert!(seen[count..].iter().all(|byte| *byte == 9));
    }
}

#[test]
fn pages_beyond_the_end_go_with_truncation_and_with_failure() {
    let _machine = Machine::new();
    let quota = KArc::new(PageQuota::new(4), Gfp::KERNEL).unwrap();
    let mapping = Mapping::new_memory(0, Some(quota.clone())).unwrap();
    mapping.allocate(0, 3 * PAGE).unwrap();
    assert_eq!((mapping.pages(), quota.used()), (3, 3));
    assert_eq!(mapping.get(0).map(|_| ()), Err(FileError::PastEnd));
    assert_eq!(mapping.pages(), 3, "a page that was there before stays");
    mapping.set_size(0).unwrap();
    assert_eq!((mapping.pages(), quota.used()), (0, 0));
    // What was there, and what was written meanwhile, outlives a failure.
    mapping.write(PAGE, &[1]).unwrap();
    assert_eq!(mapping.allocate(0, 5 * PAGE), Err(FileError::NoSpace));
    assert_eq!((mapping.pages(), quota.used()), (1, 1));
    let mut bytes = [0; 2];
    mapping.read(PAGE - 1, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 1]);
    // Growing keeps them.
    mapping.allocate(2 * PAGE, 3 * PAGE).unwrap();
    mapping.set_size(3 * PAGE).unwrap();
    assert_eq!(mapping.pages(), 2);
}

#[test]
fn the_kernel_writes_where_the_program_may_not() {
    let _machine = Machine::new();
    let space = new_space();
    let (mapping, file) = new_file(&[3; PAGE_SIZE], true);
    let addr = map_file(&space, &file, 0, 1, abi::PROT_READ, abi::MAP_PRIVATE, 0).unwrap();
    assert_eq!(load(&space, addr), Ok(3));
    space.write_memory(addr + 1, &[8, 9]).unwrap();
    let mut bytes = [0; 4];
    space.read_memory(addr, &mut bytes).unwrap();
    assert_eq!(bytes, [3, 8, 9, 3]);
    mapping.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [3; 4], "a copy, not the file");
    assert_eq!(store(&space, addr, 1), Err(accerr(addr)));
    assert_eq!(space.write_memory(at(A), &[1]), Err(MmError::Fault));
    space.validate();
}

#[test]
fn a_file_knows_who_may_write_to_it() {
    let _machine = Machine::new();
    let space = new_space();
    let (mapping, file) = new_file(&[3; 2 * PAGE_SIZE], true);
    map_file(&space, &file, 0, 1, RW, abi::MAP_PRIVATE, 0).unwrap();
    assert!(mapping.is_mapped());
    let addr = map_file(&space, &file, 0, 2, abi::PROT_READ, abi::MAP_SHARED, 0).unwrap();
    assert!(!mapping.seal(), "mprotect may give the right");
    space.munmap(addr, PAGE).unwrap();
    assert!(!mapping.seal());
    space.munmap(addr, 2 * PAGE).unwrap();
    assert!(mapping.seal());
    // Whoever looked at the file's seals before it was sealed comes too late.
    assert_eq!(map_file(&space, &file, 0, 1, RW, abi::MAP_SHARED, 0), Err(MmError::Permission));
    map_file(&space, &file, 0, 1, RW, abi::MAP_PRIVATE, 0).unwrap();
    space.validate();
}

#[test]
fn the_kernel_reads_and_writes_where_the_program_may_do_nothing() {
    let _machine = Machine::new();
    let space = new_space();
    // A page that was touched first, one of the file, one of zeroes and one that is not there.
    let (mapping, file) = new_file(&[3; PAGE_SIZE], true);
    map(&space, A, 4, RW, PRIVATE | FIXED).unwrap();
    map_file(&space, &file, A + PAGE, 1, RW, abi::MAP_PRIVATE | FIXED, 0).unwrap();
    store(&space, at(A), 1).unwrap();
    assert_eq!(load(&space, at(A + PAGE)), Ok(3));
    assert_eq!(load(&space, at(A + 2 * PAGE)), Ok(0));
    space.mprotect(at(A), 4 * PAGE, abi::PROT_NONE).unwrap();
    for page in 0..4 {
        let addr = at(A + page * PAGE);
        let mut byte = [9];
        space.read_memory(addr, &mut byte).unwrap();
        assert_eq!(byte, [[1, 3, 0, 0][page as usize]]);
        space.write_memory(addr + 1, &[7]).unwrap();
        space.read_memory(addr + 1, &mut byte).unwrap();
        assert_eq!(byte, [7]);
        assert_eq!(load(&space, addr), Err(accerr(addr)));
    }
    let mut byte = [9];
    mapping.read(1, &mut byte).unwrap();
    assert_eq!(byte, [3], "a copy, not the file");
    space.validate();
}

#[test]
fn a_part_at_an_end_goes_without_memory_and_at_the_limit() {
    use crate::inject::{Then, fail_after};
    let _machine = Machine::new();
    let space = new_space();
    let base = (2 << 20) - 4 * PAGE;
    map(&space, base, 8, RW, PRIVATE | FIXED).unwrap();
    (0..8).for_each(|page| store(&space, at(base + page * PAGE), page as u8).unwrap());
    space.mlock(at(base), 8 * PAGE, 0).unwrap();
    {
        let _injection = fail_after(0, Then::Fail);
        space.munmap(at(base), PAGE).unwrap();
        space.munmap(at(base + 5 * PAGE), 3 * PAGE).unwrap();
    }
    assert_eq!(maps(&space), [(base + PAGE, 4, "rw-p".into())]);
    assert_eq!((space.stat().locked_vm, space.stat().rss.anon, space.stat().total_vm), (4, 4, 4));
    (1..5).for_each(|page| assert_eq!(load(&space, at(base + page * PAGE)), Ok(page as u8)));
    assert_eq!(load(&space, at(base)), Err(maperr(at(base))));
    space.validate();
}
