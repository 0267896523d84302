//! Page tables of 16,384 pages of 4 KiB: an operation is a page. Nothing is fenced.

use std::hint::black_box;
use std::ops::ControlFlow;

use rux_mm::addr::{PAGE_SIZE, Pfn, VirtAddr, VirtRange};
use rux_mm::gfp::Gfp;
use rux_mm::host::HostMachine;
use rux_mm::paging::{Bits, Entry, Gather, Level, Mode, PageTables, Prot, Protect, Slot, Visit, Zap};

use crate::measure::{Bench, Numbers};

#[cfg(target_arch = "x86_64")]
mod multiarch;
#[cfg(target_arch = "x86_64")]
mod pool;
#[cfg(target_arch = "x86_64")]
mod x86;

const GROUP: &str = "tables";
const PAGES: usize = 16_384;
/// Where they are mapped, in pages; the tables over them are theirs alone.
const FIRST: usize = 1 << 20;
/// The frames that they are mapped to: above, as `aarch64-paging` wants tables at positive addresses.
const FRAME: usize = 2 * FIRST;

/// Tables of one address space.
trait Tables {
    const NAME: &'static str;
    fn new() -> Self;
    /// Maps `pages` from [`FIRST`] on.
    fn map(&mut self, pages: usize);
    /// Maps the page `index` pages after [`FIRST`].
    fn map_one(&mut self, index: usize);
    /// The physical address behind that page.
    fn translate(&self, index: usize) -> usize;
    /// As if a program had written to all of it.
    fn touch(&mut self, _pages: usize) {}
    fn protect(&mut self, pages: usize);
    /// Unmaps and frees the tables.
    fn unmap(&mut self, pages: usize);
}

fn virt(index: usize) -> usize {
    (FIRST + index) * PAGE_SIZE
}

fn phys(index: usize) -> usize {
    (FRAME + index) * PAGE_SIZE
}

pub fn run(bench: &Bench) {
    all::<Rux>(bench);
    #[cfg(target_arch = "x86_64")]
    all::<multiarch::Multiarch>(bench);
    #[cfg(target_arch = "x86_64")]
    all::<x86::X86>(bench);
    all::<Aarch64>(bench);
}

fn all<T: Tables>(bench: &Bench) {
    let pages = bench.times(PAGES);
    let mut order: Vec<usize> = (0..pages).collect();
    Numbers::new().shuffle(&mut order);
    let mut tables = T::new();
    // Once, so that what is allocated once is there.
    tables.map(pages);
    tables.unmap(pages);
    bench.count(GROUP, "map region", T::NAME, pages, || tables.map(pages));
    bench.count(GROUP, "translate", T::NAME, pages, || {
        black_box(order.iter().fold(0, |sum: usize, &index| sum.wrapping_add(tables.translate(index))));
    });
    tables.touch(pages);
    bench.count(GROUP, "protect region", T::NAME, pages, || tables.protect(pages));
    bench.count(GROUP, "unmap region, tables freed", T::NAME, pages, || tables.unmap(pages));
    bench.count(GROUP, "map single, random", T::NAME, pages, || {
        order.iter().for_each(|&index| tables.map_one(index));
    });
    assert_eq!(tables.translate(pages / 2), phys(pages / 2), "{}", T::NAME);
    tables.unmap(pages);
}

struct Rux {
    tables: PageTables,
    _machine: HostMachine,
}

fn range(pages: usize) -> VirtRange {
    let start = VirtAddr::new(virt(0) as u64);
    VirtRange::new(start, start + (pages * PAGE_SIZE) as u64)
}

/// Takes entries out and counts no pages: the peers do not either.
struct TakeOut(u64);

impl Zap for TakeOut {
    #[inline(always)]
    fn taken<L: Level>(&mut self, _: VirtAddr, entry: Entry<L>, _: &mut Gather<'_>) {
        self.0 = self.0.wrapping_add(entry.bits());
    }
}

struct ReadOnly;

impl Protect for ReadOnly {
    #[inline(always)]
    fn change<L: Level>(&mut self, _: VirtAddr, entry: Entry<L>) -> Entry<L> {
        entry.with_prot(Prot::USER_R)
    }
}

