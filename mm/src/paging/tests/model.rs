//! Random operations on real tables and on an array of pages, compared after each.

use proptest::prelude::*;

use super::*;

/// The pages of the model: 8 MiB around the border between two 1 GiB entries.
const COUNT: usize = 2048;
const FIRST: u64 = (1 << 18) - 1024;
/// Where `Move` goes to: far away, and not in step with 2 MiB.
const AWAY: u64 = (5 << 18) + 77;

type Model = Vec<Entry>;

#[derive(Clone, Debug)]
enum Op {
    /// Maps pages one by one, where nothing is.
    Map {
        start: usize,
        len: usize,
        frame: u64,
        prot: Prot,
    },
    /// Sets one entry by `lock_pte`.
    Set {
        at: usize,
        entry: Entry,
    },
    /// Plants a 2 MiB entry, where no table is.
    Huge {
        index: usize,
        entry: u64,
    },
    Protect {
        start: usize,
        len: usize,
        prot: Prot,
    },
    Zap {
        start: usize,
        len: usize,
    },
    /// Frees tables between two mappings.
    Free {
        at: usize,
    },
    /// Copies a range to a child, compares that, and drops it.
    Fork {
        start: usize,
        len: usize,
    },
    /// Moves a range away, compares, and moves it back.
    Move {
        start: usize,
        len: usize,
    },
}

fn prot() -> impl Strategy<Value = Prot> {
    prop_oneof![
        Just(Prot::NONE),
        Just(Prot::USER_R),
        Just(Prot::USER_RW),
        Just(Prot::USER_X),
        Just(Prot::USER_RX),
        Just(Prot::USER_RWX),
    ]
}

