//! The descriptor of every frame of memory: 64 bytes (Linux: `struct page`, `include/linux/mm_types.h`).
//!
//! Descriptors are in one array by frame number (vmemmap), of which only the sections with memory exist.
//! What a page's words mean is its owner's business ([`arm`]); who may look at which is checked.
//! A free frame has no references; all zeroes is a frame that nobody was ever given.

pub mod arm;
mod bytes;
mod count;
mod flags;
mod folio;
mod memmap;
mod validate;

use core::fmt;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use core::cell::UnsafeCell;

pub use arm::{Arm, FirstTailArm, FolioArm, SlabArm, TableArm, TailArm};
pub use bytes::PageBytes;
pub(crate) use count::More;
pub use count::{Count, Put};
pub use flags::{PageFlags, PageType};
pub use folio::{Folio, FolioGuard, MappingWord};
#[cfg(not(target_os = "none"))]
pub(crate) use memmap::MAX_MEMORY;
pub(crate) use memmap::{Memmap, SECTIONS, section_map};
pub use memmap::{
    PAGES_PER_SECTION, SECTION_SHIFT, SECTION_SIZE, page_of, pfn_to_online_page, pfn_to_page, virt_to_page,
};
pub use validate::validate;

use crate::addr::{Order, Pfn};
use crate::zone::{BlockWord, Home};

/// One frame's descriptor.
#[repr(C, align(64))]
pub struct Page {
    flags: AtomicU32,
    /// Where the allocator puts the page when it is freed.
    pub(crate) home: Home,
    arm: UnsafeCell<[MaybeUninit<u64>; arm::ARM_SIZE / 8]>,
    /// In debug builds how often the page was freed; 0 otherwise.
    pub(crate) epoch: AtomicU32,
    /// Of the first page of a block of `zone::BLOCK_ORDER`: the block's mobility and zone.
    pub(crate) block: BlockWord,
    count: Count,
}

const _: () = assert!(size_of::<Page>() == 64);

// SAFETY: nothing but atomics is in it: the arms promise so.
unsafe impl Sync for Page {}
// SAFETY: as above.
unsafe impl Send for Page {}

impl Page {
    /// The state bits.
    #[inline(always)]
    pub fn flags(&self) -> PageFlags {
        PageFlags::from_bits_retain(self.flags.load(Relaxed))
    }

    /// The state bits of a page that nobody has a reference to: the caller freed it just now.
    ///
    /// # Safety
    /// Nobody changes the flags meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn flags_alone(&self) -> PageFlags {
        // SAFETY: no write races with this plain load, which the compiler can make part of a test.
        PageFlags::from_bits_retain(unsafe { *self.flags.as_ptr() })
    }

    /// Whether all of `bits` are set, and what was written before they were is seen.
    #[inline(always)]
    pub fn has(&self, bits: PageFlags) -> bool {
        self.flags.load(Acquire) & bits.bits() == bits.bits()
    }

    /// Sets bits; says what the flags were.
    #[inline(always)]
    pub fn set_flags(&self, bits: PageFlags) -> PageFlags {
        PageFlags::from_bits_retain(self.flags.fetch_or(bits.bits(), Release))
    }

    /// Clears bits; says what the flags were.
    #[inline(always)]
    pub fn clear_flags(&self, bits: PageFlags) -> PageFlags {
        PageFlags::from_bits_retain(self.flags.fetch_and(!bits.bits(), Release))
    }

    /// Sets the flags with a plain store, while nobody else has the page.
    #[inline(always)]
    pub fn init_flags(&self, flags: PageFlags) {
        self.flags.store(flags.bits(), Relaxed);
    }

    /// The flags as the word that sleepers sleep on.
    #[inline(always)]
    pub(crate) fn flags_word(&self) -> &AtomicU32 {
        &self.flags
    }

    /// References, mappings, type.
    #[inline(always)]
    pub fn count(&self) -> &Count {
        &self.count
    }

    /// References to the page.
    #[inline(always)]
    pub fn refcount(&self) -> u32 {
        self.count.refs()
    }

    /// Entries that map this very page.
    #[inline(always)]
    pub fn mapcount(&self) -> u32 {
        self.count.mapcount()
    }

    /// What the page is, if it is not a folio's.
    #[inline(always)]
    pub fn page_type(&self) -> Option<PageType> {
        self.count.page_type()
    }

    /// How often the page was freed, in debug builds; 0 otherwise. Whoever remembers the page by its frame can tell
    /// whether it is the same still.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed).into()
    }

    /// The owner's words as `A`. The page must be what `A` is for; debug builds check.
    #[inline(always)]
    pub fn arm<A: Arm>(&self) -> &A {
        debug_assert!(
            A::TYPE.is_none_or(|kind| self.page_type() == Some(kind)),
            "{self:?} is not {:?}",
            A::TYPE
        );
        self.arm_unchecked()
    }

    #[inline(always)]
    pub(crate) fn arm_unchecked<A: Arm>(&self) -> &A {
        // SAFETY: an arm is of atomics, fits, and its bits are always valid.
        unsafe { &*self.arm.get().cast::<A>() }
    }

    /// Zeroes the owner's words, while nobody else looks at them.
    pub fn clear_arm(&self) {
        for word in self.arm_unchecked::<RawArm>().0.iter() {
            word.store(0, Relaxed);
        }
    }

    /// The page as a pointer that reaches the descriptors beside it.
    #[inline(always)]
    pub fn ptr(&self) -> PagePtr {
        memmap::ptr_of(self)
    }

    /// Its frame number.
    #[inline(always)]
    pub fn pfn(&self) -> Pfn {
        memmap::pfn_of(self)
    }

    /// The head of the compound page that it is part of, or the page itself (Linux: `compound_head`).
    /// Steady only while a reference to the folio is held.
    #[inline(always)]
    pub fn head(&self) -> PagePtr {
        if self.flags().contains(PageFlags::TAIL) {
            let head = self.arm_unchecked::<TailArm>().head.load(Relaxed);
            debug_assert!(!head.is_null());
            if let Some(head) = NonNull::new(head) {
                return PagePtr(head);
            }
        }
        self.ptr()
    }

    /// As [`Page::head`], for who has no reference: the flag and the word may be of two owners, so what the word says
    /// counts only if a head can be there. It may be past when it is returned, but it is a descriptor.
    pub(crate) fn head_at_a_glance(&self) -> PagePtr {
        let page = self.ptr();
        if !self.flags().contains(PageFlags::TAIL) {
            return page;
        }
        let head = self.arm_unchecked::<TailArm>().head.load(Relaxed).addr();
        let behind = page.as_ptr().addr().wrapping_sub(head);
        let first = page.align_down(Order::MAX).as_ptr().addr();
        let possible = head >= first && behind.is_multiple_of(size_of::<Self>());
        if possible && head < page.as_ptr().addr() {
            return page.nth((behind / size_of::<Self>()).wrapping_neg());
        }
        page
    }

    /// The folio that it is part of (Linux: `page_folio`). Steady only while a reference is held.
    #[inline(always)]
    pub fn folio(&self) -> &Folio {
        Folio::of(self.head())
    }

    /// Whether one address space alone maps this page (Linux: `PageAnonExclusive`).
    #[inline(always)]
    pub fn anon_exclusive(&self) -> bool {
        self.flags().contains(PageFlags::ANON_EXCLUSIVE)
    }

    /// Says that one address space alone maps this page; under its page-table lock.
    #[inline(always)]
    pub fn set_anon_exclusive(&self) {
        self.set_flags(PageFlags::ANON_EXCLUSIVE);
    }

    /// Says that others may map this page too; under its page-table lock.
    #[inline(always)]
    pub fn clear_anon_exclusive(&self) {
        self.clear_flags(PageFlags::ANON_EXCLUSIVE);
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "page {:#x} {{ flags: {:?}, refs: {}, mapcount: {}, type: {:?}, words: {:x?}, home: {:?}, epoch: {} }}",
            self.pfn().get(),
            self.flags(),
            self.refcount(),
            self.mapcount(),
            self.page_type(),
            self.arm_unchecked::<RawArm>(),
            self.home,
            self.epoch.load(Relaxed),
        )
    }
}

