//! Page tables, gather, ASIDs and fences on harts whose TLBs keep all that they may.

mod mini;

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use mini::{Mini, Segv, page, pages};
use rux_mm::addr::VirtAddr;
use rux_mm::page_alloc::free_pages_count;
use rux_mm::paging::{AnyEntry, Mode};
use rux_sim::{AdMode, Config, Machine, Rng, Schedule};

/// Runs `test` on machines of all kinds, each with another seed.
fn on_machines(harts: usize, seeds: u64, test: impl Fn(&Machine, u64)) {
    for seed in 0..seeds {
        let mut rng = Rng::new(seed);
        let config = Config {
            ram: 16 << 20,
            harts,
            seed,
            ad: *rng.pick(&[AdMode::Hardware, AdMode::Trap]),
            mode: *rng.pick(&[Mode::Sv39, Mode::Sv48, Mode::Sv57]),
            asid_bits: *rng.pick(&[0, 3, 4, 16]),
            tlb_forgets: *rng.pick(&[0, 8, 64]),
            schedule: if seed % 4 == 3 { Schedule::Free } else { Schedule::Seeded },
            ..Config::default()
        };
        let machine = Machine::with(config);
        let free = free_pages_count();
        println!("{config:?}");
        test(&machine, seed);
        assert_eq!(free_pages_count(), free, "leaked with {config:?}");
    }
}

#[test]
fn what_is_unmapped_is_gone() {
    on_machines(1, 16, |machine, seed| {
        let hart = machine.enter(0);
        let mut rng = Rng::new(seed);
        let space = Mini::new();
        space.tables.switch_to(None);
        // One area in the middle of a table, one over the border of two top-level ones.
        let places = [5, 700, (1 << 18) - 3, (1 << 27) - 2];
        for round in 0..200 {
            let first = *rng.pick(&places);
            let range = pages(first, first + 8);
            let addr = page(first + rng.below(8)) + 8 * rng.below(512);
            if space.tables.mode() == Mode::Sv39 && range.end > space.tables.mode().user_end() {
                continue;
            }
            assert_eq!(space.load(&hart, addr), Err(Segv));
            space.map(range, true);
            assert_eq!(space.load(&hart, addr), Ok(0));
            assert_eq!(space.store(&hart, addr, round + 1), Ok(()));
            assert_eq!(space.load(&hart, addr), Ok(round + 1));
            space.protect(range, false);
            assert_eq!(space.store(&hart, addr, 99), Err(Segv));
            assert_eq!(space.load(&hart, addr), Ok(round + 1));
            space.protect(range, true);
            assert_eq!(space.store(&hart, addr, round + 2), Ok(()));
            if rng.one_in(2) {
                space.zap(range);
                assert_eq!(space.load(&hart, addr), Ok(0));
            }
            space.unmap(range);
            assert_eq!(space.load(&hart, addr), Err(Segv));
            assert_eq!(space.tables.bytes(), 0);
        }
        space.tables.leave();
        space.end();
    });
}

#[test]
fn a_fault_that_a_hart_remembers_ends() {
    for ad in [AdMode::Hardware, AdMode::Trap] {
        let machine =
            Machine::with(Config { ram: 8 << 20, harts: 1, ad, tlb_forgets: 0, ..Config::default() });
        let hart = machine.enter(0);
        let space = Mini::new();
        space.tables.switch_to(None);
        space.map(pages(1, 30), true);
        for index in 1..30 {
            // The first fault leaves the hart with an invalid entry, the second with one that may not be written.
            assert_eq!(space.load(&hart, page(index)), Ok(0));
            assert_eq!(space.store(&hart, page(index), index), Ok(()));
        }
        space.tables.leave();
        space.end();
    }
}

#[test]
fn a_and_d_are_set_by_whoever_is_to() {
    for ad in [AdMode::Hardware, AdMode::Trap] {
        let machine = Machine::new(8 << 20, 1, 7, ad);
        let hart = machine.enter(0);
        let space = Mini::new();
        space.tables.switch_to(None);
        space.map(pages(1, 3), true);
        space.load(&hart, page(1)).unwrap();
        let entry = || match space.tables.lookup(page(1)) {
            AnyEntry::Pte(entry) => entry,
            other => panic!("{other:?}"),
        };
        assert!(entry().is_young() && !entry().is_dirty());
        space.store(&hart, page(1), 1).unwrap();
        assert!(entry().is_young() && entry().is_dirty() && entry().is_writable());
        space.tables.leave();
        space.end();
    }
}