fn non_present() -> impl Strategy<Value = NonPresent> {
    let flag = any::<bool>;
    prop_oneof![
        (0..32u8, 0..1u64 << 40, flag()).prop_map(|(area, offset, exclusive)| NonPresent::Swap(SwapEntry {
            area,
            offset,
            exclusive
        })),
        (0x80000..0x90000u64, flag(), flag(), flag(), flag()).prop_map(
            |(pfn, writable, exclusive, young, dirty)| NonPresent::Migration(Migration {
                pfn: Pfn::new(pfn & !511),
                writable,
                exclusive,
                young,
                dirty
            })
        ),
        (0x80000..0x90000u64).prop_map(|pfn| NonPresent::Poison(Pfn::new(pfn & !511))),
        Just(NonPresent::Marker(Marker::Guard)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let range = || {
        prop_oneof![
            (0..COUNT, 1..16usize),
            (0..COUNT, 1..COUNT),
            // Along tables' borders.
            (0..4usize, 1..=4usize).prop_map(|(start, len)| (start * 512, len * 512)),
        ]
        .prop_map(|(start, len)| (start, len.min(COUNT - start)))
    };
    let leaf = (0x80000..0x90000u64, prot(), 0..4u64).prop_map(|(pfn, prot, ad)| {
        Entry::<Pte>::from_bits(Entry::<Pte>::leaf(Pfn::new(pfn & !511), prot).bits() | ad << 6)
    });
    let entry = prop_oneof![2 => leaf, 1 => non_present().prop_map(Entry::non_present)];
    prop_oneof![
        4 => (range(), 0x80000..0x90000u64, prot())
            .prop_map(|((start, len), frame, prot)| Op::Map { start, len, frame, prot }),
        3 => (0..COUNT, entry.clone()).prop_map(|(at, entry)| Op::Set { at, entry }),
        2 => (0..4usize, entry).prop_map(|(index, entry)| Op::Huge { index, entry: entry.bits() }),
        4 => (range(), prot()).prop_map(|((start, len), prot)| Op::Protect { start, len, prot }),
        4 => range().prop_map(|(start, len)| Op::Zap { start, len }),
        2 => (0..COUNT).prop_map(|at| Op::Free { at }),
        1 => range().prop_map(|(start, len)| Op::Fork { start, len }),
        1 => range().prop_map(|(start, len)| Op::Move { start, len }),
    ]
}

/// What one base page of `entry` says.
fn piece_of<L: Level>(entry: Entry<L>, index: u64) -> Entry {
    match entry.kind() {
        Kind::None | Kind::Table(_) => Entry::NONE,
        Kind::Leaf(_) | Kind::ProtNone(_) => Entry::from_bits(entry.bits() + (index << 10)),
        Kind::NonPresent(what) => Entry::non_present(match what {
            NonPresent::Swap(swap) => NonPresent::Swap(SwapEntry { offset: swap.offset + index, ..swap }),
            NonPresent::Migration(old) => NonPresent::Migration(Migration { pfn: old.pfn + index, ..old }),
            NonPresent::Poison(pfn) => NonPresent::Poison(pfn + index),
            NonPresent::Marker(marker) => NonPresent::Marker(marker),
        }),
    }
}

/// What the tables say of `len` pages from `start` on.
fn flatten(tables: &PageTables, start: u64, len: usize) -> Model {
    struct Flat {
        start: u64,
        model: Model,
    }
    impl Visit for Flat {
        fn entry<L: Level>(&mut self, addr: VirtAddr, slot: &Slot<L>) -> ControlFlow<()> {
            let first = addr.get() / PAGE_SIZE as u64;
            for index in 0..L::BYTES / PAGE_SIZE as u64 {
                let at = (first + index).wrapping_sub(self.start) as usize;
                if let Some(to) = self.model.get_mut(at) {
                    *to = piece_of(slot.get(), index);
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut flat = Flat { start, model: vec![Entry::NONE; len] };
    // Whole 2 MiB entries, as huge ones may reach over both ends.
    let (first, end) = (start & !511, (start + len as u64).next_multiple_of(512));
    assert!(tables.visit_range(pages(first, end), &mut flat).is_continue());
    flat.model
}

/// New rights, as `mprotect` gives them.
struct NewProt(Prot);

impl Protect for NewProt {
    fn change<L: Level>(&mut self, _: VirtAddr, entry: Entry<L>) -> Entry<L> {
        if entry.is_present() { entry.with_prot(self.0) } else { entry }
    }
}

/// As fork does: nobody may write, and every third page has to be asked for twice.
#[derive(Default)]
struct ForkCopy {
    refills: usize,
    filled: bool,
    count: usize,
}

impl CopyEntry for ForkCopy {
    fn copy<L: Level>(&mut self, _: VirtAddr, from: &Slot<L>, to: &Slot<L>) -> Copied {
        self.count += 1;
        if self.count.is_multiple_of(3) && !self.filled {
            return Copied::Refill;
        }
        self.filled = false;
        assert!(to.get().is_none());
        if from.get().is_present() {
            from.remove(Bits::W);
        }
        to.set(from.get());
        Copied::Next
    }

    fn refill(&mut self) -> Result<(), crate::error::AllocError> {
        self.refills += 1;
        self.filled = true;
        Ok(())
    }
}

struct Check {
    tables: PageTables,
    model: Model,
}

impl Check {
    fn range(start: usize, len: usize) -> VirtRange {
        pages(FIRST + start as u64, FIRST + (start + len) as u64)
    }

    fn split(&self, range: VirtRange) {
        let mut gather = Gather::new(&self.tables);
        self.tables.split_at(range.start, &mut gather, Gfp::KERNEL).unwrap();
        self.tables.split_at(range.end, &mut gather, Gfp::KERNEL).unwrap();
    }

    /// Whether there is a huge entry over page `at`.
    fn is_huge(&self, at: usize) -> bool {
        let entry = self.tables.lookup(page(FIRST + at as u64));
        entry.covers() > PAGE_SIZE as u64 && !matches!(entry.kind(), Kind::None)
    }

    fn run(&mut self, op: &Op) {
        let tables = &self.tables;
        match *op {
            Op::Map { start, len, frame, prot } => {
                if self.model[start..start + len].iter().all(|entry| entry.is_none()) {
                    tables.map_range(Self::range(start, len), Pfn::new(frame), prot, Gfp::KERNEL).unwrap();
                    for index in 0..len {
                        self.model[start + index] = Entry::leaf(Pfn::new(frame + index as u64), prot);
                    }
                }
            }
            Op::Set { at, entry } => match tables.lock_pte(page(FIRST + at as u64), Gfp::KERNEL) {
                Ok(guard) => {
                    assert_eq!(guard.get(), self.model[at]);
                    guard.set(entry);
                    drop(guard);
                    self.model[at] = entry;
                }
                Err(error) => assert!(matches!(error, NoPte::Huge(_)) && self.is_huge(at), "{error:?}"),
            },
            Op::Huge { index, entry } => {
                let addr = page(FIRST + index as u64 * 512);
                let nothing = matches!(tables.lookup(addr), AnyEntry::Pte(_)) || self.is_huge(index * 512);
                if !nothing {
                    let entry = Entry::<Pmd>::from_bits(entry);
                    plant(tables, addr, entry);
                    for piece in 0..512 {
                        self.model[index * 512 + piece] = piece_of(entry, piece as u64);
                    }
                }
            }
            Op::Protect { start, len, prot } => {
                let range = Self::range(start, len);
                self.split(range);
                let mut gather = Gather::new(tables);
                let changed = tables.protect_range(range, &mut gather, &mut NewProt(prot));
                let mut expected = 0;
                for entry in &mut self.model[start..start + len] {
                    let new = if entry.is_present() { entry.with_prot(prot) } else { *entry };
                    expected += (new != *entry) as u64;
                    *entry = new;
                }
                assert_eq!(changed, expected);
            }
            Op::Zap { start, len } => {
                let range = Self::range(start, len);
                self.split(range);
                let mut gather = Gather::new(tables);
                let mut zap = KeepSwap::default();
                tables.zap_range(range, &mut gather, &mut zap);
                let mut taken = 0;
                for entry in &mut self.model[start..start + len] {
                    let keeps = matches!(entry.kind(), Kind::NonPresent(NonPresent::Swap(_)));
                    if !keeps && !entry.is_none() {
                        taken += 1;
                        *entry = Entry::NONE;
                    }
                }
                assert_eq!(zap.pages, taken);
            }
            Op::Free { at } => {
                // The hole around `at`, as munmap finds it.
                if !self.model[at].is_none() {
                    return;
                }
                let low = self.model[..at].iter().rposition(|entry| !entry.is_none()).map(|low| low + 1);
                let high = self.model[at..].iter().position(|entry| !entry.is_none()).map(|high| at + high);
                let floor = low.map_or(VirtAddr::ZERO, |low| page(FIRST + low as u64));
                let ceiling = high.map_or(tables.mode().user_end(), |high| page(FIRST + high as u64));
                let mut gather = Gather::new(tables);
                let (start, end) = (low.unwrap_or(0), high.unwrap_or(COUNT));
                tables.free_tables(Self::range(start, end - start), floor, ceiling, &mut gather);
            }
            Op::Fork { start, len } => {
                let range = Self::range(start, len);
                self.split(range);
                let child = PageTables::new(Gfp::KERNEL).unwrap();
                let mut copy = ForkCopy::default();
                tables.copy_range(&child, range, Gfp::KERNEL, &mut copy).unwrap();
                for entry in &mut self.model[start..start + len] {
                    if entry.is_present() {
                        *entry = entry.read_only();
                    }
                }
                let copied = flatten(&child, FIRST + start as u64, len);
                assert_eq!(copied, self.model[start..start + len]);
                zap_all(&child);
            }
            Op::Move { start, len } => {
                let range = Self::range(start, len);
                let mut gather = Gather::new(tables);
                tables.split_range(range, &mut gather, Gfp::KERNEL).unwrap();
                let away = AWAY + start as u64;
                assert_eq!(tables.move_range(range, page(away), &mut gather, Gfp::KERNEL), range.end);
                assert!(flatten(tables, FIRST + start as u64, len).iter().all(|entry| entry.is_none()));
                assert_eq!(flatten(tables, away, len), self.model[start..start + len]);
                let back = pages(away, away + len as u64);
                assert_eq!(tables.move_range(back, range.start, &mut gather, Gfp::KERNEL), back.end);
                tables.free_tables(back, page(AWAY & !511), tables.mode().user_end(), &mut gather);
            }
        }
    }
}

/// Takes out all but swap entries.
#[derive(Default)]
struct KeepSwap {
    pages: u64,
}

impl Zap for KeepSwap {
    fn keeps<L: Level>(&mut self, _: VirtAddr, entry: Entry<L>) -> bool {
        matches!(entry.kind(), Kind::NonPresent(NonPresent::Swap(_)))
    }

    fn taken<L: Level>(&mut self, _: VirtAddr, _: Entry<L>, _: &mut Gather<'_>) {
        self.pages += L::BYTES / PAGE_SIZE as u64;
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 64 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn tables_say_what_was_done(
        mode in prop_oneof![Just(Mode::Sv39), Just(Mode::Sv48), Just(Mode::Sv57)],
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 5 } else { 60 }),
    ) {
        let _machine = machine(mode, 1);
        let free = crate::page_alloc::free_pages_count();
        let tables = PageTables::new(Gfp::KERNEL).unwrap();
        let mut check = Check { tables, model: vec![Entry::NONE; COUNT] };
        for op in &ops {
            check.run(op);
            let now = flatten(&check.tables, FIRST, COUNT);
            if let Some(at) = (0..COUNT).find(|at| now[*at] != check.model[*at]) {
                panic!("after {op:?}: page {at} is {:?}, not {:?}", now[at], check.model[at]);
            }
        }
        zap_all(&check.tables);
        assert_eq!(check.tables.bytes(), 0);
        drop(check);
        assert_eq!(crate::page_alloc::free_pages_count(), free);
    }
}
