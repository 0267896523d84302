//! The words of a descriptor that belong to whoever owns the page: one arm for each kind of owner.
//!
//! An arm is reached by its type, and the page says what it is: [`super::Page::arm`] checks. Every
//! arm consists of atomics, so that any bits are a valid value and a look from afar (`/proc`,
//! compaction) is never undefined. A room may define its own arm.

use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, AtomicU64, AtomicUsize};

use super::{Page, PageType};
use crate::sync::RawSpinLock;

/// Bytes that an arm may have.
pub const ARM_SIZE: usize = 40;

/// One owner's view of the words.
///
/// # Safety
/// `repr(C)`, at most [`ARM_SIZE`] bytes, aligned to 8 at most, and nothing but atomics in it.
pub unsafe trait Arm {
    /// What the page's type must be while the arm is in use; `None` for a folio.
    const TYPE: Option<PageType>;
}

macro_rules! arms {
    ($($arm:ty => $kind:expr;)*) => {$(
        const _: () = assert!(size_of::<$arm>() <= ARM_SIZE && align_of::<$arm>() <= 8);
        // SAFETY: `repr(C)` of atomics; the size is asserted above.
        unsafe impl Arm for $arm {
            const TYPE: Option<PageType> = $kind;
        }
    )*};
}

arms! {
    FolioArm => None;
    TailArm => None;
    FirstTailArm => None;
    FreeArm => None;
    TableArm => Some(PageType::Table);
    SlabArm => Some(PageType::Slab);
}

/// The head page of a folio.
#[repr(C)]
#[derive(Debug)]
pub struct FolioArm {
    /// Links of the LRU list, see the room `lru`: where the next page's links are. Of a page in a hart's batch, its
    /// place there; of one that is kept off the lists, how many mappings lock it.
    pub(crate) lru_next: AtomicU32,
    /// Where the links of the page before are.
    pub(crate) lru_prev: AtomicU32,
    /// Whose memory it is, tagged (Linux: `PAGE_MAPPING_FLAGS`); 0 for nobody's.
    pub mapping: AtomicUsize,
    /// Where in the mapping, in base pages.
    pub index: AtomicU64,
    /// The owner's word: a swap entry, a buffer.
    pub private: AtomicU64,
}

/// Any tail page of a compound page.
#[repr(C)]
#[derive(Debug)]
pub struct TailArm {
    /// The head page.
    pub head: AtomicPtr<Page>,
}

/// The first tail page of a compound page: what the folio has beside its head.
#[repr(C)]
#[derive(Debug)]
pub struct FirstTailArm {
    /// The head page, as in every tail.
    pub head: AtomicPtr<Page>,
    /// log2 of the number of pages.
    pub order: AtomicU32,
    /// How many times the folio is mapped by one entry for all of it.
    pub entire_mapcount: AtomicU32,
    /// How many mappings there are in all, of any of its pages or of all.
    pub large_mapcount: AtomicU32,
    /// How many times it is pinned for longer (`pin_user_pages`).
    pub pincount: AtomicU32,
}

/// First page of a free block, in the buddy allocator or on a hart's list.
#[repr(C)]
#[derive(Debug)]
pub struct FreeArm {
    /// The next block of the list; null at its end.
    pub(crate) next: AtomicPtr<Page>,
    /// The block before; null for the first. Not kept on harts' lists.
    pub(crate) prev: AtomicPtr<Page>,
    /// The number of the list that it is on, in the buddy allocator: its mobility and order.
    pub(crate) list: AtomicU32,
}

/// A page table.
#[repr(C)]
#[derive(Debug)]
pub struct TableArm {
    /// The split lock of the table's entries.
    pub lock: RawSpinLock,
    /// How many entries are in use, where that is kept.
    pub used: AtomicU32,
    /// The address space that it is part of, for those that come by way of the page.
    pub owner: AtomicUsize,
    /// The next table to be freed, while it waits for readers.
    pub next: AtomicPtr<Page>,
    /// Free for the room `paging`.
    pub extra: [AtomicU64; 2],
}

/// A page of a slab; the freelist and the links are the first page's.
#[repr(C)]
#[derive(Debug)]
pub struct SlabArm {
    /// The cache that the objects are of.
    pub cache: AtomicUsize,
    /// First free object and counters, one word.
    pub freelist: AtomicU64,
    /// The next slab of the list.
    pub next: AtomicPtr<Page>,
    /// The slab before.
    pub prev: AtomicPtr<Page>,
    /// How many pages of the slab are before this one.
    pub index: AtomicU16,
    /// log2 of the slab's pages.
    pub order: AtomicU16,
    /// Where within a hart's the sheaf of the cache is, in bytes: all that an ordinary free needs to know.
    pub sheaf: AtomicU32,
}
