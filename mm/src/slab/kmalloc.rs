//! Sized allocations (Linux: `kmalloc`, `mm/slab_common.c`): a cache for each size class, whole pages
//! for what is larger.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rux_machine::IrqGuard;

use super::checks::{check_free, note_used};
use super::geometry::UNIT;
use super::kmem::{KmemCache, Shape};
use super::state::{SheafOffset, sheaf};
use crate::addr::{Order, PhysAddr};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::inject;
use crate::memory::memory;
use crate::page::{Arm, PagePtr, PageType, SlabArm, virt_to_page};
use crate::page_alloc::{PageBlock, alloc_pages};
use crate::stat::{self, Item};

/// Size classes, and what their caches are called: for ordinary objects, and for those that a shrinker
/// can free, which are accounted and placed apart.
const SIZES: [(usize, [&str; 2]); SIZE_CLASSES] = [
    (8, ["kmalloc-8", "kmalloc-rcl-8"]),
    (16, ["kmalloc-16", "kmalloc-rcl-16"]),
    (32, ["kmalloc-32", "kmalloc-rcl-32"]),
    (64, ["kmalloc-64", "kmalloc-rcl-64"]),
    (96, ["kmalloc-96", "kmalloc-rcl-96"]),
    (128, ["kmalloc-128", "kmalloc-rcl-128"]),
    (192, ["kmalloc-192", "kmalloc-rcl-192"]),
    (256, ["kmalloc-256", "kmalloc-rcl-256"]),
    (512, ["kmalloc-512", "kmalloc-rcl-512"]),
    (1024, ["kmalloc-1k", "kmalloc-rcl-1k"]),
    (2048, ["kmalloc-2k", "kmalloc-rcl-2k"]),
    (4096, ["kmalloc-4k", "kmalloc-rcl-4k"]),
    (8192, ["kmalloc-8k", "kmalloc-rcl-8k"]),
];
const SIZE_CLASSES: usize = 13;

/// How many caches of sized allocations there are; see [`SIZES`].
pub(super) const CLASSES: usize = 2 * SIZE_CLASSES;

/// The largest size that a class has.
const LARGEST: usize = SIZES[SIZE_CLASSES - 1].0;

/// Units of [`UNIT`] bytes in the largest class.
const UNITS: usize = LARGEST / UNIT;

/// Where the sheaf of the class for a size is, by the size less 1 in units. For all sizes, as RISC-V has no
/// quick way to count a number's leading zeroes; what most ask for is on the first lines of the cache.
static SHEAVES: [u16; UNITS] = {
    let mut table = [0; UNITS];
    let (mut unit, mut class) = (0, 0);
    while unit < table.len() {
        if SIZES[class].0 < (unit + 1) * UNIT {
            class += 1;
        }
        table[unit] = SheafOffset::of(class + 1).bytes() as u16;
        unit += 1;
    }
    table
};

/// The sheaves of objects that a shrinker can free are behind the others, class for class.
const TO_RECLAIMABLE: usize = SheafOffset::of(SIZE_CLASSES).bytes();

const _: () = assert!(SheafOffset::of(CLASSES).bytes() <= u16::MAX as usize);

/// The size to ask of a class for so that its objects have the alignment of `layout`.
#[inline(always)]
const fn aligned_size(layout: Layout) -> usize {
    let (size, align) = (layout.size(), layout.align());
    if align <= UNIT || align <= 32 && size > align {
        return size;
    }
    // No overflow: a layout's size, so rounded, fits an `isize`.
    size.next_multiple_of(align)
}

pub(super) const fn kmalloc_caches() -> [KmemCache; CLASSES] {
    const fn cache(class: usize) -> KmemCache {
        let (size, names) = SIZES[class % SIZE_CLASSES];
        let align = 1 << size.trailing_zeros();
        let kind = class / SIZE_CLASSES;
        let shape = Shape { name: names[kind], size, align, reclaimable: kind == 1 };
        KmemCache::new(shape, SheafOffset::of(class + 1))
    }
    let mut caches = [const { cache(0) }; CLASSES];
    let mut class = 1;
    while class < CLASSES {
        caches[class] = cache(class);
        class += 1;
    }
    caches
}

/// Allocates memory for `layout`; of size 0 it is a dangling pointer. With `ZERO` in `gfp` its bytes
/// are 0. Sleeps if `gfp` lets it; from interrupts with `ATOMIC` or `NOWAIT`.
///
/// # Errors
/// No memory, or more than the page allocator's largest block.
#[inline]
pub fn kmalloc(layout: Layout, gfp: Gfp) -> Result<NonNull<u8>, AllocError> {
    // Of objects that fit it, a class has those aligned to the largest power of two that divides its size.
    let unit = aligned_size(layout).wrapping_sub(1) / UNIT;
    // Nothing at all is a huge number here.
    if unit >= UNITS {
        return no_class(layout, gfp);
    }
    if cfg!(debug_assertions) && inject::due(gfp) {
        return Err(AllocError);
    }
    let kind = if gfp.contains(Gfp::RECLAIMABLE) { TO_RECLAIMABLE } else { 0 };
    let offset = SheafOffset::from_bytes(SHEAVES[unit] as usize + kind);
    let object = {
        let irqs = IrqGuard::new();
        sheaf(&irqs, offset).pop()
    };
    let object = match object {
        Some(object) => object,
        None => cache_at(offset).alloc_slow(gfp, layout.size())?,
    };
    note_used(|| Some(cache_at(offset)), object, SIZES[(offset.number() - 1) % SIZE_CLASSES].0);
    if gfp.contains(Gfp::ZERO) {
        // SAFETY: a new object of at least that size.
        unsafe { object.write_bytes(0, layout.size()) };
    }
    Ok(object)
}

