//! Zones: memory of one kind, with the buddy allocator's free lists and the watermarks
//! (Linux: `struct zone`, `include/linux/mmzone.h`).
//!
//! Pages are grouped by mobility in blocks of 2 MiB ([`MigrateType`]), so that memory which cannot move
//! does not scatter. A zone starts and ends at a multiple of the largest order, so that buddies are of
//! one zone. What an allocation tries, and in which order, is the room `page_alloc`'s affair.

mod buddy;
mod check;
mod list;
mod steal;
mod watermark;

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::addr::{Order, Pfn};
use crate::gfp::Gfp;
use crate::page::{Page, PagePtr};
use crate::sync::{IrqSpinLock, Rank};

pub use check::Corrupt;
pub(crate) use list::FreeLists;
pub use watermark::{AllocFlags, Watermark};

/// log2 of the pages of a block whose pages have one mobility: 2 MiB (Linux: `pageblock_order`).
pub const BLOCK_ORDER: Order = Order::HUGE;

/// Which memory it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ZoneId {
    /// Ordinary memory: all that there is.
    Normal,
}

impl ZoneId {
    /// How many zones there are.
    pub const COUNT: usize = 1;
    /// All, lowest memory first.
    pub const ALL: [Self; Self::COUNT] = [Self::Normal];

    /// Its name in `/proc/zoneinfo`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
        }
    }

    /// The highest zone that an allocation may use (Linux: `gfp_zone`).
    #[inline(always)]
    pub const fn of(_gfp: Gfp) -> Self {
        Self::Normal
    }
}

/// How the pages of a block may be got back (Linux: `enum migratetype`). The numbers are those of
/// `Gfp`'s two bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MigrateType {
    /// Not at all: the kernel's own data.
    Unmovable = 0,
    /// By copying them elsewhere: user memory and the page cache.
    Movable = 1,
    /// By asking a shrinker.
    Reclaimable = 2,
}

impl MigrateType {
    /// How many there are.
    pub const COUNT: usize = 3;
    /// All, by number.
    pub const ALL: [Self; Self::COUNT] = [Self::Unmovable, Self::Movable, Self::Reclaimable];

    /// What an allocation asks for (Linux: `gfp_migratetype`).
    #[inline(always)]
    pub const fn of(gfp: Gfp) -> Self {
        match (gfp.bits() / Gfp::MOVABLE.bits()) & 3 {
            1 => Self::Movable,
            2 => Self::Reclaimable,
            _ => Self::Unmovable,
        }
    }

    #[inline(always)]
    pub(crate) const fn from_index(index: u32) -> Self {
        match index {
            1 => Self::Movable,
            2 => Self::Reclaimable,
            _ => Self::Unmovable,
        }
    }

    /// Its name in `/proc/pagetypeinfo`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmovable => "Unmovable",
            Self::Movable => "Movable",
            Self::Reclaimable => "Reclaimable",
        }
    }
}

const _: () = assert!(Gfp::RECLAIMABLE.bits() == 2 * Gfp::MOVABLE.bits());

/// Memory of one kind.
pub struct Zone {
    id: ZoneId,
    pub(crate) lists: IrqSpinLock<FreeLists>,
    /// Pages in the free lists. Written under the lock, read by all.
    free: AtomicU64,
    /// The three watermarks, in pages.
    marks: [AtomicU64; 3],
    /// First frame, and one past the last.
    span: [AtomicU64; 2],
    /// Pages of RAM in the span.
    present: AtomicU64,
    /// Pages that the allocator was given.
    managed: AtomicU64,
}

impl Zone {
    pub(crate) const fn new(id: ZoneId) -> Self {
        Self {
            id,
            lists: IrqSpinLock::new(Rank::Zone, FreeLists::new()),
            free: AtomicU64::new(0),
            marks: [const { AtomicU64::new(0) }; 3],
            span: [const { AtomicU64::new(0) }; 2],
            present: AtomicU64::new(0),
            managed: AtomicU64::new(0),
        }
    }

    /// Which memory it is.
    pub fn id(&self) -> ZoneId {
        self.id
    }