#[test]
fn what_moved_is_not_at_its_old_address() {
    on_machines(2, 24, |machine, seed| {
        let space = Mini::new();
        // Not in step with 2 MiB, so that what one table has goes to two.
        let (from, to) = (pages(500, 530), pages(5100, 5130));
        space.map(from, true);
        space.map(to, true);
        machine.run(|hart| {
            space.tables.switch_to(None);
            let mut rng = Rng::new(seed * 13 + hart.index() as u64);
            if hart.index() == 1 {
                for round in 1..600u64 {
                    let addr = page(500 + rng.below(30));
                    assert_eq!(space.store(&hart, addr, round), Ok(()));
                }
            } else {
                for _ in 0..12 {
                    space.relocate(from, to.start);
                    let look = || -> Vec<u64> {
                        (5100..5130).map(|index| space.load(&hart, page(index)).unwrap()).collect()
                    };
                    let first = look();
                    (0..rng.below(40)).for_each(|_| hart.pause());
                    assert_eq!(look(), first, "a store to an old address came to the new one");
                }
            }
            space.tables.leave();
        });
        space.end();
    });
}

/// What all harts know of one page: how often it was thrown away, odd while it is, and what each hart wrote last.
struct Known {
    zaps: AtomicU64,
    /// Odd while rights change; 0 modulo 4 where it may be written.
    rights: AtomicU64,
}

#[test]
fn harts_share_an_address_space() {
    const AREA: u64 = 4;
    const AREAS: u64 = 12;
    on_machines(3, 24, |machine, seed| {
        let space = Mini::new();
        // Apart, so that tables come and go; the last two share a table.
        let start = |area: u64| if area == AREAS - 1 { 48 + (area - 1) * 511 } else { 40 + area * 511 };
        let range = |area: u64| pages(start(area), start(area) + AREA);
        let known: Vec<Known> =
            (0..AREAS).map(|_| Known { zaps: AtomicU64::new(0), rights: AtomicU64::new(0) }).collect();
        (0..AREAS).for_each(|area| space.map(range(area), true));
        // One at a time throws away or changes rights, so that the counts tell the truth.
        let changer = rux_mm::sync::Mutex::new(rux_mm::sync::Rank::KernelMutex, ());
        machine.run(|hart| {
            let me = hart.index() as u64;
            let mut rng = Rng::new(seed * 100 + me);
            let mut mine = vec![(0u64, 0u64); (AREAS * AREA) as usize];
            space.tables.switch_to(None);
            for round in 1..400u64 {
                let (area, offset) = (rng.below(AREAS), rng.below(AREA));
                let addr = page(start(area) + offset) + me * 8;
                let (written_at, value) = &mut mine[(area * AREA + offset) as usize];
                let known = &known[area as usize];
                match rng.below(20) {
                    0 => {
                        let _changer = changer.lock();
                        known.zaps.fetch_add(1, SeqCst);
                        space.zap(range(area));
                        known.zaps.fetch_add(1, SeqCst);
                    }
                    1 => {
                        let _changer = changer.lock();
                        known.zaps.fetch_add(1, SeqCst);
                        space.unmap(range(area));
                        space.map(range(area), known.rights.load(SeqCst).is_multiple_of(4));
                        known.zaps.fetch_add(1, SeqCst);
                    }
                    2 => {
                        let _changer = changer.lock();
                        let rights = known.rights.fetch_add(1, SeqCst) + 1;
                        space.protect(range(area), (rights + 1).is_multiple_of(4));
                        known.rights.fetch_add(1, SeqCst);
                    }
                    3..10 => {
                        let before = (known.zaps.load(SeqCst), known.rights.load(SeqCst));
                        let result = space.store(&hart, addr, round);
                        let after = (known.zaps.load(SeqCst), known.rights.load(SeqCst));
                        if before == after && before.0.is_multiple_of(2) && before.1.is_multiple_of(2) {
                            let expected = if before.1.is_multiple_of(4) { Ok(()) } else { Err(Segv) };
                            assert_eq!(result, expected, "store to {addr:?}");
                        }
                        if result.is_ok() {
                            (*written_at, *value) = (before.0, round);
                            if before.0 != after.0 || !before.0.is_multiple_of(2) {
                                // It may or may not be gone.
                                *written_at = u64::MAX;
                            }
                        }
                    }
                    _ => {
                        let before = known.zaps.load(SeqCst);
                        let result = space.load(&hart, addr);
                        let after = known.zaps.load(SeqCst);
                        if before == after && before.is_multiple_of(2) {
                            let expected = if *written_at == before { *value } else { 0 };
                            if *written_at != u64::MAX {
                                assert_eq!(result, Ok(expected), "load from {addr:?}");
                            }
                        }
                    }
                }
            }
            space.tables.leave();
        });
        space.end();
    });
}

