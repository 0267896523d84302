//! Allocators of frames behind one interface: ours and the peers, each with 1 GiB.

use std::hint::black_box;

use bitmap_allocator::{BitAlloc, BitAlloc1M};
use buddy_system_allocator::FrameAllocator;
use rux_mm::addr::{Order, Pfn};
use rux_mm::gfp::Gfp;
use rux_mm::host::HostMachine;
use rux_mm::{PageBlock, alloc_pages};

/// Frames of 1 GiB.
pub const FRAMES: usize = 1 << 18;

/// Blocks of 2^order frames.
pub trait Frames {
    const NAME: &'static str;
    fn new() -> Self;
    /// `None` when there is none to be had.
    fn alloc(&mut self, order: usize) -> Option<u32>;
    fn free(&mut self, first: u32, order: usize);
    /// Allocates and frees.
    #[inline(always)]
    fn pair(&mut self, order: usize) {
        let block = self.alloc(order).expect("memory");
        self.free(black_box(block), order);
    }
    /// Frames to be had, all in all.
    fn total(&self) -> usize;
    /// Where an allocator keeps lists for each hart: works as another one. The others are told apart by nothing.
    fn hart(&mut self, _hart: usize) {}
}

/// Ours: through the interface that the kernel uses, guards included.
pub struct Rux {
    machine: HostMachine,
}

/// As for user pages, which most pages are.
const GFP: Gfp = Gfp::HIGHUSER_MOVABLE.union(Gfp::NOWARN).difference(Gfp::DIRECT_RECLAIM);

impl Frames for Rux {
    const NAME: &'static str = "rux";

    fn new() -> Rux {
        Rux { machine: HostMachine::new(FRAMES * rux_mm::addr::PAGE_SIZE, 2) }
    }

    #[inline(always)]
    fn alloc(&mut self, order: usize) -> Option<u32> {
        let order = Order::new(order)?;
        Some(alloc_pages(GFP, order).ok()?.into_raw().get() as u32)
    }

    #[inline(always)]
    fn free(&mut self, first: u32, order: usize) {
        let Some(order) = Order::new(order) else { return };
        // SAFETY: `alloc` took it apart, and the benchmark frees a block once.
        drop(unsafe { PageBlock::from_raw(Pfn::new(first as u64), order) });
    }

    /// As the kernel does it: the block's owner frees it.
    #[inline(always)]
    fn pair(&mut self, order: usize) {
        let block = alloc_pages(GFP, Order::new(order).expect("an order")).expect("memory");
        black_box(block.page());
    }

    fn total(&self) -> usize {
        rux_mm::page_alloc::total_pages() as usize
    }

    fn hart(&mut self, hart: usize) {
        self.machine.enter(hart);
    }
}

/// Crate `buddy_system_allocator`.
pub struct BuddySystem(Box<FrameAllocator<32>>);

impl Frames for BuddySystem {
    const NAME: &'static str = "buddy_system";

    fn new() -> BuddySystem {
        let mut frames = Box::new(FrameAllocator::new());
        frames.add_frame(0, FRAMES);
        BuddySystem(frames)
    }

    #[inline(always)]
    fn alloc(&mut self, order: usize) -> Option<u32> {
        self.0.alloc(1 << order).map(|first| first as u32)
    }

    #[inline(always)]
    fn free(&mut self, first: u32, order: usize) {
        self.0.dealloc(first as usize, 1 << order);
    }

    fn total(&self) -> usize {
        FRAMES
    }
}

/// Crate `bitmap-allocator`.
pub struct Bitmap(Box<BitAlloc1M>);

impl Frames for Bitmap {
    const NAME: &'static str = "bitmap";

    fn new() -> Bitmap {
        let mut frames = Box::new(BitAlloc1M::DEFAULT);
        frames.insert(0..FRAMES);
        Bitmap(frames)
    }

    #[inline(always)]
    fn alloc(&mut self, order: usize) -> Option<u32> {
        let first =
            if order == 0 { self.0.alloc() } else { self.0.alloc_contiguous(None, 1 << order, order) };
        first.map(|first| first as u32)
    }

    #[inline(always)]
    fn free(&mut self, first: u32, order: usize) {
        if order == 0 {
            self.0.dealloc(first as usize);
        } else {
            self.0.dealloc_contiguous(first as usize, 1 << order);
        }
    }

    fn total(&self) -> usize {
        FRAMES
    }
}
