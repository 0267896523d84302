//! Page tables against a model that is nothing but an array of pages; several walkers at once.

mod groups;
mod model;
mod threads;

use core::ops::ControlFlow;
use core::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::addr::{PAGE_SIZE, Pfn, VirtAddr, VirtRange};
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::memory::memory;
use crate::stat::{self, Item};

/// The modes that a test goes through: one is enough for Miri, which takes seconds to make a machine.
const MODES: &[Mode] = if cfg!(miri) { &[Mode::Sv57] } else { &[Mode::Sv39, Mode::Sv48, Mode::Sv57] };

/// A machine with tables of `mode`.
fn machine(mode: Mode, harts: usize) -> HostMachine {
    let machine = HostMachine::new(if cfg!(miri) { 1 << 20 } else { 8 << 20 }, harts);
    memory().paging.mode.store(mode as u8, Relaxed);
    machine
}

fn page(index: u64) -> VirtAddr {
    VirtAddr::new(index * PAGE_SIZE as u64)
}

fn pages(start: u64, end: u64) -> VirtRange {
    VirtRange::new(page(start), page(end))
}

/// Puts `entry` into the table of its level over `addr`, where nothing is.
fn plant<L: Upper>(tables: &PageTables, addr: VirtAddr, entry: Entry<L>) {
    let table = copy::Reach::<L>::find(tables, addr, Gfp::KERNEL).unwrap().expect("no table below");
    // SAFETY: nobody frees it here.
    let slot = unsafe { table.slot(addr) };
    assert!(slot.get().is_none());
    slot.set(entry);
}

/// Takes everything out, and counts it.
#[derive(Default)]
struct Count {
    entries: usize,
    huge: usize,
}

impl Zap for Count {
    fn taken<L: Level>(&mut self, _: VirtAddr, _: Entry<L>, _: &mut Gather<'_>) {
        self.entries += 1;
        self.huge += (L::NUMBER > 0) as usize;
    }
}

fn zap_all(tables: &PageTables) -> Count {
    let mut count = Count::default();
    let all = VirtRange::new(VirtAddr::ZERO, tables.mode().user_end());
    let mut gather = Gather::new(tables);
    tables.zap_range(all, &mut gather, &mut count);
    tables.free_tables(all, all.start, all.end, &mut gather);
    count
}

#[test]
fn empty_tables_are_one_page() {
    for &mode in MODES {
        let _machine = machine(mode, 1);
        let free = crate::page_alloc::free_pages_count();
        let tables = PageTables::new(Gfp::KERNEL).unwrap();
        assert_eq!(crate::page_alloc::free_pages_count(), free - 1);
        assert_eq!(tables.bytes(), 0);
        assert!(tables.find_pte(page(1)).is_none());
        assert_eq!(tables.translate(page(1)), None);
        drop(tables);
        assert_eq!(crate::page_alloc::free_pages_count(), free);
    }
}

#[test]
fn one_page_takes_a_table_a_level_and_gives_them_back() {
    for &mode in MODES {
        let _machine = machine(mode, 1);
        let tables = PageTables::new(Gfp::KERNEL).unwrap();
        let last = VirtAddr::new(mode.user_end().get() - PAGE_SIZE as u64);
        for addr in [page(1), last] {
            let guard = tables.lock_pte(addr + 5, Gfp::KERNEL).unwrap();
            assert_eq!(guard.addr(), addr);
            guard.set(Entry::leaf(Pfn::new(0x80123), Prot::USER_RW).dirty());
            drop(guard);
            assert_eq!(tables.bytes(), (mode.levels() as usize - 1) * PAGE_SIZE);
            assert_eq!(stat::read(Item::PageTable), mode.levels() as u64 - 1);
            assert_eq!(tables.translate(addr + 0x78), Some(Pfn::new(0x80123).phys() + 0x78));
            assert_eq!(tables.find_pte(addr).unwrap().get().pfn(), Pfn::new(0x80123));
            let mut gather = Gather::new(&tables);
            let range = VirtRange::new(addr, addr + PAGE_SIZE as u64);
            let mut count = Count::default();
            tables.zap_range(range, &mut gather, &mut count);
            assert_eq!(count.entries, 1);
            tables.free_tables(range, VirtAddr::ZERO, mode.user_end(), &mut gather);
            drop(gather);
            assert_eq!(tables.bytes(), 0);
            assert_eq!(stat::read(Item::PageTable), 0);
        }
    }
}

#[test]
fn a_table_is_kept_for_its_neighbours() {
    let _machine = machine(Mode::Sv48, 1);
    let tables = PageTables::new(Gfp::KERNEL).unwrap();
    tables.map_range(pages(0, 1024), Pfn::new(0x80000), Prot::USER_R, Gfp::KERNEL).unwrap();
    let mut gather = Gather::new(&tables);
    tables.zap_range(pages(500, 1024), &mut gather, &mut Count::default());
    tables.free_tables(pages(500, 1024), page(500), tables.mode().user_end(), &mut gather);
    drop(gather);
    // The second last-level table is gone, the first is not.
    assert_eq!(tables.bytes(), 3 * PAGE_SIZE);
    assert_eq!(zap_all(&tables).entries, 500);
    assert_eq!(tables.bytes(), 0);
}