/// Sets A and D: an entry without them may be changed by the hardware at any moment, and is dearer to change.
struct Touch;

impl Visit for Touch {
    fn entry<L: Level>(&mut self, _: VirtAddr, slot: &Slot<L>) -> ControlFlow<()> {
        slot.insert(Bits::A | Bits::D);
        ControlFlow::Continue(())
    }
}

impl Tables for Rux {
    const NAME: &'static str = "rux";

    fn new() -> Rux {
        let machine = HostMachine::new(64 << 20, 1);
        let tables = PageTables::new(Gfp::KERNEL).expect("memory");
        assert_eq!(tables.mode(), Mode::Sv48, "as many levels as the peers have");
        Rux { tables, _machine: machine }
    }

    fn map(&mut self, pages: usize) {
        let mapped = self.tables.map_range(range(pages), Pfn::new(FRAME as u64), Prot::USER_RW, Gfp::KERNEL);
        mapped.expect("memory");
    }

    #[inline(always)]
    fn map_one(&mut self, index: usize) {
        let guard = self.tables.lock_pte(VirtAddr::new(virt(index) as u64), Gfp::KERNEL).expect("memory");
        guard.set(Entry::leaf(Pfn::new((FRAME + index) as u64), Prot::USER_RW));
    }

    #[inline(always)]
    fn translate(&self, index: usize) -> usize {
        self.tables.translate(VirtAddr::new(virt(index) as u64)).expect("mapped").get() as usize
    }

    fn touch(&mut self, pages: usize) {
        let _: ControlFlow<()> = self.tables.visit_range(range(pages), &mut Touch);
    }

    fn protect(&mut self, pages: usize) {
        let mut gather = Gather::new(&self.tables);
        self.tables.protect_range(range(pages), &mut gather, &mut ReadOnly);
    }

    fn unmap(&mut self, pages: usize) {
        let (mut gather, mut out) = (Gather::new(&self.tables), TakeOut(0));
        self.tables.zap_range(range(pages), &mut gather, &mut out);
        self.tables.free_tables(range(pages), VirtAddr::ZERO, self.tables.mode().user_end(), &mut gather);
        black_box(out.0);
    }
}

use aarch64_paging::descriptor::El1Attributes;
use aarch64_paging::linearmap::LinearMap;
use aarch64_paging::paging::{Constraints, El1And0, MemoryRegion, VaRange};

/// Crate `aarch64-paging`; its tables come from the host's allocator.
struct Aarch64(LinearMap<El1And0>);

const NORMAL: El1Attributes =
    El1Attributes::VALID.union(El1Attributes::ACCESSED).union(El1Attributes::NON_GLOBAL);

impl Aarch64 {
    fn set(&mut self, first: usize, pages: usize, attributes: El1Attributes) {
        let region = MemoryRegion::new(virt(first), virt(first + pages));
        let small = Constraints::NO_BLOCK_MAPPINGS | Constraints::NO_CONTIGUOUS_HINT;
        self.0.map_range_with_constraints(&region, attributes, small).expect("in range");
    }
}

impl Tables for Aarch64 {
    const NAME: &'static str = "aarch64-paging";

    fn new() -> Aarch64 {
        let offset = phys(0) as isize - virt(0) as isize;
        Aarch64(LinearMap::with_asid(1, 0, offset, El1And0, VaRange::Lower))
    }

    fn map(&mut self, pages: usize) {
        self.set(0, pages, NORMAL);
    }

    fn map_one(&mut self, index: usize) {
        self.set(index, 1, NORMAL);
    }

    fn translate(&self, index: usize) -> usize {
        let mut found = 0;
        let region = MemoryRegion::new(virt(index), virt(index + 1));
        self.0
            .walk_range(&region, &mut |_, entry, _| {
                found = entry.output_address().0;
                Ok(())
            })
            .expect("in range");
        found
    }

    fn protect(&mut self, pages: usize) {
        self.set(0, pages, NORMAL | El1Attributes::READ_ONLY);
    }

    fn unmap(&mut self, pages: usize) {
        self.set(0, pages, El1Attributes::empty());
        self.0.compact_subtables();
    }
}
