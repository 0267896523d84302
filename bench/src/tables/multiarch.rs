//! Crate `page_table_multiarch`, with the host's entries; it frees its tables when it is dropped as a whole.

use memory_addr::{PhysAddr, VirtAddr};
use page_table_entry::MappingFlags;
use page_table_entry::x86_64::X64PTE;
use page_table_multiarch::{PageSize, PageTable64, PagingHandler, PagingMetaData};

use super::{PAGES, Tables, phys, pool, virt};

struct Pool;

impl PagingHandler for Pool {
    fn alloc_frames(count: usize, _: usize) -> Option<PhysAddr> {
        assert_eq!(count, 1, "tables are single frames here");
        Some(PhysAddr::from(pool::take()))
    }

    fn dealloc_frames(frame: PhysAddr, _: usize) {
        pool::give(frame.as_usize());
    }

    fn phys_to_virt(frame: PhysAddr) -> VirtAddr {
        VirtAddr::from(frame.as_usize())
    }
}

/// As for x86-64, without a TLB.
struct NoTlb;

impl PagingMetaData for NoTlb {
    const LEVELS: usize = 4;
    const PA_MAX_BITS: usize = 52;
    const VA_MAX_BITS: usize = 48;

    type VirtAddr = VirtAddr;

    fn flush_tlb(_: Option<VirtAddr>) {}
}

type Space = PageTable64<NoTlb, X64PTE, Pool>;

/// `None` while it is replaced.
pub struct Multiarch(Option<Space>);

const FLAGS: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE).union(MappingFlags::USER);

impl Multiarch {
    fn space(&mut self) -> &mut Space {
        self.0.get_or_insert_with(|| PageTable64::try_new().expect("frames"))
    }
}

impl Tables for Multiarch {
    const NAME: &'static str = "multiarch";

    fn new() -> Multiarch {
        pool::fill(PAGES / 256);
        Multiarch(None)
    }

    fn map(&mut self, pages: usize) {
        let frame = |at: VirtAddr| PhysAddr::from(phys(0) + (at.as_usize() - virt(0)));
        let bytes = pages * PageSize::Size4K as usize;
        self.space().cursor().map_region(virt(0).into(), frame, bytes, FLAGS, false).expect("not mapped yet");
    }

    #[inline(always)]
    fn map_one(&mut self, index: usize) {
        let (at, frame) = (virt(index).into(), phys(index).into());
        self.space().cursor().map(at, frame, PageSize::Size4K, FLAGS).expect("not mapped yet");
    }

    #[inline(always)]
    fn translate(&self, index: usize) -> usize {
        let found = self.0.as_ref().and_then(|space| space.query(virt(index).into()).ok());
        found.map_or(0, |(frame, _, _)| frame.as_usize())
    }

    fn protect(&mut self, pages: usize) {
        let bytes = pages * PageSize::Size4K as usize;
        let flags = FLAGS.difference(MappingFlags::WRITE);
        self.space().cursor().protect_region(virt(0).into(), bytes, flags).expect("mapped");
    }

    fn unmap(&mut self, pages: usize) {
        let bytes = pages * PageSize::Size4K as usize;
        self.space().cursor().unmap_region(virt(0).into(), bytes).expect("mapped");
        self.0 = None;
    }
}