#[test]
fn the_kernels_half_is_in_every_root() {
    for &mode in MODES {
        let _machine = machine(mode, 1);
        let mut blocks = Vec::new();
        let mut alloc = || {
            let block = crate::page_alloc::alloc_pages(Gfp::KERNEL | Gfp::ZERO, crate::addr::Order::ZERO)?;
            blocks.push(block);
            Ok(blocks[blocks.len() - 1].pfn())
        };
        let direct = VirtAddr::new(0xffff_ffc0_0000_0000);
        let image = VirtAddr::new(0xffff_ffff_8000_0000);
        let io = VirtRange::new(direct + (160 << 30), direct + (162 << 30));
        let mut kernel = KernelTables::new(mode, &mut alloc).unwrap();
        let range = VirtRange::new(direct + (2 << 30), direct + (3 << 30) + (4 << 20));
        kernel
            .map(range, crate::addr::PhysAddr::new(2 << 30), Prot::KERNEL_RW, MaxLeaf::Giga, &mut alloc)
            .unwrap();
        let text = VirtRange::new(image + 0x1000, image + 0x5000);
        kernel
            .map(text, crate::addr::PhysAddr::new(0x8000_1000), Prot::KERNEL_RX, MaxLeaf::Mega, &mut alloc)
            .unwrap();
        kernel.reserve(io, &mut alloc).unwrap();
        kernel.publish(io);
        let tables = PageTables::new(Gfp::KERNEL).unwrap();
        let at = |addr: VirtAddr| tables.translate(addr).map(|phys| phys.get());
        assert_eq!(at(range.start + 12345), Some((2 << 30) + 12345));
        assert_eq!(at(range.end - 1), Some((3 << 30) + (4 << 20) - 1));
        assert_eq!(at(range.end), None);
        assert_eq!(at(text.start - 1), None);
        assert_eq!(at(text.end - 1), Some(0x8000_4fff));
        assert!(matches!(tables.lookup(range.start), AnyEntry::Pud(_)));
        assert!(matches!(tables.lookup(range.end - 1), AnyEntry::Pmd(_)));
        // What comes after a root was made is seen in it all the same.
        let device = ioremap(crate::addr::PhysAddr::new(0x1000_0123), 0x1000).unwrap();
        assert_eq!(at(device), Some(0x1000_0123));
        assert_eq!(at(device + 0xfff), Some(0x1000_1122));
        assert_ne!(ioremap(crate::addr::PhysAddr::new(0x1000_0000), 8).unwrap(), device);
        assert!(ioremap(crate::addr::PhysAddr::new(0x1000_0000), 4 << 30).is_err());
        assert!(ioremap(crate::addr::PhysAddr::new(u64::MAX - 5), 4).is_err());
    }
}

#[test]
fn no_memory_for_a_table_is_an_error() {
    let _machine = machine(Mode::Sv57, 1);
    let tables = PageTables::new(Gfp::KERNEL).unwrap();
    // Each time one allocation passes: the tables so far stay, and the fourth time there is nothing to do without.
    for round in 1..=4 {
        let injection = crate::inject::fail_after(1, crate::inject::Then::Fail);
        let result = tables.lock_pte(page(0x12345678), Gfp::KERNEL).map(drop);
        assert_eq!(result, if round < 4 { Err(NoPte::OutOfMemory) } else { Ok(()) }, "{round}");
        assert_eq!(injection.failed() > 0, round < 4);
        drop(injection);
        assert_eq!(tables.bytes(), round * PAGE_SIZE);
    }
    zap_all(&tables);
}

#[test]
fn a_gather_holds_pages_until_it_is_flushed() {
    let _machine = machine(Mode::Sv39, 1);
    let tables = PageTables::new(Gfp::KERNEL).unwrap();
    let free = crate::page_alloc::free_pages_count();
    let counts: &[u64] = if cfg!(miri) { &[1, 33] } else { &[1, 31, 32, 33, 544, 545, 1200] };
    for &count in counts {
        let mut gather = Gather::new(&tables);
        for _ in 0..count {
            gather.page(crate::page_alloc::alloc_folio(Gfp::KERNEL, crate::addr::Order::ZERO).unwrap());
        }
        assert!(crate::page_alloc::free_pages_count() <= free - count);
        drop(gather);
        assert_eq!(crate::page_alloc::free_pages_count(), free, "{count}");
    }
}

