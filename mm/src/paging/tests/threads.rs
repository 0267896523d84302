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
    let rounds = if cfg!(miri) { 30 } else { 3000 };
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
    let rounds = if cfg!(miri) { 5 } else { 300 };
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