#[test]
fn an_asid_is_one_address_spaces() {
    const SPACES: usize = 10;
    on_machines(3, 24, |machine, seed| {
        let spaces: Vec<Mini> = (0..SPACES).map(|_| Mini::new()).collect();
        // How often each was emptied, odd while it is.
        let emptied: Vec<AtomicU64> = (0..SPACES).map(|_| AtomicU64::new(0)).collect();
        let changer = rux_mm::sync::Mutex::new(rux_mm::sync::Rank::KernelMutex, ());
        spaces.iter().for_each(|space| space.map(pages(7, 9), true));
        machine.run(|hart| {
            let me = hart.index() as u64;
            let mut rng = Rng::new(seed * 77 + me);
            let mut current: Option<usize> = None;
            let mut wrote = [(u64::MAX, 0u64); SPACES];
            for round in 1..500u64 {
                let next = rng.below(SPACES as u64) as usize;
                match rng.below(6) {
                    // A space that others run, or nobody: they hear of it when they come back.
                    0 => {
                        let _changer = changer.lock();
                        emptied[next].fetch_add(1, SeqCst);
                        if rng.one_in(2) {
                            spaces[next].zap(pages(7, 9));
                        } else {
                            spaces[next].unmap(pages(7, 9));
                            spaces[next].map(pages(7, 9), true);
                        }
                        emptied[next].fetch_add(1, SeqCst);
                    }
                    1 => {
                        if let Some(index) = current.take() {
                            spaces[index].tables.leave();
                        }
                    }
                    _ => {
                        spaces[next].tables.switch_to(current.map(|index| &spaces[index].tables));
                        current = Some(next);
                        let addr = page(7) + me * 8;
                        let before = emptied[next].load(SeqCst);
                        let seen = spaces[next].load(&hart, addr);
                        let value = round * 1000 + next as u64;
                        let stored = spaces[next].store(&hart, addr, value);
                        let after = emptied[next].load(SeqCst);
                        let sure = before == after && before.is_multiple_of(2);
                        if sure && wrote[next].0 == before {
                            assert_eq!(seen, Ok(wrote[next].1), "of space {next}");
                        } else if sure && wrote[next].0 != u64::MAX {
                            assert_eq!(seen, Ok(0), "of space {next}, emptied meanwhile");
                        }
                        assert!(!sure || stored.is_ok());
                        wrote[next] = (if sure { before } else { u64::MAX }, value);
                    }
                }
            }
            if let Some(index) = current {
                spaces[index].tables.leave();
            }
        });
        spaces.into_iter().for_each(Mini::end);
    });
}

#[test]
fn a_fork_shares_until_one_writes() {
    on_machines(2, 24, |machine, seed| {
        let space = Mini::new();
        let range = pages(500, 530);
        space.map(range, true);
        let at_fork = AtomicU64::new(0);
        let barrier = Barrier::new(if seed % 4 == 3 { 2 } else { 1 });
        machine.run(|hart| {
            space.tables.switch_to(None);
            let mut rng = Rng::new(seed * 31 + hart.index() as u64);
            if hart.index() == 1 {
                // A thread of the parent's, which writes ever greater numbers everywhere.
                barrier.wait();
                for round in 1..600u64 {
                    let addr = page(500 + rng.below(30)) + 16;
                    space.store(&hart, addr, round).unwrap();
                    at_fork.store(round, SeqCst);
                }
                space.tables.leave();
                return;
            }
            barrier.wait();
            for _ in 0..10 {
                for _ in 0..rng.below(40) {
                    hart.pause();
                }
                let child = space.fork();
                let then = at_fork.load(SeqCst);
                child.tables.switch_to(Some(&space.tables));
                let look = |child: &Mini| -> Vec<u64> {
                    (500..530).map(|index| child.load(&hart, page(index) + 16).unwrap()).collect()
                };
                let first = look(&child);
                // The store that was under way when the fork was done may be in.
                assert!(first.iter().all(|seen| *seen <= then + 1), "{first:?} after {then}");
                for _ in 0..30 {
                    hart.pause();
                }
                assert_eq!(look(&child), first, "the parent writes to the child's memory");
                child.store(&hart, page(510) + 24, 77).unwrap();
                assert_eq!(space_word(&space, page(510) + 24), 0);
                space.tables.switch_to(Some(&child.tables));
                child.end();
            }
            space.tables.leave();
        });
        space.end();
    });
}

/// Reads the parent's memory by its tables.
fn space_word(space: &Mini, addr: VirtAddr) -> u64 {
    let Some(phys) = space.tables.translate(addr) else { return 0 };
    // SAFETY: mapped, as the area is not unmapped in this test, and read as harts do.
    unsafe { &*phys.as_ptr().cast::<AtomicU64>() }.load(SeqCst)
}
