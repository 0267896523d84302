//! Every operation with its n-th allocation failing: it says so, and nothing is lost.

mod every;

use super::*;
use crate::inject::{Then, fail_after};
use crate::space::StackRights;

const A: u64 = (2 << 20) - 4 * PAGE;

/// Runs `operation` on what `prepare` made, again and again with one more allocation allowed, until none fails.
fn sweep<T>(
    prepare: impl Fn() -> T,
    operation: impl Fn(&T) -> Result<(), MmError>,
    spaces: impl Fn(&T) -> &Space,
) {
    for then in [Then::Pass, Then::Fail] {
        for n in 0.. {
            assert!(n < 1000, "no end of allocations");
            let machine = Machine::new();
            let prepared = prepare();
            let injection = fail_after(n, then);
            let done = operation(&prepared);
            let failed = injection.failed();
            drop(injection);
            spaces(&prepared).validate();
            match done {
                Ok(()) => {}
                Err(MmError::NoMemory | MmError::Again) => assert!(failed > 0, "ENOMEM for nothing"),
                Err(error) => panic!("{error:?} with allocation {n} failing"),
            }
            drop(prepared);
            drop(machine);
            if failed == 0 {
                break;
            }
        }
    }
}

fn used() -> KArc<Space> {
    let space = new_space();
    map(&space, A, 8, RW, PRIVATE | FIXED).unwrap();
    for page in 0..8 {
        store(&space, at(A + page * PAGE), page as u8).unwrap();
    }
    map(&space, A + 16 * PAGE, 4, RW, SHARED | FIXED).unwrap();
    store(&space, at(A + 16 * PAGE), 9).unwrap();
    space
}

/// What [`used`] made is there.
fn untouched(space: &Space) {
    for page in 0..8 {
        assert_eq!(load(space, at(A + page * PAGE)), Ok(page as u8));
    }
    assert_eq!(load(space, at(A + 16 * PAGE)), Ok(9));
}

