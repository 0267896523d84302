//! Address spaces on several harts with TLBs: what a program sees while others fork, unmap, protect and move
//! the memory under it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use rux_machine::{Hot, Hw, PreemptGuard};
use rux_mm::addr::{PAGE_SIZE, VirtAddr};
use rux_mm::fault::{self, Outcome, handle_mm_fault};
use rux_mm::page_alloc::{free_pages_count, zero_folio};
use rux_mm::slab::KArc;
use rux_mm::space::{Limits, MapRequest, Randomize, Space, SpaceConfig};
use rux_sim::{Access, AdMode, Config, Hart, Machine, PageFault, Rng, Schedule};

const PAGE: u64 = PAGE_SIZE as u64;
const BASE: VirtAddr = VirtAddr::new((2 << 20) - 8 * PAGE);

const PROT_READ: u32 = 1;
const RW: u32 = 3;
const SHARED: u32 = 0x21;
const PRIVATE: u32 = 0x22;
const FIXED: u32 = 0x10;
const MREMAP_MOVE_FIXED: u32 = 3;
const MADV_DONTNEED: u32 = 4;

fn new_space() -> KArc<Space> {
    let task_size = VirtAddr::new((1 << 47) - PAGE);
    let limits = Limits::default();
    Space::new(&SpaceConfig { task_size, randomize: Randomize::Nothing, legacy_layout: false, limits })
        .unwrap()
}

fn map(space: &Space, addr: VirtAddr, pages: u64, prot: u32, flags: u32) {
    space
        .mmap(MapRequest { addr, len: pages * PAGE, prot, flags: flags | FIXED, file: None, offset: 0 })
        .unwrap();
}

/// Has the hart run in `space`.
fn run_in(space: &Space, previous: Option<&Space>) {
    // Whoever lets a spin lock go lets another hart run, if the schedule says so.
    Hw::thread().need_resched.store(1, Relaxed);
    let _preempt = PreemptGuard::new();
    space.core().switch_to(previous.map(|space| &**space.core()));
}

fn leave(space: &Space) {
    let _preempt = PreemptGuard::new();
    space.core().leave();
}

/// The fault handler: `Err` is a signal.
fn serve(space: &Space) -> impl FnMut(PageFault) -> Result<(), Outcome> {
    move |fault| {
        let access = match fault.access {
            Access::Load => fault::Access::Read,
            Access::Store => fault::Access::Write,
            Access::Fetch => fault::Access::Execute,
        };
        match handle_mm_fault(space, fault.addr, access) {
            Outcome::Done | Outcome::Major | Outcome::Retry => Ok(()),
            signal => Err(signal),
        }
    }
}

fn load(hart: &Hart<'_>, space: &Space, addr: VirtAddr) -> Result<u64, Outcome> {
    hart.load(addr, serve(space))
}

fn store(hart: &Hart<'_>, space: &Space, addr: VirtAddr, value: u64) -> Result<(), Outcome> {
    hart.store(addr, value, serve(space))
}

/// What a machine keeps once it was needed: the page of zeroes, and caches of objects.
fn keep_for_good() {
    zero_folio().unwrap();
    let space = new_space();
    for flags in [PRIVATE, SHARED] {
        map(&space, BASE, 2, RW, flags);
        // The second page of a file is the first that takes a node of the index.
        assert_eq!(handle_mm_fault(&space, BASE + PAGE, fault::Access::Write), Outcome::Done);
    }
}

/// Free pages, with all that is kept for later given back.
fn free_now() -> u64 {
    rux_mm::rcu::barrier();
    rux_mm::slab::drain_all();
    free_pages_count()
}

/// Runs `body` on machines of both kinds and several seeds, one hart at a time; nothing may be left.
fn on_machines(harts: usize, seeds: u64, body: impl Fn(&Machine)) {
    on_scheduled(Schedule::Seeded, harts, seeds, body);
}

/// As [`on_machines`], with the harts scheduled in that way.
fn on_scheduled(schedule: Schedule, harts: usize, seeds: u64, body: impl Fn(&Machine)) {
    for ad in [AdMode::Hardware, AdMode::Trap] {
        for seed in 0..seeds {
            let machine =
                Machine::with(Config { ram: 32 << 20, harts, seed, ad, schedule, ..Config::default() });
            keep_for_good();
            let free = free_now();
            body(&machine);
            assert_eq!(free_now(), free, "pages left, seed {seed}");
        }
    }
}

/// One hart writes, one reads, one forks: the reader must not see an old page once the writer has a new one.
#[test]
fn a_copied_page_is_the_same_for_all_harts() {
    on_machines(3, 12, |machine| {
        let space = new_space();
        map(&space, BASE, 2, RW, PRIVATE);
        let written = AtomicU64::new(0);
        machine.run(|hart| {
            run_in(&space, None);
            for round in 1..=60 {
                match hart.index() {
                    0 => {
                        store(&hart, &space, BASE, round).unwrap();
                        written.store(round, SeqCst);
                    }
                    1 => {
                        let least = written.load(SeqCst);
                        let seen = load(&hart, &space, BASE).unwrap();
                        assert!(seen >= least, "{seen} after {least} was written");
                    }
                    _ => {
                        let child = space.fork().unwrap();
                        run_in(&child, Some(&space));
                        let seen = load(&hart, &child, BASE).unwrap();
                        for _ in 0..4 {
                            hart.pause();
                            assert_eq!(load(&hart, &child, BASE), Ok(seen), "written by the parent");
                        }
                        store(&hart, &child, BASE, 1 << 40).unwrap();
                        hart.pause();
                        assert_eq!(load(&hart, &child, BASE), Ok(1 << 40));
                        assert!(seen <= 60);
                        run_in(&space, Some(&child));
                    }
                }
            }
            leave(&space);
        });
        space.validate();
    });
}

