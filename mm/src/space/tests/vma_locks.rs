//! Who waits for whom: a fault for the writer that is at its mapping, a writer for the faults in the mappings that it
//! changes, and nobody else.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

/// The mapping at hand: with pages, from a page of its own on, and with room around.
const A: u64 = (2 << 20) - 4 * PAGE;
const PAGES: u64 = 8;
/// Another, which has pages too, in other tables.
const B: u64 = 64 << 20;
/// Where nothing is.
const ELSEWHERE: u64 = 32 << 20;

/// Longer than anything here takes that does not wait.
const LONG: Duration = Duration::from_secs(20);
/// Long enough for what should wait and does not.
const SHORT: Duration = Duration::from_millis(if cfg!(miri) { 300 } else { 30 });

fn two_mappings() -> KArc<Space> {
    let space = new_space();
    for start in [A, B] {
        map(&space, start, PAGES, RW, PRIVATE | FIXED).unwrap();
        store(&space, at(start), 1).unwrap();
    }
    space
}

/// Has another hart do `work` while this one holds `held`, which is dropped when that is done or `time` is over; says
/// whether it was done.
fn is_done_beside<T>(machine: &Machine, held: T, work: impl FnOnce() + Send, time: Duration) -> bool {
    let done = AtomicBool::new(false);
    let is_done = |time: Duration| {
        let start = Instant::now();
        while !done.load(SeqCst) && start.elapsed() < time {
            thread::yield_now();
        }
        done.load(SeqCst)
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            machine.enter(1);
            work();
            done.store(true, SeqCst);
        });
        let was_done = is_done(time);
        drop(held);
        assert!(is_done(LONG), "it waits for ever");
        was_done
    })
}

/// Whether another hart that does `work` waits for what this one holds.
fn waits<T>(machine: &Machine, held: T, work: impl FnOnce() + Send) -> bool {
    !is_done_beside(machine, held, work, SHORT)
}

/// As [`waits`], for what should not: it has all the time that it may need.
fn passes<T>(machine: &Machine, held: T, work: impl FnOnce() + Send) {
    assert!(is_done_beside(machine, held, work, LONG), "it waits");
}

#[test]
fn a_fault_waits_for_no_writer_elsewhere() {
    let machine = Machine::with_harts(2);
    let space = two_mappings();
    let mut writer = space.layout.write();
    writer.vmas.lock(at(A)).unwrap();
    passes(&machine, writer, || {
        store(&space, at(B + PAGE), 2).unwrap();
        assert_eq!(load(&space, at(B + 2 * PAGE)), Ok(0));
        assert_eq!(fetch(&space, at(B)), Err(accerr(at(B))));
    });
    space.validate();
}

#[test]
fn a_fault_waits_for_the_writer_at_its_mapping() {
    let machine = Machine::with_harts(2);
    let space = two_mappings();
    let faults: [&(dyn Fn() + Sync); 3] = [
        &|| store(&space, at(A + PAGE), 2).unwrap(),
        &|| assert_eq!(load(&space, at(A + 2 * PAGE)), Ok(0)),
        // Whether there is a mapping is for the writer to say.
        &|| assert_eq!(load(&space, at(ELSEWHERE)), Err(maperr(at(ELSEWHERE)))),
    ];
    for fault in faults {
        let mut writer = space.layout.write();
        writer.vmas.lock(at(A)).unwrap();
        assert!(waits(&machine, writer, fault));
    }
    // The first page of a mapping looks at its neighbours.
    map(&space, ELSEWHERE, 1, RW, PRIVATE | FIXED).unwrap();
    assert!(waits(&machine, space.layout.write(), || store(&space, at(ELSEWHERE), 1).unwrap()));
    store(&space, at(A + PAGE), 3).unwrap();
    space.validate();
}

