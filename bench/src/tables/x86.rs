//! Crate `x86_64`: page by page, as it maps no regions; the fences that it asks for are left out.

use std::ptr::from_mut;

use x86_64::structures::paging::mapper::{CleanUp, MappedFrame, TranslateResult};
use x86_64::structures::paging::{
    FrameAllocator, FrameDeallocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame,
    Size4KiB, Translate,
};
use x86_64::{PhysAddr, VirtAddr};

use super::{Tables, phys, pool, virt};

struct Pool;

// SAFETY: a page of the pool is nobody else's.
unsafe impl FrameAllocator<Size4KiB> for Pool {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        PhysFrame::from_start_address(PhysAddr::new(pool::take() as u64)).ok()
    }
}

impl FrameDeallocator<Size4KiB> for Pool {
    unsafe fn deallocate_frame(&mut self, frame: PhysFrame) {
        pool::give(frame.start_address().as_u64() as usize);
    }
}

pub struct X86(OffsetPageTable<'static>);

const FLAGS: PageTableFlags =
    PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE).union(PageTableFlags::USER_ACCESSIBLE);

fn page(index: usize) -> Page {
    Page::containing_address(VirtAddr::new(virt(index) as u64))
}

impl Tables for X86 {
    const NAME: &'static str = "x86_64";

    fn new() -> X86 {
        pool::fill(64);
        let root = from_mut(Box::leak(Box::new(PageTable::new())));
        // SAFETY: an empty table; physical addresses are the host's, so the offset is 0.
        X86(unsafe { OffsetPageTable::new(&mut *root, VirtAddr::new(0)) })
    }

    fn map(&mut self, pages: usize) {
        (0..pages).for_each(|index| self.map_one(index));
    }

    #[inline(always)]
    fn map_one(&mut self, index: usize) {
        let frame = PhysFrame::containing_address(PhysAddr::new(phys(index) as u64));
        // SAFETY: no hardware walks these tables.
        unsafe { self.0.map_to(page(index), frame, FLAGS, &mut Pool) }.expect("not mapped yet").ignore();
    }

    #[inline(always)]
    fn translate(&self, index: usize) -> usize {
        match self.0.translate(VirtAddr::new(virt(index) as u64)) {
            TranslateResult::Mapped { frame: MappedFrame::Size4KiB(frame), offset, .. } => {
                (frame.start_address().as_u64() + offset) as usize
            }
            _ => 0,
        }
    }

    fn protect(&mut self, pages: usize) {
        let flags = FLAGS.difference(PageTableFlags::WRITABLE);
        for index in 0..pages {
            // SAFETY: as above.
            unsafe { self.0.update_flags(page(index), flags) }.expect("mapped").ignore();
        }
    }

    fn unmap(&mut self, pages: usize) {
        for index in 0..pages {
            self.0.unmap(page(index)).expect("mapped").1.ignore();
        }
        let range = Page::range_inclusive(page(0), page(pages - 1));
        // SAFETY: the tables come from the pool, and nobody else has them.
        unsafe { self.0.clean_up_addr_range(range, &mut Pool) };
    }
}