/// Once `mprotect` has returned, no other hart writes.
#[test]
fn protected_memory_is_not_written_any_more() {
    on_machines(3, 12, |machine| {
        let space = new_space();
        map(&space, BASE, 1, RW, PRIVATE);
        machine.run(|hart| {
            run_in(&space, None);
            for round in 0..40 {
                if hart.index() == 0 {
                    space.mprotect(BASE, PAGE, PROT_READ).unwrap();
                    let before = load(&hart, &space, BASE).unwrap();
                    for _ in 0..3 {
                        hart.pause();
                        assert_eq!(load(&hart, &space, BASE), Ok(before), "written while protected");
                    }
                    space.mprotect(BASE, PAGE, RW).unwrap();
                    hart.pause();
                } else {
                    let stored = store(&hart, &space, BASE, round << 8 | hart.index() as u64);
                    assert!(matches!(stored, Ok(()) | Err(Outcome::Sigsegv { code: 2, .. })), "{stored:?}");
                }
            }
            leave(&space);
        });
        space.validate();
    });
}

/// Memory that moves, or is thrown away, is at one address with one content for everybody.
#[test]
fn moved_memory_is_seen_at_one_place() {
    let other = BASE + 64 * PAGE;
    on_machines(2, 12, |machine| {
        let space = new_space();
        map(&space, BASE, 1, RW, PRIVATE);
        machine.run(|hart| {
            run_in(&space, None);
            for round in 1..=40 {
                if hart.index() == 0 {
                    store(&hart, &space, BASE, round).unwrap();
                    space.mremap(BASE, PAGE, PAGE, MREMAP_MOVE_FIXED, other).unwrap();
                    assert_eq!(load(&hart, &space, other), Ok(round));
                    space.mremap(other, PAGE, PAGE, MREMAP_MOVE_FIXED, BASE).unwrap();
                    assert_eq!(load(&hart, &space, BASE), Ok(round));
                    space.madvise(BASE, PAGE, MADV_DONTNEED).unwrap();
                    assert_eq!(load(&hart, &space, BASE), Ok(0));
                } else {
                    for addr in [BASE, other] {
                        match load(&hart, &space, addr) {
                            Ok(seen) => assert!(seen <= 40),
                            Err(signal) => assert!(matches!(signal, Outcome::Sigsegv { code: 1, .. })),
                        }
                    }
                }
            }
            leave(&space);
        });
    });
}

/// Everything at once: nobody reaches a page that was freed, and in the end everything adds up.
#[test]
fn a_storm_leaves_nothing_behind() {
    on_machines(3, 16, |machine| storm(machine, 120));
}

/// The same with harts that run at once: faults have the locks of their mappings while others change these.
#[test]
fn a_storm_of_harts_at_once_leaves_nothing_behind() {
    on_scheduled(Schedule::Free, 4, 8, |machine| storm(machine, 1500));
}

fn storm(machine: &Machine, rounds: u64) {
    let space = new_space();
    map(&space, BASE + 16 * PAGE, 4, RW, SHARED);
    machine.run(|hart| {
        run_in(&space, None);
        let mut rng = Rng::new(hart.index() as u64 * 77 + hart.satp());
        for round in 0..rounds {
            let addr = BASE + rng.below(20) * PAGE;
            let pages = 1 + rng.below(4);
            match rng.below(12) {
                0 | 1 => map(&space, addr, pages, RW, PRIVATE),
                2 => space.munmap(addr, pages * PAGE).unwrap(),
                3 => drop(space.mprotect(addr, pages * PAGE, PROT_READ)),
                4 => drop(space.mprotect(addr, pages * PAGE, RW)),
                5 => drop(space.madvise(addr, pages * PAGE, MADV_DONTNEED)),
                6 => {
                    let to = BASE + 40 * PAGE;
                    let _ = space.mremap(addr, pages * PAGE, pages * PAGE, MREMAP_MOVE_FIXED, to);
                }
                7 => {
                    let child = space.fork().unwrap();
                    run_in(&child, Some(&space));
                    let _ = store(&hart, &child, addr, round);
                    let _ = load(&hart, &child, addr);
                    run_in(&space, Some(&child));
                }
                8 | 9 => drop(load(&hart, &space, addr)),
                _ => drop(store(&hart, &space, addr, round)),
            }
        }
        leave(&space);
    });
    space.validate();
}

/// Two harts write to their own words of one page that is copied again and again: no copy is made twice, so no
/// store is lost.
#[test]
fn no_store_to_a_copied_page_is_lost() {
    on_machines(3, 8, |machine| {
        let space = new_space();
        map(&space, BASE, 1, RW, PRIVATE);
        machine.run(|hart| {
            run_in(&space, None);
            let word = BASE + 8 * hart.index() as u64;
            for round in 1..=100 {
                if hart.index() == 2 {
                    if round % 4 == 0 {
                        drop(space.fork().unwrap());
                    }
                    continue;
                }
                store(&hart, &space, word, round).unwrap();
                for _ in 0..4 {
                    assert_eq!(load(&hart, &space, word), Ok(round), "a store was lost");
                }
            }
            leave(&space);
        });
        space.validate();
    });
}
