//! Where descriptors are: an array by frame number, in sections of 128 MiB of memory, each of which has
//! 2 MiB of descriptors or none (Linux: sparsemem with vmemmap, `mm/sparse.c`).

use core::ptr::NonNull;
use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use rux_machine::{Hot, Hw};

use super::{Page, PagePtr};
use crate::addr::{Order, PAGE_SIZE, Pfn, PhysAddr, VirtAddr, VirtRange};
use crate::memory::{Memory, memory};

/// log2 of the bytes of a section. Miri gets the smallest that a block of the largest order fits in, as it looks at
/// each descriptor a thousand times more slowly.
pub const SECTION_SHIFT: u32 =
    if cfg!(miri) { Order::MAX.get() as u32 + crate::addr::PAGE_SHIFT } else { 27 };
/// Bytes of memory in a section: what one 2 MiB leaf of descriptors describes.
pub const SECTION_SIZE: u64 = 1 << SECTION_SHIFT;
/// Frames in a section.
pub const PAGES_PER_SECTION: u64 = SECTION_SIZE >> crate::addr::PAGE_SHIFT;
/// Bytes of a section's descriptors.
pub(crate) const SECTION_MAP_SIZE: usize = PAGES_PER_SECTION as usize * size_of::<Page>();
/// Sections that can be: 1 TiB.
pub(crate) const SECTIONS: usize = 8192;
#[cfg(not(target_os = "none"))]
/// Bytes of memory that can have descriptors.
pub(crate) const MAX_MEMORY: u64 = SECTIONS as u64 * SECTION_SIZE;

const _: () = assert!(cfg!(miri) || SECTION_MAP_SIZE == 2 << 20);

/// Which sections have descriptors.
#[derive(Debug)]
pub(crate) struct Memmap {
    present: [AtomicU64; SECTIONS / 64],
}

impl Memmap {
    pub(crate) const fn new() -> Self {
        Self { present: [const { AtomicU64::new(0) }; SECTIONS / 64] }
    }

    /// Whether the frame's section has descriptors.
    #[inline]
    pub(crate) fn contains(&self, pfn: Pfn) -> bool {
        let section = (pfn.get() / PAGES_PER_SECTION) as usize;
        self.present.get(section / 64).is_some_and(|word| word.load(Acquire) >> (section % 64) & 1 != 0)
    }

    /// Says that the section with this frame has descriptors, all written.
    pub(crate) fn set_present(&self, pfn: Pfn) {
        let section = (pfn.get() / PAGES_PER_SECTION) as usize;
        self.present[section / 64].fetch_or(1 << (section % 64), Release);
    }

    /// The first frames of the sections that have descriptors, in ascending order.
    pub(crate) fn sections(&self) -> impl Iterator<Item = Pfn> + '_ {
        self.present.iter().enumerate().flat_map(|(i, word)| {
            let bits = word.load(Relaxed);
            (0..64)
                .filter(move |bit| bits >> bit & 1 != 0)
                .map(move |bit| Pfn::new((i as u64 * 64 + bit) * PAGES_PER_SECTION))
        })
    }
}

impl Memory {
    /// Past the last frame that has a descriptor (Linux: `max_dump_pfn`). Frames below may have none.
    pub fn end_pfn(&self) -> Pfn {
        self.memmap.sections().last().map_or(Pfn::new(0), |first| first + PAGES_PER_SECTION)
    }

    /// Pages that hold descriptors (`nr_memmap_boot_pages`).
    pub fn memmap_pages(&self) -> u64 {
        self.memmap.sections().count() as u64 * (SECTION_MAP_SIZE / PAGE_SIZE) as u64
    }
}

/// The kernel's addresses of the descriptors of the section with `pfn`.
pub(crate) fn section_map(pfn: Pfn) -> VirtRange {
    let first = pfn.get() / PAGES_PER_SECTION;
    // On the host frame 0 may have its descriptor, which does not exist, below address 0.
    let base = Hw::vmemmap().addr() as u64;
    let start = VirtAddr::new(base.wrapping_add(first * SECTION_MAP_SIZE as u64));
    VirtRange::new(start, start + SECTION_MAP_SIZE as u64)
}

/// The descriptor of a frame that the caller knows to be memory: it was allocated, or a page table
/// that the kernel wrote names it. One addition.
#[inline(always)]
pub fn pfn_to_page(pfn: Pfn) -> PagePtr {
    let at = Hw::vmemmap().cast::<Page>().wrapping_add(pfn.get() as usize);
    debug_assert!(memory().memmap.contains(pfn), "{pfn:?} has no descriptor");
    // SAFETY: the array does not start at 0 and does not wrap.
    PagePtr(unsafe { NonNull::new_unchecked(at) })
}

/// The descriptor of any frame number at all; `None` where there is no memory (Linux:
/// `pfn_to_online_page`). For scans and for numbers that a user gave.
#[inline]
pub fn pfn_to_online_page(pfn: Pfn) -> Option<PagePtr> {
    memory().memmap.contains(pfn).then(|| pfn_to_page(pfn))
}

/// The descriptor of the frame that an address of the direct map is in.
#[inline(always)]
pub fn virt_to_page(virt: *const u8) -> PagePtr {
    pfn_to_page(PhysAddr::of_ptr(virt).pfn())
}

/// The descriptor of the frame at a physical address that is memory.
#[inline(always)]
pub fn page_of(phys: PhysAddr) -> PagePtr {
    pfn_to_page(phys.pfn())
}

#[inline(always)]
pub(super) fn ptr_of(page: &Page) -> PagePtr {
    let base = Hw::vmemmap();
    let at = base.wrapping_add((&raw const *page).addr().wrapping_sub(base.addr()));
    // SAFETY: the address of a reference is not null.
    PagePtr(unsafe { NonNull::new_unchecked(at.cast()) })
}

#[inline(always)]
pub(super) fn pfn_of(page: &Page) -> Pfn {
    let offset = (&raw const *page).addr().wrapping_sub(Hw::vmemmap().addr());
    Pfn::new((offset / size_of::<Page>()) as u64)
}
