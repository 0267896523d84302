//! Several harts in the same tables at once.

use super::*;

/// Adds one to what the entry counts in its frame number.
fn bump(entry: Entry) -> Entry {
    let pfn = if entry.is_none() { Pfn::new(0x80000) } else { entry.pfn() };
    Entry::leaf(pfn + 1, Prot::USER_RW)
}

/// Takes a `u64` sum of what the entries count.
#[derive(Default)]
struct Sum(u64);

impl Zap for Sum {
    fn taken<L: Level>(&mut self, _: VirtAddr, entry: Entry<L>, _: &mut Gather<'_>) {
        self.0 = self.0.wrapping_add(entry.pfn().get() - 0x80000);
    }
}

struct ReadOnly;

impl Protect for ReadOnly {
    fn change<L: Level>(&mut self, _: VirtAddr, entry: Entry<L>) -> Entry<L> {
        entry.read_only()
    }
}

#[test]
fn nothing_is_lost_between_walkers() {
    const HARTS: usize = 4;
    let rounds = if cfg!(miri) { 20 } else { 3000 };
    let machine = machine(Mode::Sv48, HARTS);
    let tables = PageTables::new(Gfp::KERNEL).unwrap();
    let zapped: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..HARTS)
            .map(|hart| {
                let (machine, tables) = (&machine, &tables);
                scope.spawn(move || {
                    machine.enter(hart);
                    let mut random = 0x1234_5678_9abc_def0u64 + hart as u64;
                    let mut sum = Sum::default();
                    for _ in 0..rounds {
                        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                        // Around a border of 1 GiB, so that upper tables are raced for as well.
                        let at = (1 << 18) - 1024 + (random >> 33) % 2048;
                        let range = pages(at, at + 1 + (random >> 20) % 20);
                        match random >> 60 {
                            0 => tables.zap_range(range, &mut Gather::new(tables), &mut sum),
                            1 => {
                                tables.protect_range(range, &mut Gather::new(tables), &mut ReadOnly);
                            }
                            _ => {
                                let guard = tables.lock_pte(page(at), Gfp::KERNEL).unwrap();
                                guard.set(bump(guard.get()));
                            }
                        }
                        if random >> 60 > 1 {
                            // One more was counted.
                            sum.0 = sum.0.wrapping_sub(1);
                        }
                    }
                    sum.0
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(0, u64::wrapping_add)
    });
    let mut left = Sum::default();
    let all = VirtRange::new(VirtAddr::ZERO, tables.mode().user_end());
    let mut gather = Gather::new(&tables);
    tables.zap_range(all, &mut gather, &mut left);
    tables.free_tables(all, all.start, all.end, &mut gather);
    drop(gather);
    assert_eq!(zapped.wrapping_add(left.0), 0);
    assert_eq!(tables.bytes(), 0);
    drop(tables);
}

#[test]
fn pages_move_both_ways_at_once() {
    let rounds = if cfg!(miri) { 1 } else { 300 };
    let machine = machine(Mode::Sv39, 2);
    let tables = PageTables::new(Gfp::KERNEL).unwrap();
    let (a, b) = (pages(10, 700), pages(5000, 5690));
    tables.map_range(pages(10, 355), Pfn::new(0x80000), Prot::USER_R, Gfp::KERNEL).unwrap();
    std::thread::scope(|scope| {
        for hart in 0..2 {
            let (machine, tables) = (&machine, &tables);
            scope.spawn(move || {
                machine.enter(hart);
                // The halves cross: each moves one half there and back, through the same tables.
                let (from, to) =
                    if hart == 0 { (pages(10, 355), b.start) } else { (pages(5345, 5690), page(355)) };
                for _ in 0..rounds {
                    let mut gather = Gather::new(tables);
                    assert_eq!(tables.move_range(from, to, &mut gather, Gfp::KERNEL), from.end);
                    let back = VirtRange::from_len(to, from.len()).unwrap();
                    assert_eq!(tables.move_range(back, from.start, &mut gather, Gfp::KERNEL), back.end);
                }
            });
        }
    });
    for index in 0..345 {
        assert_eq!(tables.translate(page(10 + index)), Some((Pfn::new(0x80000) + index).phys()));
    }
    assert_eq!(a.pages(), b.pages());
    assert_eq!(zap_all(&tables).entries, 345);
}

#[test]
fn one_table_comes_of_many_that_want_it() {
    const HARTS: usize = 3;
    let rounds = if cfg!(miri) { 4 } else { 1000 };
    let machine = machine(Mode::Sv48, HARTS);
    let tables = PageTables::new(Gfp::KERNEL).unwrap();
    let arrived = core::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for hart in 0..HARTS as u64 {
            let (machine, tables, arrived) = (&machine, &tables, &arrived);
            scope.spawn(move || {
                machine.enter(hart as usize);
                for round in 0..rounds {
                    arrived.fetch_add(1, Relaxed);
                    while arrived.load(Relaxed) < (round + 1) * HARTS as u64 {
                        std::thread::yield_now();
                    }
                    // A last-level table that nobody has yet, each with its own entry in it.
                    let addr = page(round * 512 + hart);
                    let guard = tables.lock_pte(addr, Gfp::KERNEL).unwrap();
                    guard.set(Entry::leaf(Pfn::new(0x80000 + hart), Prot::USER_R));
                }
            });
        }
    });
    assert_eq!(zap_all(&tables).entries, rounds as usize * HARTS);
    assert_eq!(tables.bytes(), 0);
}

