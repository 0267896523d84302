//! The sweep over each operation by name, on a space that has mappings of every kind.

use super::*;

/// A space with mappings of every kind, locked and not, all of them touched: anonymous at [`A`], shared behind it, a
/// file mapped privately and shared at [`FILE`], a stack, a heap.
fn all_kinds() -> (KArc<Space>, KArc<Mapping>) {
    let space = used();
    let (mapping, file) = new_file(&[5; 8 * PAGE_SIZE], true);
    map_file(&space, &file, FILE, 4, RW, abi::MAP_PRIVATE | FIXED, 0).unwrap();
    map_file(&space, &file, FILE + 4 * PAGE, 4, RW, abi::MAP_SHARED | FIXED, 4 * PAGE).unwrap();
    for page in [1, 5] {
        store(&space, at(FILE + page * PAGE), 6).unwrap();
    }
    map(&space, LOCKED, 4, abi::PROT_READ, PRIVATE | FIXED).unwrap();
    space.mlock(at(LOCKED), 4 * PAGE, 0).unwrap();
    map(&space, STACK, 1, RW, PRIVATE | FIXED | abi::MAP_GROWSDOWN).unwrap();
    space.set_brk_start(at(HEAP));
    (space, mapping)
}

const FILE: u64 = A + (4 << 20);
const LOCKED: u64 = A + (8 << 20);
const STACK: u64 = A + (64 << 20);
const HEAP: u64 = A + (128 << 20);