#[test]
fn a_walk_shows_entries_and_holes_in_order() {
    #[derive(Default)]
    struct See {
        seen: Vec<(u64, u64, bool)>,
        until: u64,
    }
    impl Visit for See {
        fn entry<L: Level>(&mut self, addr: VirtAddr, _: &Slot<L>) -> ControlFlow<()> {
            let first = addr.get() / PAGE_SIZE as u64;
            self.seen.push((first, first + L::BYTES / PAGE_SIZE as u64, true));
            if first >= self.until { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        fn hole(&mut self, range: VirtRange) -> ControlFlow<()> {
            let (start, end) = (range.start.get() / 4096, range.end.get() / 4096);
            match self.seen.last_mut() {
                Some((_, last, false)) => {
                    assert_eq!(*last, start);
                    *last = end;
                }
                _ => self.seen.push((start, end, false)),
            }
            ControlFlow::Continue(())
        }
    }
    let _machine = machine(Mode::Sv48, 1);
    let tables = PageTables::new(Gfp::KERNEL).unwrap();
    tables.map_range(pages(3, 5), Pfn::new(0x80000), Prot::USER_R, Gfp::KERNEL).unwrap();
    plant::<Pmd>(&tables, page(1024), Entry::leaf(Pfn::new(0x80000), Prot::USER_RW));
    plant::<Pud>(&tables, page(1 << 18), Entry::non_present(NonPresent::Marker(Marker::Guard)));
    let mut see = See { until: u64::MAX, ..See::default() };
    assert!(tables.visit_range(pages(0, 1 << 20), &mut see).is_continue());
    let expected = [
        (0, 3, false),
        (3, 4, true),
        (4, 5, true),
        (5, 1024, false),
        (1024, 1536, true),
        (1536, 1 << 18, false),
        (1 << 18, 2 << 18, true),
        (2 << 18, 4 << 18, false),
    ];
    assert_eq!(see.seen, expected);
    let mut see = See { until: 4, ..See::default() };
    assert!(tables.visit_range(pages(0, 1 << 20), &mut see).is_break());
    assert_eq!(see.seen, expected[..3]);
    // Where a huge entry is, there is no last-level entry to lock.
    assert!(matches!(tables.lock_pte(page(1030), Gfp::KERNEL), Err(NoPte::Huge(AnyEntry::Pmd(_)))));
    assert!(tables.find_pte(page(1030)).is_none());
    assert_eq!(tables.translate(page(1030)), Some(Pfn::new(0x80006).phys()));
    let count = zap_all(&tables);
    assert_eq!((count.entries, count.huge), (4, 2));
}

/// Fences of single pages that this thread was asked for.
fn fenced_pages() -> &'static core::sync::atomic::AtomicUsize {
    std::thread_local! {
        static FENCED: &'static core::sync::atomic::AtomicUsize = std::boxed::Box::leak(Default::default());
    }
    FENCED.with(|fenced| *fenced)
}

static COUNTING: rux_machine::host::Fences = rux_machine::host::Fences {
    page: |_, _| {
        fenced_pages().fetch_add(1, Relaxed);
    },
    asid: |_| {},
    all: || {},
    satp: |satp| satp,
    relax: || {},
};

#[test]
fn a_page_that_nobody_may_touch_any_more_is_fenced_before_it_goes() {
    let machine = machine(Mode::Sv48, 1);
    let tables = PageTables::new(Gfp::KERNEL).unwrap();
    rux_machine::host::enter(rux_machine::host::Place { fences: Some(&COUNTING), ..machine.place() }, 0);
    tables.switch_to(None);
    // Who took the rights away may not have come to its fence yet, and truncation does not wait for it.
    let entry = Entry::leaf(Pfn::new(0x80123), Prot::USER_RW).dirty().with_prot(Prot::NONE);
    tables.lock_pte(page(1), Gfp::KERNEL).unwrap().set(entry);
    let before = fenced_pages().load(Relaxed);
    tables.zap_range(pages(1, 2), &mut Gather::new(&tables), &mut Count::default());
    assert_eq!(fenced_pages().load(Relaxed), before + 1);
    tables.leave();
    zap_all(&tables);
}

#[test]
fn fences_are_counted() {
    let machine = machine(Mode::Sv48, 1);
    let tables = PageTables::new(Gfp::KERNEL).unwrap();
    rux_machine::host::enter(rux_machine::host::Place { fences: Some(&COUNTING), ..machine.place() }, 0);
    tables.switch_to(None);
    let counts = || [Item::TlbLocalFlushOne, Item::TlbLocalFlushAll, Item::TlbRemoteFlush].map(stat::read);
    let [one, all, remote] = counts();
    tables.fence_range(pages(1, 4));
    assert_eq!(counts(), [one + 3, all, remote], "nobody else runs it");
    tables.fence_range(pages(0, 1000));
    tables.fence_all();
    assert_eq!(counts(), [one + 3, all + 2, remote]);
    tables.leave();
}