/// Write-protects what may be written and the reverse, and takes D away where it sees it.
#[derive(Default)]
struct Toggle {
    saw_dirty: bool,
}

impl Protect for Toggle {
    fn change<L: Level>(&mut self, _: VirtAddr, entry: Entry<L>) -> Entry<L> {
        // Called again if the hardware was quicker; what it said last counts.
        self.saw_dirty = entry.is_dirty();
        // Time for the hardware to come in between.
        if entry.is_writable() && !entry.is_dirty() {
            std::thread::yield_now();
        }
        let other = if entry.is_writable() { Prot::USER_R } else { Prot::USER_RW };
        entry.without(Bits::D).with_prot(other)
    }
}

#[test]
fn no_dirty_bit_is_lost_to_a_change_of_rights() {
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    let machine = machine(Mode::Sv39, 2);
    let tables = PageTables::new(Gfp::KERNEL).unwrap();
    let guard = tables.lock_pte(page(9), Gfp::KERNEL).unwrap();
    guard.set(Entry::leaf(Pfn::new(0x80000), Prot::USER_RW));
    drop(guard);
    let done = core::sync::atomic::AtomicBool::new(false);
    let (mut seen, mut set) = (0u64, 0u64);
    std::thread::scope(|scope| {
        let (machine, tables, done) = (&machine, &tables, &done);
        // The hardware: it looks at no lock.
        let hardware = scope.spawn(move || {
            machine.enter(1);
            // SAFETY: the table is not freed before the thread has ended.
            let table = copy::Reach::<Pmd>::find(tables, page(1 << 9), Gfp::KERNEL).unwrap().unwrap();
            // SAFETY: as above.
            let leaf = unsafe { table.slots() }[0].get().pfn();
            // SAFETY: as above.
            let slot = unsafe { super::table::Table::<Pte>::at(leaf).slot(page(9)) };
            let mut set = 0;
            while !done.load(Relaxed) {
                let entry = slot.get();
                if entry.is_writable() && !entry.is_dirty() {
                    set += slot.compare_exchange(entry, entry.dirty()).is_ok() as u64;
                }
            }
            set
        });
        let mut toggle = Toggle::default();
        for _ in 0..rounds {
            tables.protect_range(pages(9, 10), &mut Gather::new(tables), &mut toggle);
            seen += toggle.saw_dirty as u64;
        }
        done.store(true, Relaxed);
        set = hardware.join().unwrap();
    });
    seen += tables.find_pte(page(9)).unwrap().get().is_dirty() as u64;
    assert_eq!(seen, set);
    zap_all(&tables);
}