type Operation = (&'static str, fn(&Space, &Mapping) -> Result<(), MmError>);

/// Sweeps over each, and says which one it was that failed.
fn sweep_all(operations: &[Operation]) {
    for (name, operation) in operations {
        std::println!("{name}");
        sweep(
            all_kinds,
            |(space, mapping)| {
                let done = operation(space, mapping);
                super::super::rmap::compare(&[space]);
                done
            },
            |(space, _)| space,
        );
    }
}

fn advise(space: &Space, advice: u32) -> Result<(), MmError> {
    space.madvise(at(A + PAGE), 2 * PAGE, advice)
}

#[test]
fn every_advice() {
    sweep_all(&[
        ("NORMAL", |space, _| advise(space, abi::MADV_NORMAL)),
        ("RANDOM", |space, _| advise(space, abi::MADV_RANDOM)),
        ("SEQUENTIAL", |space, _| advise(space, abi::MADV_SEQUENTIAL)),
        ("WILLNEED", |space, _| space.madvise(at(FILE), 2 * PAGE, abi::MADV_WILLNEED)),
        ("DONTNEED", |space, _| advise(space, abi::MADV_DONTNEED)),
        ("DONTNEED_LOCKED", |space, _| space.madvise(at(LOCKED + PAGE), 2 * PAGE, abi::MADV_DONTNEED_LOCKED)),
        ("FREE", |space, _| advise(space, abi::MADV_FREE)),
        ("REMOVE", |space, _| space.madvise(at(FILE + 5 * PAGE), 2 * PAGE, abi::MADV_REMOVE)),
        ("DONTFORK", |space, _| advise(space, abi::MADV_DONTFORK)),
        ("DOFORK", |space, _| {
            advise(space, abi::MADV_DONTFORK)?;
            space.madvise(at(A + PAGE), PAGE, abi::MADV_DOFORK)
        }),
        ("WIPEONFORK", |space, _| advise(space, abi::MADV_WIPEONFORK)),
        ("KEEPONFORK", |space, _| {
            advise(space, abi::MADV_WIPEONFORK)?;
            space.madvise(at(A + PAGE), PAGE, abi::MADV_KEEPONFORK)
        }),
        ("DONTDUMP", |space, _| advise(space, abi::MADV_DONTDUMP)),
        ("DODUMP", |space, _| {
            advise(space, abi::MADV_DONTDUMP)?;
            space.madvise(at(A + PAGE), PAGE, abi::MADV_DODUMP)
        }),
        ("POPULATE_READ", |space, _| space.madvise(at(FILE), 8 * PAGE, abi::MADV_POPULATE_READ)),
        ("POPULATE_WRITE", |space, _| space.madvise(at(FILE), 8 * PAGE, abi::MADV_POPULATE_WRITE)),
        ("COLD", |space, _| advise(space, abi::MADV_COLD)),
        ("PAGEOUT", |space, _| space.madvise(at(FILE), 8 * PAGE, abi::MADV_PAGEOUT)),
    ]);
}

#[test]
fn every_lock() {
    sweep_all(&[
        ("mlock", |space, _| space.mlock(at(FILE + PAGE), 6 * PAGE, 0)),
        ("mlock2", |space, _| space.mlock(at(FILE + PAGE), 6 * PAGE, abi::MLOCK_ONFAULT)),
        ("munlock", |space, _| space.munlock(at(LOCKED + PAGE), PAGE)),
        ("mlockall", |space, _| space.mlockall(1)),
        ("mlockall, future", |space, _| {
            space.mlockall(3)?;
            map(space, 0, 4, RW, PRIVATE).map(|_| ())
        }),
        ("munlockall", |space, _| {
            space.munlockall();
            Ok(())
        }),
        ("mprotect of locked memory", |space, _| space.mprotect(at(LOCKED + PAGE), 2 * PAGE, RW)),
        ("mincore", |space, _| space.mincore(at(FILE), &mut [0; 8])),
        ("msync", |space, _| space.msync(at(FILE), 8 * PAGE, abi::MS_SYNC)),
    ]);
}

#[test]
fn every_move() {
    const MAYMOVE: u32 = abi::MREMAP_MAYMOVE;
    const FAR: VirtAddr = at(1 << 40);
    let fixed = MAYMOVE | abi::MREMAP_FIXED;
    assert_eq!(fixed, 3);
    sweep_all(&[
        ("shrink", |space, _| space.mremap(at(A), 8 * PAGE, 3 * PAGE, 0, FAR).map(|_| ())),
        ("grow", |space, _| space.mremap(at(A), 8 * PAGE, 12 * PAGE, 0, FAR).map(|_| ())),
        ("grow, locked", |space, _| space.mremap(at(LOCKED), 4 * PAGE, 9 * PAGE, 0, FAR).map(|_| ())),
        ("move a part", |space, _| space.mremap(at(A + PAGE), PAGE, 3 * PAGE, MAYMOVE, FAR).map(|_| ())),
        ("move a file", |space, _| space.mremap(at(FILE), 4 * PAGE, 5 * PAGE, MAYMOVE, FAR).map(|_| ())),
        ("onto others", |space, _| {
            space.mremap(at(A), 2 * PAGE, 6 * PAGE, 3, at(FILE + 2 * PAGE)).map(|_| ())
        }),
        ("keep the old", |space, _| space.mremap(at(A + PAGE), 4 * PAGE, 4 * PAGE, 5, FAR).map(|_| ())),
        ("keep the old, locked", |space, _| space.mremap(at(LOCKED + PAGE), PAGE, PAGE, 5, FAR).map(|_| ())),
        ("a second time", |space, _| {
            space.mremap(at(FILE + 4 * PAGE), 0, 3 * PAGE, MAYMOVE, FAR).map(|_| ())
        }),
    ]);
}

#[test]
fn every_growth_and_file() {
    sweep_all(&[
        ("brk", |space, _| {
            let grown = space.brk(at(HEAP + 5 * PAGE)) == at(HEAP + 5 * PAGE);
            let shrunk = space.brk(at(HEAP + 2 * PAGE)) == at(HEAP + 2 * PAGE);
            if grown && shrunk { Ok(()) } else { Err(MmError::NoMemory) }
        }),
        ("the stack grows", |space, _| match store(space, at(STACK - 3 * PAGE), 1) {
            // Whatever it is that a stack does not grow for.
            Err(Outcome::Sigsegv { .. }) => Err(MmError::NoMemory),
            grown => oom(grown),
        }),
        ("write", |_, mapping| Ok(mapping.write(7 * PAGE + 5, &[1; 3 * PAGE_SIZE]).map(|_| ())?)),
        ("allocate", |_, mapping| Ok(mapping.allocate(6 * PAGE, 70 * PAGE)?)),
        ("truncate", |_, mapping| Ok(mapping.set_size(PAGE + 7)?)),
        ("extend", |_, mapping| Ok(mapping.set_size(1 << 30)?)),
        ("punch a hole", |_, mapping| Ok(mapping.punch_hole(PAGE + 7, 6 * PAGE)?)),
        ("a debugger writes", |space, _| space.write_memory(at(LOCKED + 5), &[1; 2 * PAGE_SIZE])),
        ("a debugger reads", |space, _| space.read_memory(at(FILE + 5), &mut [0; 2 * PAGE_SIZE])),
        ("exit", |space, _| space.fork().map(drop)),
        ("map over all", |space, _| map(space, A, 4096, RW, PRIVATE | FIXED).map(|_| ())),
        ("populate", |space, _| map(space, 0, 600, RW, PRIVATE | abi::MAP_POPULATE).map(|_| ())),
        ("unmap a middle", |space, _| space.munmap(at(FILE + PAGE), 6 * PAGE)),
        ("unmap all", |space, _| space.munmap(at(A), 64 << 20)),
    ]);
}
