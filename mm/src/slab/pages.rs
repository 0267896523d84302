//! The pages of a cache: slabs that are new, and slabs that are empty (Linux: `allocate_slab`,
//! `__free_slab`, `kmem_cache_shrink`).

use core::sync::atomic::Ordering::Relaxed;

use super::freelist::SlabWord;
use super::geometry::Geometry;
use super::kmem::KmemCache;
use crate::addr::Order;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::page::{PagePtr, PageType, SlabArm, virt_to_page};
use crate::page_alloc::{PageBlock, alloc_pages};
use crate::stat::{self, Item};

impl KmemCache {
    /// Gives empty slabs of the list back to the page allocator until that are `most` pages; says how many.
    pub(super) fn shrink(&'static self, most: usize) -> usize {
        let mut pages = 0;
        while pages < most {
            let mut lists = self.lists.lock();
            // Nobody can give an object back to an empty slab, nor take one without the lock.
            let Some(slab) = lists.partial.iter().find(|slab| slab_word(*slab).is_empty()) else { break };
            lists.partial.remove(slab);
            drop(lists);
            pages += slab_order_of(slab).pages();
            self.free_slab(slab);
        }
        pages
    }

    /// Pages of the empty slabs on the list.
    pub(super) fn empty_pages(&self) -> usize {
        let lists = self.lists.lock();
        let empty = lists.partial.iter().filter(|slab| slab_word(*slab).is_empty());
        empty.map(|slab| slab_order_of(slab).pages()).sum()
    }

    fn item(&self) -> Item {
        if self.shape.reclaimable { Item::SlabReclaimable } else { Item::SlabUnreclaimable }
    }

    /// A slab with all objects free, on no list.
    pub(super) fn new_slab(&'static self, gfp: Gfp) -> Result<PagePtr, AllocError> {
        let mut gfp = gfp & !(Gfp::ZERO | Gfp::MOVABLE | Gfp::HIGHMEM | Gfp::COMP | Gfp::RECLAIMABLE);
        let &Geometry { order, min_order, .. } = self.geometry();
        if self.shape.reclaimable {
            gfp |= Gfp::RECLAIMABLE;
        }
        let block = if order > min_order {
            // Many objects are worth a larger block, but not reclaim for it, nor the reserve of who may not reclaim.
            let mut modest = (gfp | Gfp::NORETRY | Gfp::NOWARN) & !Gfp::NOFAIL;
            if gfp.may_sleep() {
                modest = (modest | Gfp::NOMEMALLOC) & !Gfp::RECLAIM;
            }
            alloc_pages(modest, order).or_else(|_| alloc_pages(gfp, min_order))
        } else {
            alloc_pages(gfp, order)
        }?;
        let order = block.order();
        let objects = self.geometry().objects_in(order);
        let slab = block.page();
        let _ = block.into_raw();
        for index in 0..order.pages() {
            let page = slab.nth(index);
            page.count().set_type(PageType::Slab);
            let arm = page.arm::<SlabArm>();
            arm.cache.store(core::ptr::from_ref(self).expose_provenance(), Relaxed);
            arm.index.store(index as u16, Relaxed);
            arm.order.store(order.get() as u16, Relaxed);
            arm.sheaf.store(self.offset.bytes() as u32, Relaxed);
        }
        let word = SlabWord::new().with_objects(objects as u16);
        slab.arm::<SlabArm>().freelist.store(word.into_bits(), Relaxed);
        if self.is_watched() {
            self.prepare_watched(slab);
        }
        self.slabs.fetch_add(1, Relaxed);
        self.objects.fetch_add(objects, Relaxed);
        stat::add(self.item(), order.pages() as i64);
        Ok(slab)
    }

    /// `slab` is empty and on no list.
    pub(super) fn free_slab(&'static self, slab: PagePtr) {
        if self.is_watched() {
            super::debug::check_slab(self, slab);
        }
        let order = slab_order_of(slab);
        let objects = slab_word(slab).objects() as usize;
        for index in 0..order.pages() {
            slab.nth(index).count().clear_type(PageType::Slab);
        }
        self.slabs.fetch_sub(1, Relaxed);
        self.objects.fetch_sub(objects, Relaxed);
        stat::add(self.item(), -(order.pages() as i64));
        // SAFETY: `new_slab` made it from a block of this order; no object of it is in use.
        drop(unsafe { PageBlock::from_raw(slab.pfn(), order) });
    }
}

/// The word of a slab at this moment.
pub(super) fn slab_word(slab: PagePtr) -> SlabWord {
    SlabWord::from_bits(slab.arm::<SlabArm>().freelist.load(Relaxed))
}

/// log2 of the pages of a slab.
pub(super) fn slab_order_of(slab: PagePtr) -> Order {
    Order::new(slab.arm::<SlabArm>().order.load(Relaxed) as usize).unwrap_or(Order::ZERO)
}

/// The first page of the slab that an object is in.
#[inline(always)]
pub(super) fn slab_of(object: *mut u8) -> PagePtr {
    let page = virt_to_page(object);
    let index = page.arm::<SlabArm>().index.load(Relaxed) as usize;
    page.nth(index.wrapping_neg())
}