/// The words as they are.
#[repr(C)]
#[derive(Debug)]
struct RawArm([AtomicU64; arm::ARM_SIZE / 8]);

// SAFETY: atomics, of just that size.
unsafe impl Arm for RawArm {
    const TYPE: Option<PageType> = None;
}

/// A descriptor's address. Copied freely; that the frame exists is known of every one.
///
/// Not a reference, so that arithmetic to neighbours is allowed: descriptors are one array.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct PagePtr(NonNull<Page>);

// SAFETY: a `Page` may be looked at by all.
unsafe impl Send for PagePtr {}
// SAFETY: as above.
unsafe impl Sync for PagePtr {}

impl PagePtr {
    /// The pointer.
    #[inline(always)]
    pub fn as_ptr(self) -> *mut Page {
        self.0.as_ptr()
    }

    /// From the pointer of [`PagePtr::as_ptr`]; `None` for null.
    ///
    /// # Safety
    /// It comes from [`PagePtr::as_ptr`], or is null.
    #[inline(always)]
    pub unsafe fn from_ptr(page: *mut Page) -> Option<Self> {
        NonNull::new(page).map(Self)
    }

    /// The descriptor `pages` further up, which is of the same block.
    #[inline(always)]
    pub(crate) fn nth(self, pages: usize) -> Self {
        // SAFETY: the caller stays in a block, all of whose descriptors exist; the result is not null.
        Self(unsafe { NonNull::new_unchecked(self.0.as_ptr().wrapping_add(pages)) })
    }

    /// The first descriptor of the block of `order` that holds the page.
    #[inline(always)]
    pub(crate) fn align_down(self, order: Order) -> Self {
        let mask = order.pages() * size_of::<Page>() - 1;
        let page = self.0.as_ptr();
        // SAFETY: a section's descriptors are aligned to 2 MiB and all exist, so the result does.
        Self(unsafe { NonNull::new_unchecked(page.wrapping_byte_sub(page.addr() & mask)) })
    }

    /// The first descriptor of the buddy of the block of `order` that starts here.
    #[inline(always)]
    pub(crate) fn buddy(self, order: Order) -> Self {
        let bit = order.pages() * size_of::<Page>();
        // SAFETY: as in `align_down`: a block and its buddy are in one section.
        Self(unsafe { NonNull::new_unchecked(self.0.as_ptr().map_addr(|addr| addr ^ bit)) })
    }
}

impl Deref for PagePtr {
    type Target = Page;

    #[inline(always)]
    fn deref(&self) -> &Page {
        // SAFETY: descriptors of memory live as long as the machine, and are of atomics.
        unsafe { self.0.as_ref() }
    }
}

impl fmt::Debug for PagePtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
