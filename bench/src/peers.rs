//! Allocators of small objects behind one interface: the peers.

use std::alloc::{GlobalAlloc, Layout, System, alloc_zeroed};
use std::ptr::NonNull;

use slabmalloc::{AllocationError, Allocator, LargeObjectPage, ObjectPage, ZoneAllocator};
use talc::DefaultBinning;
use talc::base::Talc as TalcBase;
use talc::source::Manual;

/// Objects of sizes known at run time.
pub trait Objects {
    const NAME: &'static str;
    fn new() -> Self;
    fn alloc(&mut self, layout: Layout) -> NonNull<u8>;
    /// # Safety
    /// `object` comes from `alloc` with `layout`, and nobody uses it any more.
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout);
}

/// Memory of the host for an allocator that manages some; never given back.
fn arena(bytes: usize, align: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(bytes, align).expect("a layout");
    // SAFETY: the size is not 0.
    NonNull::new(unsafe { alloc_zeroed(layout) }).expect("host memory")
}

const ARENA: usize = 64 << 20;

/// What has the interface of a global allocator.
macro_rules! global {
    ($type:ident, $name:literal, $global:expr) => {
        pub struct $type;

        impl Objects for $type {
            const NAME: &'static str = $name;

            fn new() -> $type {
                $type
            }

            #[inline(always)]
            fn alloc(&mut self, layout: Layout) -> NonNull<u8> {
                // SAFETY: no layout here has size 0.
                NonNull::new(unsafe { $global.alloc(layout) }).expect("host memory")
            }

            #[inline(always)]
            unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
                // SAFETY: the caller's to promise.
                unsafe { $global.dealloc(object.as_ptr(), layout) }
            }
        }
    };
}

global!(MiMalloc, "mimalloc", mimalloc::MiMalloc);
global!(Glibc, "glibc", System);

/// Crate `talc`, without a lock.
pub struct Talc(TalcBase<Manual, DefaultBinning>);

impl Objects for Talc {
    const NAME: &'static str = "talc";

    fn new() -> Talc {
        let mut talc = TalcBase::new(Manual);
        // SAFETY: the arena is nobody else's.
        unsafe { talc.claim(arena(ARENA, 4096).as_ptr(), ARENA) }.expect("a heap");
        Talc(talc)
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> NonNull<u8> {
        // SAFETY: no layout here has size 0.
        unsafe { self.0.allocate(layout) }.expect("memory")
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's to promise.
        unsafe { self.0.deallocate(object.as_ptr(), layout) }
    }
}

/// Crate `linked_list_allocator`, without a lock.
pub struct LinkedList(linked_list_allocator::Heap);

impl Objects for LinkedList {
    const NAME: &'static str = "linked_list";

    fn new() -> LinkedList {
        let mut heap = linked_list_allocator::Heap::empty();
        // SAFETY: the arena is nobody else's, and lives for ever.
        unsafe { heap.init(arena(ARENA, 4096).as_ptr(), ARENA) };
        LinkedList(heap)
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> NonNull<u8> {
        self.0.allocate_first_fit(layout).expect("memory")
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's to promise.
        unsafe { self.0.deallocate(object, layout) }
    }
}

/// Crate `slabmalloc`, with pages when it asks for them.
pub struct Slabmalloc(ZoneAllocator<'static>);

/// The largest object that its small pages serve.
const SMALL: usize = 256;

impl Slabmalloc {
    #[cold]
    fn refill(&mut self, layout: Layout) {
        // SAFETY: pages of zeroes, of the type's size and alignment, which nobody else has, are empty ones.
        let refilled = unsafe {
            if layout.size() <= SMALL {
                let page = arena(size_of::<ObjectPage>(), size_of::<ObjectPage>());
                self.0.refill(layout, page.cast::<ObjectPage>().as_mut())
            } else {
                let page = arena(size_of::<LargeObjectPage>(), size_of::<LargeObjectPage>());
                self.0.refill_large(layout, page.cast::<LargeObjectPage>().as_mut())
            }
        };
        refilled.expect("a size that it has pages for");
    }
}

impl Objects for Slabmalloc {
    const NAME: &'static str = "slabmalloc";

    fn new() -> Slabmalloc {
        Slabmalloc(ZoneAllocator::new())
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> NonNull<u8> {
        loop {
            match self.0.allocate(layout) {
                Ok(object) => return object,
                Err(AllocationError::OutOfMemory) => self.refill(layout),
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        self.0.deallocate(object, layout).expect("an object of its own");
    }
}
