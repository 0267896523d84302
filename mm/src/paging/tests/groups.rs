//! Entries in use, which go by groups, between others, which do not: each is seen once, in order, and as it is.

use super::*;
use crate::addr::Order;
use crate::page_alloc::{FolioRef, alloc_folio};

/// 11 pages that begin within a group, and go over the end of a table.
const FIRST: u64 = 505;
const PAGES: u64 = 11;
const ALL: u64 = (1 << PAGES) - 1;

/// Tables with the pages of `used` written to, and the rest unwritten, prot-none or empty by turns.
fn fill(tables: &PageTables, used: u64) -> Vec<Entry> {
    (0..PAGES)
        .map(|index| {
            let leaf = Entry::leaf(Pfn::new(0x80000 + index), Prot::USER_RW);
            let entry = match index % 3 {
                _ if used >> index & 1 != 0 => leaf.dirty(),
                0 => leaf.young(),
                1 => leaf.dirty().with_prot(Prot::NONE),
                _ => Entry::NONE,
            };
            tables.lock_pte(page(FIRST + index), Gfp::KERNEL).unwrap().set(entry);
            entry
        })
        .collect()
}

fn now(tables: &PageTables) -> Vec<Entry> {
    (0..PAGES).map(|index| tables.find_pte(page(FIRST + index)).unwrap().get()).collect()
}

/// Keeps the pages of `kept`.
struct ZapSome {
    kept: u64,
    taken: Vec<(VirtAddr, u64)>,
}

impl Zap for ZapSome {
    fn keeps<L: Level>(&mut self, addr: VirtAddr, _: Entry<L>) -> bool {
        self.kept >> (addr.get() / PAGE_SIZE as u64 - FIRST) & 1 != 0
    }

    fn taken<L: Level>(&mut self, addr: VirtAddr, entry: Entry<L>, _: &mut Gather<'_>) {
        self.taken.push((addr, entry.bits()));
    }
}

/// Takes W from all pages but those of `kept`.
struct ReadOnly {
    kept: u64,
}

impl Protect for ReadOnly {
    fn change<L: Level>(&mut self, addr: VirtAddr, entry: Entry<L>) -> Entry<L> {
        let kept = self.kept >> (addr.get() / PAGE_SIZE as u64 - FIRST) & 1 != 0;
        if kept { entry } else { entry.read_only() }
    }
}

#[test]
fn groups_and_single_entries_come_to_the_same() {
    let _machine = machine(Mode::Sv48, 1);
    let tables = PageTables::new(Gfp::KERNEL).unwrap();
    let range = pages(FIRST, FIRST + PAGES);
    let patterns = [ALL, ALL & !1, ALL & !(1 << 5), 0b111_1000_1111, 0b011_1100_0000, 0];
    for used in patterns {
        for kept in [0, 1, 1 << 3, 1 << 10, 0b101_0010_0100, ALL] {
            let old = fill(&tables, used);
            let is_kept = |index: usize| kept >> index & 1 != 0;

            let mut gather = Gather::new(&tables);
            let changed = tables.protect_range(range, &mut gather, &mut ReadOnly { kept });
            let expected: Vec<Entry> = (0..PAGES as usize)
                .map(|index| if is_kept(index) { old[index] } else { old[index].read_only() })
                .collect();
            assert_eq!(now(&tables), expected, "{used:b} {kept:b}");
            let differ = old.iter().zip(&expected).filter(|(old, new)| old != new).count();
            assert_eq!(changed, differ as u64);

            let mut zap = ZapSome { kept, taken: Vec::new() };
            tables.zap_range(range, &mut gather, &mut zap);
            let (mut left, mut taken) = (Vec::new(), Vec::new());
            for (index, entry) in expected.into_iter().enumerate() {
                left.push(if is_kept(index) { entry } else { Entry::NONE });
                if !is_kept(index) && !entry.is_none() {
                    taken.push((page(FIRST + index as u64), entry.bits()));
                }
            }
            assert_eq!(now(&tables), left, "{used:b} {kept:b}");
            assert_eq!(zap.taken, taken, "{used:b} {kept:b}");
        }
    }
    zap_all(&tables);
}

/// Takes pages out as an unmapping does: their references wait for the fence.
struct Release {
    pages: u64,
}

impl Zap for Release {
    fn taken<L: Level>(&mut self, addr: VirtAddr, entry: Entry<L>, gather: &mut Gather<'_>) {
        // A full one would flush: with the table locked, and before it knows what to fence.
        assert!(!gather.is_full(), "{addr:?} goes to a full gather");
        self.pages += 1;
        // SAFETY: the reference that the test gave the entry.
        gather.page(unsafe { FolioRef::from_raw(entry.pfn()) });
    }
}

#[test]
fn a_full_gather_takes_nothing_out_before_it_has_fenced() {
    let _machine = machine(Mode::Sv48, 1);
    let tables = PageTables::new(Gfp::KERNEL).unwrap();
    let free = crate::page_alloc::free_pages_count();
    let whole = |_: &u64| true;
    // What the gather holds by itself ends within a group then, and the groups beside it are empty.
    let gaps = |index: &u64| index % 8 < 3;
    let patterns: [&dyn Fn(&u64) -> bool; 2] = [&whole, &gaps];
    // From within a group and from its start; what the gather holds by itself ends with a group then.
    for (first, pattern) in [0, 2, 500].into_iter().flat_map(|first| patterns.map(|pattern| (first, pattern)))
    {
        let all = 0..100;
        for index in all.clone().filter(pattern) {
            let pfn = alloc_folio(Gfp::KERNEL, Order::ZERO).unwrap().into_raw();
            let leaf = Entry::leaf(pfn, Prot::USER_RW).dirty();
            tables.lock_pte(page(first + index), Gfp::KERNEL).unwrap().set(leaf);
        }
        let injection = crate::inject::fail_after(0, crate::inject::Then::Fail);
        let mut release = Release { pages: 0 };
        let mut gather = Gather::new(&tables);
        tables.zap_range(pages(first, first + all.end), &mut gather, &mut release);
        assert!(injection.failed() > 0);
        drop((gather, injection));
        assert_eq!(release.pages, all.filter(pattern).count() as u64, "from page {first} on");
        zap_all(&tables);
        assert_eq!(crate::page_alloc::free_pages_count(), free);
    }
}
