//! Page flags, and what a page is when it is not a folio (Linux: `include/linux/page-flags.h`).

use bitflags::bitflags;

bitflags! {
    /// State bits of a page. Of a folio's tails only [`PageFlags::PER_PAGE`] are in use.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PageFlags: u32 {
        // The first nine are what freeing a page looks for: as bits of an immediate they are tested in one instruction.
        /// The folio's sleeping lock is taken.
        const LOCKED = 1 << 0;
        /// Head of a compound page.
        const HEAD = 1 << 1;
        /// Tail of a compound page.
        const TAIL = 1 << 2;
        /// On an LRU list.
        const LRU = 1 << 3;
        /// Being written.
        const WRITEBACK = 1 << 4;
        /// Not for the allocator: firmware, the kernel's image, or never given to it.
        const RESERVED = 1 << 5;
        /// In the swap cache.
        const SWAPCACHE = 1 << 6;
        /// Has a private word that its owner must let go of.
        const PRIVATE = 1 << 7;
        /// In a hart's batch, soon to be on an LRU list.
        const LRU_BATCH = 1 << 8;
        /// Cannot be reclaimed; on the list of those, if on one.
        const UNEVICTABLE = 1 << 9;
        /// Has data that its file or swap place has not.
        const DIRTY = 1 << 10;
        /// Its data can be read.
        const UPTODATE = 1 << 11;
        // These two beside each other are the number of a page's LRU list.
        /// On the active list, or to go there.
        const ACTIVE = 1 << 12;
        /// Its place is swap, not a file: anonymous and shared memory.
        const SWAPBACKED = 1 << 13;
        /// Used since reclaim last looked.
        const REFERENCED = 1 << 14;
        /// To be reclaimed as soon as it is written.
        const RECLAIM = 1 << 15;
        /// Locked in memory (`mlock`), kept off the reclaimed lists.
        const MLOCKED = 1 << 16;
        /// Was evicted not long ago.
        const WORKINGSET = 1 << 17;
        /// Start of a readahead window.
        const READAHEAD = 1 << 18;
        /// Mapped by one address space alone: a write needs no copy. Per page.
        const ANON_EXCLUSIVE = 1 << 19;
        /// The memory is broken. Per page.
        const HWPOISON = 1 << 20;
        /// For the owner of the mapping (Linux: `PG_owner_priv_1`).
        const OWNER_PRIV = 1 << 21;
        /// An error on the way to its place.
        const ERROR = 1 << 22;
        /// Somebody sleeps until `LOCKED` or `WRITEBACK` goes.
        const WAITERS = 1 << 23;

        /// On an LRU list or about to be.
        const LISTED = Self::LRU.bits() | Self::LRU_BATCH.bits();

        /// What each page of a folio has for itself.
        const PER_PAGE = Self::ANON_EXCLUSIVE.bits() | Self::HWPOISON.bits();
        /// Set on a page that is being freed, any of these is a bug of whoever frees it.
        const BAD_AT_FREE = Self::LOCKED.bits() | Self::TAIL.bits() | Self::LISTED.bits()
            | Self::WRITEBACK.bits() | Self::RESERVED.bits() | Self::SWAPCACHE.bits()
            | Self::PRIVATE.bits();
    }
}

/// What a page is, when it can have no mapcount since no user maps it.
///
/// Stored where the mapcount is, with the top bit set (Linux: `page_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum PageType {
    /// First page of a free block of the buddy allocator.
    Buddy = 0x8000_0001,
    /// Part of a slab.
    Slab = 0x8000_0003,
    /// A page table.
    Table = 0x8000_0004,
    /// First page of a large object of `slab`'s sized allocations.
    LargeObject = 0x8000_0005,
    /// Part of a kernel stack.
    Stack = 0x8000_0006,
}

impl PageType {
    pub(crate) const BIT: u32 = 0x8000_0000;
    /// Where a free block's order is, within the type `Buddy`.
    pub(crate) const ORDER_SHIFT: u32 = 8;
    const ORDER_MASK: u32 = 0xf << Self::ORDER_SHIFT;

    pub(crate) const fn from_bits(bits: u32) -> Option<Self> {
        Some(match bits & !Self::ORDER_MASK {
            0x8000_0001 => Self::Buddy,
            0x8000_0003 => Self::Slab,
            0x8000_0004 => Self::Table,
            0x8000_0005 => Self::LargeObject,
            0x8000_0006 => Self::Stack,
            _ => return None,
        })
    }
}