fn oom(outcome: Result<(), Outcome>) -> Result<(), MmError> {
    match outcome {
        Ok(()) => Ok(()),
        Err(Outcome::Oom) => Err(MmError::NoMemory),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn new_spaces() {
    sweep(used, |_| Space::new(&config()).map(|_| ()), |space| space);
}

#[test]
fn fork() {
    sweep(used, |space| space.fork().map(|child| child.validate()), |space| space);
    sweep(
        used,
        |space| {
            let forked = space.fork().map(|_| ());
            // The parent goes on as before, whatever became of the child.
            for page in 0..8 {
                assert_eq!(load(space, at(A + page * PAGE)), Ok(page as u8));
            }
            forked
        },
        |space| space,
    );
}

/// A child whose pages are of three generations, with its ancestors.
fn family() -> [KArc<Space>; 3] {
    let grandparent = used();
    let parent = grandparent.fork().unwrap();
    store(&parent, at(A), 0).unwrap();
    let child = parent.fork().unwrap();
    store(&child, at(A + PAGE), 1).unwrap();
    [grandparent, parent, child]
}

#[test]
fn families() {
    let whole = |[grandparent, parent, child]: &[KArc<Space>; 3]| {
        for space in [grandparent, parent, child] {
            untouched(space);
        }
        super::rmap::compare(&[grandparent, parent, child]);
    };
    let flags = abi::MREMAP_MAYMOVE | abi::MREMAP_FIXED;
    sweep(
        family,
        |family| {
            let forked = family[2].fork();
            if let Ok(child) = &forked {
                untouched(child);
            }
            let done = forked.map(|_| ());
            whole(family);
            done
        },
        |family| &family[2],
    );
    sweep(
        family,
        |family| {
            let done = family[2].mprotect(at(A + 2 * PAGE), 3 * PAGE, abi::PROT_READ);
            whole(family);
            done
        },
        |family| &family[2],
    );
    sweep(
        family,
        |family| {
            let moved =
                family[2].mremap(at(A + 2 * PAGE), 4 * PAGE, 4 * PAGE, flags, at(1 << 40)).map(|_| ());
            match moved {
                Ok(()) => super::rmap::compare(&[&family[0], &family[1], &family[2]]),
                Err(_) => whole(family),
            }
            moved
        },
        |family| &family[2],
    );
    // A new mapping that makes one of two, of which the upper has pages.
    let gap = || {
        let space = new_space();
        map(&space, A, 2, RW, PRIVATE | FIXED).unwrap();
        map(&space, A + 4 * PAGE, 2, RW, PRIVATE | FIXED).unwrap();
        store(&space, at(A + 4 * PAGE), 1).unwrap();
        space
    };
    sweep(
        gap,
        |space| {
            let mapped = map(space, A + 2 * PAGE, 2, RW, PRIVATE | FIXED).map(|_| ());
            super::rmap::compare(&[space]);
            mapped
        },
        |space| space,
    );
}

#[test]
fn maps() {
    sweep(used, |space| map(space, 0, 3, RW, PRIVATE).map(|_| ()), |space| space);
    sweep(used, |space| map(space, 0, 3, RW, SHARED).map(|_| ()), |space| space);
    sweep(
        used,
        |space| {
            map(space, A + 2 * PAGE, 3, RW, PRIVATE | FIXED).map(|_| ()).inspect_err(|_| untouched(space))
        },
        |space| space,
    );
    sweep(
        used,
        |space| {
            map(space, A + 2 * PAGE, 18, RW, SHARED | FIXED).map(|_| ()).inspect_err(|_| untouched(space))
        },
        |space| space,
    );
    let with_file = || {
        let (_, file) = new_file(&[1; 3 * PAGE_SIZE], true);
        (used(), file)
    };
    sweep(
        with_file,
        |(space, file)| {
            map_file(space, file, A + PAGE, 3, RW, abi::MAP_PRIVATE | FIXED, 0)
                .map(|_| ())
                .inspect_err(|_| untouched(space))
        },
        |(space, _)| space,
    );
}

#[test]
fn changes_of_a_part() {
    sweep(used, |space| space.munmap(at(A + PAGE), PAGE), |space| space);
    sweep(used, |space| space.munmap(at(A + 17 * PAGE), PAGE), |space| space);
    sweep(used, |space| space.mprotect(at(A + PAGE), PAGE, 0), |space| space);
    sweep(used, |space| space.mprotect(at(A + 17 * PAGE), PAGE, 0), |space| space);
    sweep(used, |space| space.madvise(at(A + PAGE), PAGE, abi::MADV_DONTFORK), |space| space);
    sweep(used, |space| space.mlock(at(A + PAGE), PAGE, 0), |space| space);
}

#[test]
fn moves() {
    let flags = abi::MREMAP_MAYMOVE | abi::MREMAP_FIXED;
    let far = at(1 << 40);
    sweep(
        used,
        |space| {
            let moved = space.mremap(at(A + PAGE), 4 * PAGE, 6 * PAGE, flags, far).map(|_| ());
            let from = if moved.is_ok() { far } else { at(A + PAGE) };
            for page in 0..4 {
                assert_eq!(load(space, from + page * PAGE), Ok(page as u8 + 1));
            }
            moved
        },
        |space| space,
    );
    sweep(
        used,
        |space| space.mremap(at(A + 16 * PAGE), 4 * PAGE, 6 * PAGE, flags, far).map(|_| ()),
        |space| space,
    );
    sweep(used, |space| space.mremap(at(A), 8 * PAGE, 12 * PAGE, 0, far).map(|_| ()), |space| space);
}

#[test]
fn faults() {
    sweep(
        || {
            let space = new_space();
            map(&space, A, 4, RW, PRIVATE | FIXED).unwrap();
            space
        },
        |space| oom(load(space, at(A)).map(|_| ())).and_then(|()| oom(store(space, at(A), 1))),
        |space| space,
    );
    let forked = || {
        let parent = used();
        let child = parent.fork().unwrap();
        (parent, child)
    };
    sweep(forked, |(_, child)| oom(store(child, at(A), 1)), |(_, child)| child);
    let with_file = || {
        let (mapping, file) = new_file(&[], true);
        mapping.set_size(3 * PAGE).unwrap();
        let space = new_space();
        map_file(&space, &file, A, 3, RW, abi::MAP_PRIVATE | FIXED, 0).unwrap();
        space
    };
    sweep(with_file, |space| oom(load(space, at(A)).map(|_| ())), |space| space);
    sweep(with_file, |space| oom(store(space, at(A), 1)), |space| space);
}

#[test]
fn programs() {
    sweep(
        new_space,
        |space| {
            let top = space.setup_stack(3 * PAGE, StackRights::Data)?;
            space.write_memory(top - 2 * PAGE - 3, &[1; PAGE_SIZE])?;
            space.set_brk_start(at(A));
            let end = at(A) + 3 * PAGE;
            if space.brk(end) == end { Ok(()) } else { Err(MmError::NoMemory) }
        },
        |space| space,
    );
}