/// A change, and how it is told from others.
type Change = (&'static str, fn(&Space));

fn map_at(space: &Space, start: u64, pages: u64) {
    map(space, start, pages, RW, PRIVATE | FIXED).unwrap();
}

fn move_to(space: &Space, from: u64, pages: u64, to: u64, flags: u32) {
    let flags = abi::MREMAP_MAYMOVE | flags;
    space.mremap(at(from), pages * PAGE, pages * PAGE, flags, at(to)).unwrap();
}

/// All that changes the mapping at [`A`], or takes pages or tables from it.
const CHANGES: &[Change] = &[
    ("munmap", |space| space.munmap(at(A), PAGES * PAGE).unwrap()),
    ("munmap of more", |space| space.munmap(at(A - PAGE), (PAGES + 2) * PAGE).unwrap()),
    ("munmap of the lower part", |space| space.munmap(at(A), PAGE).unwrap()),
    ("munmap of the upper part", |space| space.munmap(at(A + PAGE), (PAGES - 1) * PAGE).unwrap()),
    ("munmap of the middle", |space| space.munmap(at(A + PAGE), PAGE).unwrap()),
    ("mmap over it", |space| map_at(space, A, PAGES)),
    ("mmap over a part", |space| map_at(space, A + 2 * PAGE, 2)),
    ("mmap below, which becomes one with it", |space| {
        map(space, A - PAGE, 1, RW, PRIVATE | FIXED).map(drop).unwrap()
    }),
    ("mmap above, which becomes one with it", |space| map_at(space, A + PAGES * PAGE, 1)),
    ("mprotect", |space| space.mprotect(at(A), PAGES * PAGE, abi::PROT_READ).unwrap()),
    ("mprotect of a part", |space| space.mprotect(at(A + PAGE), PAGE, abi::PROT_NONE).unwrap()),
    ("mremap away", |space| move_to(space, A, PAGES, ELSEWHERE, abi::MREMAP_FIXED)),
    ("mremap of the pages alone", |space| move_to(space, A, PAGES, ELSEWHERE, abi::MREMAP_FIXED | 4)),
    ("mremap of a part", |space| move_to(space, A + PAGE, 2, ELSEWHERE, abi::MREMAP_FIXED)),
    ("mremap over it", |space| move_to(space, B, PAGES, A, abi::MREMAP_FIXED)),
    ("mremap that makes it longer", |space| {
        space.mremap(at(A), PAGES * PAGE, (PAGES + 1) * PAGE, 0, at(0)).map(drop).unwrap()
    }),
    ("mremap that makes it shorter", |space| {
        space.mremap(at(A), PAGES * PAGE, PAGE, 0, at(0)).map(drop).unwrap()
    }),
    ("madvise that changes flags", |space| space.madvise(at(A), PAGE, abi::MADV_DONTFORK).unwrap()),
    ("mlock", |space| space.mlock(at(A), PAGE, 0).unwrap()),
    ("mlockall", |space| space.mlockall(1).unwrap()),
    ("fork", |space| space.fork().unwrap().validate()),
];

#[test]
fn changes_wait_for_the_faults_of_their_mapping() {
    let machine = Machine::with_harts(2);
    for (name, change) in CHANGES {
        let space = two_mappings();
        let fault = space.layout.lock_vma(at(A)).expect("nobody writes");
        assert!(waits(&machine, fault, || change(&space)), "{name} did not");
        space.validate();
        assert_eq!(load(&space, at(B)).is_ok(), *name != "mremap over it", "{name}");
    }
}

#[test]
fn changes_elsewhere_wait_for_no_fault() {
    let machine = Machine::with_harts(2);
    for (name, change) in CHANGES {
        if matches!(*name, "mlockall" | "fork" | "mremap over it") {
            continue;
        }
        let space = two_mappings();
        let fault = space.layout.lock_vma(at(B)).expect("nobody writes");
        passes(&machine, fault, || change(&space));
        space.validate();
    }
}

#[test]
fn what_makes_one_of_two_waits_for_both() {
    let machine = Machine::with_harts(2);
    let parts = [A, A + PAGE, A + 2 * PAGE];
    for part in parts {
        // With pages: each part's neighbour has the same group.
        let space = two_mappings();
        space.mprotect(at(A + PAGE), PAGE, abi::PROT_READ).unwrap();
        let fault = space.layout.lock_vma(at(part)).expect("nobody writes");
        assert!(waits(&machine, fault, || space.mprotect(at(A + PAGE), PAGE, RW).unwrap()), "{part:#x}");
        assert_eq!(maps(&space).len(), 2);
        space.validate();
    }
    // A neighbour that has no pages gets the group of the one above.
    let space = new_space();
    map_at(&space, A, 1);
    map_at(&space, A + 2 * PAGE, 1);
    store(&space, at(A + 2 * PAGE), 1).unwrap();
    for part in [A, A + 2 * PAGE] {
        let fault = space.layout.lock_vma(at(part)).expect("nobody writes");
        assert!(waits(&machine, fault, || map_at(&space, A + PAGE, 1)), "{part:#x}");
        assert_eq!(maps(&space).len(), 1);
        space.validate();
        space.munmap(at(A + PAGE), PAGE).unwrap();
    }
}

#[test]
fn a_stack_that_grows_and_the_heap_wait_for_their_faults() {
    let machine = Machine::with_harts(2);
    let space = new_space();
    let top = space.setup_stack(PAGE, crate::space::StackRights::Data).unwrap();
    store(&space, top - PAGE, 1).unwrap();
    let lowest = at(maps(&space)[0].0);
    let fault = space.layout.lock_vma(top - PAGE).expect("nobody writes");
    assert!(waits(&machine, fault, || store(&space, lowest - PAGE, 2).unwrap()));
    space.set_brk_start(at(A));
    assert_eq!(space.brk(at(A + PAGE)), at(A + PAGE));
    store(&space, at(A), 1).unwrap();
    for end in [A + 3 * PAGE, A + PAGE, A] {
        let fault = space.layout.lock_vma(at(A)).expect("nobody writes");
        assert!(waits(&machine, fault, || assert_eq!(space.brk(at(end)), at(end))));
    }
    space.validate();
}

#[test]
fn a_child_faults_without_mmap_lock() {
    let machine = Machine::with_harts(2);
    let parent = two_mappings();
    let child = parent.fork().unwrap();
    for space in [&parent, &child] {
        passes(&machine, space.layout.write(), || store(space, at(A), 7).unwrap());
    }
    child.validate();
}

#[test]
fn readers_of_the_layout_and_faults_pass_each_other() {
    let machine = Machine::with_harts(2);
    let space = two_mappings();
    passes(&machine, space.layout.read(), || store(&space, at(A + PAGE), 1).unwrap());
    let fault = space.layout.lock_vma(at(A)).expect("nobody writes");
    passes(&machine, fault, || {
        space.madvise(at(A), PAGES * PAGE, abi::MADV_DONTNEED).unwrap();
        assert_eq!(maps(&space).len(), 2);
        assert_eq!(space.mincore(at(A), &mut [0; 2]), Ok(()));
        // The first page is had under `mmap_lock`.
        map_at(&space, ELSEWHERE, 1);
        store(&space, at(ELSEWHERE), 1).unwrap();
    });
    space.validate();
}