    /// Pages in the free lists; those on harts' lists are not in it.
    #[inline]
    pub fn free_pages(&self) -> u64 {
        self.free.load(Relaxed)
    }

    /// Pages that the allocator was given, free or not.
    #[inline]
    pub fn managed_pages(&self) -> u64 {
        self.managed.load(Relaxed)
    }

    /// Pages of RAM, with those that the allocator was not given.
    #[inline]
    pub fn present_pages(&self) -> u64 {
        self.present.load(Relaxed)
    }

    /// The first frame, and one past the last; holes are in between.
    pub fn span(&self) -> (Pfn, Pfn) {
        (Pfn::new(self.span[0].load(Relaxed)), Pfn::new(self.span[1].load(Relaxed)))
    }

    /// How many free blocks of each order there are of one type (`/proc/pagetypeinfo`).
    pub fn free_blocks_of(&self, kind: MigrateType) -> [u64; Order::COUNT] {
        let mut counts = [0; Order::COUNT];
        let lists = self.lists.lock();
        for (count, order) in counts.iter_mut().zip(Order::all()) {
            *count = lists.count(kind, order);
        }
        counts
    }

    /// How many free blocks of each order there are, over all types (`/proc/buddyinfo`).
    pub fn free_blocks(&self) -> [u64; Order::COUNT] {
        let of = MigrateType::ALL.map(|kind| self.free_blocks_of(kind));
        core::array::from_fn(|order| of.iter().map(|counts| counts[order]).sum())
    }

    /// Adds a range of RAM to the span; nothing of it is free yet.
    pub(crate) fn grow(&self, start: Pfn, end: Pfn) {
        let (low, high) = self.span();
        let empty = low == high;
        self.span[0].store(if empty { start } else { low.min(start) }.get(), Relaxed);
        self.span[1].store(if empty { end } else { high.max(end) }.get(), Relaxed);
        self.present.fetch_add(end - start, Relaxed);
    }

    /// Gives a range of frames that nobody uses to the allocator, in the largest blocks.
    pub(crate) fn give(&self, start: Pfn, end: Pfn) {
        let mut at = start;
        while at < end {
            let left = (end - at).ilog2() as usize;
            let order = Order::new(left.min(at.get().trailing_zeros() as usize)).unwrap_or(Order::MAX);
            self.free_block(crate::page::pfn_to_page(at), order);
            at = at + order.pages() as u64;
        }
        self.managed.fetch_add(end - start, Relaxed);
    }
}

impl PagePtr {
    /// The number of the mobility of the block that the page is in.
    #[inline(always)]
    fn block_kind(self) -> u32 {
        self.align_down(BLOCK_ORDER).block.0.load(Relaxed)
    }
}

impl Page {
    /// The mobility of the block that the page is in.
    pub fn block_type(&self) -> MigrateType {
        MigrateType::from_index(self.ptr().block_kind())
    }
}

/// Where a hart's list of order 0 of some mobility is, in bytes from the first one: a page knows it, so
/// that freeing it is no arithmetic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListOffset(u32);

impl ListOffset {
    #[inline(always)]
    fn of(kind: u32) -> Self {
        Self(kind * crate::pcp::KIND_BYTES)
    }

    /// Bytes.
    #[inline(always)]
    pub(crate) fn bytes(self) -> usize {
        self.0 as usize
    }
}

/// Of the first page of an allocated block: the list of a hart that it goes to when it is freed, that of
/// the mobility of its block; kept here so that a free need not look there. Written under the zone's lock.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Home(AtomicU32);

impl Home {
    /// The list.
    #[inline(always)]
    pub(crate) fn list(&self) -> ListOffset {
        ListOffset(self.0.load(Relaxed))
    }

    #[inline(always)]
    fn set(&self, list: ListOffset) {
        self.0.store(list.0, Relaxed);
    }
}

/// The number of a mobility. Written under the zone's lock.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct BlockKind(AtomicU32);

/// Sets the mobility of the block that starts with `first`. Under the zone's lock, or at boot.
pub(crate) fn set_block_type(first: PagePtr, kind: MigrateType) {
    debug_assert!(first.pfn().is_aligned(BLOCK_ORDER));
    first.block.0.store(kind as u32, Relaxed);
}