/// The cache of sized allocations whose sheaves are there.
fn cache_at(offset: SheafOffset) -> &'static KmemCache {
    &memory().slab.kmalloc[offset.number() - 1]
}

/// Gives memory back.
///
/// # Safety
/// `ptr` comes from [`kmalloc`] with a size above 0 or from a [`super::Cache`], and nobody uses it any more.
#[inline]
pub unsafe fn kfree(ptr: NonNull<u8>) {
    let page = virt_to_page(ptr.as_ptr());
    if page.page_type() != Some(PageType::Slab) {
        return free_large(ptr, page);
    }
    let arm = page.arm::<SlabArm>();
    if cfg!(debug_assertions) {
        check_free(cache_of(arm), ptr);
    }
    let pushed = {
        let irqs = IrqGuard::new();
        sheaf(&irqs, SheafOffset::from_bytes(arm.sheaf.load(Relaxed) as usize)).push(ptr)
    };
    if !pushed {
        cache_of(arm).free_slow(ptr);
    }
}

fn cache_of(arm: &SlabArm) -> &'static KmemCache {
    // SAFETY: a slab's pages name its cache, which stays.
    unsafe { &*core::ptr::with_exposed_provenance(arm.cache.load(Relaxed)) }
}

/// The words of the first page of a large object.
#[repr(C)]
struct LargeArm {
    /// log2 of its pages.
    order: AtomicU64,
}

// SAFETY: one atomic.
unsafe impl Arm for LargeArm {
    const TYPE: Option<PageType> = Some(PageType::LargeObject);
}

/// Of size 0, or larger than any class: whole pages, which no shrinker's objects are.
#[cold]
#[inline(never)]
fn no_class(layout: Layout, gfp: Gfp) -> Result<NonNull<u8>, AllocError> {
    if layout.size() == 0 {
        return Ok(layout.dangling_ptr());
    }
    let order = Order::of_bytes(layout.pad_to_align().size()).ok_or(AllocError)?;
    let block = alloc_pages(gfp & !(Gfp::MOVABLE | Gfp::HIGHMEM | Gfp::COMP | Gfp::RECLAIMABLE), order)?;
    let page = block.page();
    page.count().set_type(PageType::LargeObject);
    page.arm::<LargeArm>().order.store(order.get() as u64, Relaxed);
    stat::add(Item::SlabUnreclaimable, order.pages() as i64);
    NonNull::new(block.into_raw().as_ptr()).ok_or(AllocError)
}

/// # Panics
/// When `ptr` is not of a large object: it was freed already, or never came from here.
#[cold]
#[inline(never)]
fn free_large(ptr: NonNull<u8>, page: PagePtr) {
    assert!(
        page.page_type() == Some(PageType::LargeObject) && PhysAddr::of_ptr(ptr.as_ptr()).is_page_aligned(),
        "kfree of {ptr:p}, which is no object: {page:?}"
    );
    let order = Order::new(page.arm::<LargeArm>().order.load(Relaxed) as usize).unwrap_or(Order::ZERO);
    page.count().clear_type(PageType::LargeObject);
    stat::add(Item::SlabUnreclaimable, -(order.pages() as i64));
    // SAFETY: `alloc_large` made it from a block of this order, and its owner gives it away.
    drop(unsafe { PageBlock::from_raw(page.pfn(), order) });
}

/// The class for a size from 1 to [`LARGEST`].
fn class_of(size: usize) -> usize {
    SheafOffset::from_bytes(SHEAVES[(size - 1) / UNIT] as usize).number() - 1
}

/// How many bytes an allocation of `bytes` really has (Linux: `kmalloc_size_roundup`).
pub fn usable_size(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=LARGEST => SIZES[class_of(bytes)].0,
        _ => Order::of_bytes(bytes).map_or(bytes, Order::bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic only, and much of it")]
    fn every_size_and_alignment_has_its_class() {
        for size in 1..=LARGEST {
            for align in (0..=13).map(|shift| 1 << shift) {
                let layout = Layout::from_size_align(size, align).unwrap();
                let class = class_of(aligned_size(layout));
                let fits = |class: usize| {
                    let class_size: usize = SIZES[class].0;
                    class_size >= size && class_size.is_multiple_of(align)
                };
                assert!(fits(class), "{layout:?} in {:?}", SIZES[class]);
                assert!(!(0..class).any(fits), "{layout:?} fits below {:?}", SIZES[class]);
            }
        }
    }
}
