//! Zones: memory of one kind, with the buddy allocator's free lists and the watermarks
//! (Linux: `struct zone`, `include/linux/mmzone.h`).
//!
//! Pages are grouped by mobility in blocks of 2 MiB ([`MigrateType`]), so that memory which cannot move
//! does not scatter. A zone starts and ends at a multiple of the largest order, so that buddies are of
//! one zone. What an allocation tries, and in which order, is the room `page_alloc`'s affair.

mod buddy;
mod check;
mod highatomic;
mod info;
mod isolate;
mod layout;
mod list;
mod migrate;
mod reserve;
mod steal;
mod watermark;
mod words;

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::addr::{Order, Pfn};
use crate::gfp::Gfp;
use crate::sync::{IrqSpinLock, MaskedGuard, Rank};

pub(crate) use buddy::FirstTry;
pub use check::Corrupt;
pub(crate) use highatomic::Force;
pub use info::{ProtectedPages, ZoneInfo};
pub use isolate::NotIsolated;
pub use layout::{Amount, Layout};
pub(crate) use list::FreeLists;
pub use migrate::MigrateType;
pub(crate) use migrate::init_block;
pub use reserve::OutOfRange;
use watermark::NOTHING;
pub use watermark::{AllocFlags, Request, Watermark};
pub(crate) use watermark::{Settings, update as update_watermarks};
pub(crate) use words::{BlockWord, Home};

/// What [`words`] stands on. `mm/tests/loom` gives it loom's instead.
mod shim {
    pub(super) use core::sync::atomic::{AtomicU32, Ordering};
}

/// log2 of the pages of a block whose pages have one mobility: 2 MiB (Linux: `pageblock_order`, the order
/// of a huge page).
pub const BLOCK_ORDER: Order = Order::HUGE;

/// Which memory it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum ZoneId {
    /// Below 4 GiB: devices with 32-bit addresses reach it.
    Dma32 = 0,
    /// The rest that the kernel may use.
    Normal = 1,
    /// Only for what can be moved (`kernelcore=`, `movablecore=`, hot-added memory).
    Movable = 2,
    /// Of a device: has descriptors, but the allocator does not hand it out.
    Device = 3,
}

impl ZoneId {
    /// How many zones there are.
    pub const COUNT: usize = 4;
    /// Those that the allocator hands out.
    pub const ALLOCATED: usize = 3;
    /// All, lowest memory first.
    pub const ALL: [Self; Self::COUNT] = [Self::Dma32, Self::Normal, Self::Movable, Self::Device];

    /// Its name in `/proc/zoneinfo`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
            Self::Movable => "Movable",
            Self::Device => "Device",
        }
    }

    #[inline(always)]
    pub(crate) const fn from_index(index: u32) -> Self {
        // Of two bits each is a zone, so that this is no more than a mask.
        match index % Self::COUNT as u32 {
            0 => Self::Dma32,
            1 => Self::Normal,
            2 => Self::Movable,
            _ => Self::Device,
        }
    }

    /// The highest zone that an allocation may use (Linux: `gfp_zone`).
    #[inline(always)]
    pub const fn of(gfp: Gfp) -> Self {
        if gfp.contains(Gfp::DMA32) {
            Self::Dma32
        } else if gfp.contains(Gfp::HIGHMEM.union(Gfp::MOVABLE)) {
            Self::Movable
        } else {
            Self::Normal
        }
    }
}

/// Memory of one kind.
pub struct Zone {
    id: ZoneId,
    pub(crate) lists: IrqSpinLock<FreeLists>,
    /// Pages in the free lists, but for isolated ones. Written under the lock, read by all.
    free: AtomicU64,
    /// The four watermarks, in pages.
    marks: [AtomicU64; Watermark::COUNT],
    /// What is kept from allocations that could also have used the zones above, by their highest zone.
    lowmem_reserve: [AtomicU64; ZoneId::COUNT],
    /// What the first try of every allocation leaves free, by its highest zone: see [`Zone::set_floors`].
    floors: [AtomicU64; ZoneId::COUNT],
    /// Pages of blocks that are kept for [`MigrateType::HighAtomic`], free or not. Written under the lock.
    highatomic: AtomicU64,
    /// Blocks that are [`MigrateType::Isolate`]. Written under the lock.
    isolated_blocks: AtomicU64,
    /// Whether the last look found less than the high watermark free (Linux: `ZONE_BELOW_HIGH`).
    pub(crate) below_high: AtomicU32,
    /// How many pages harts keep of the zone.
    pub(crate) pcp: crate::pcp::Settings,
    /// First frame, and one past the last.
    span: [AtomicU64; 2],
    /// Pages of RAM in the span.
    present: AtomicU64,
    /// Pages that the allocator was given.
    managed: AtomicU64,
}

/// The free lists of a zone, whose lock was had at once.
pub(crate) type Locked<'a> = MaskedGuard<'a, FreeLists>;

impl Zone {
    pub(crate) const fn new(id: ZoneId) -> Self {
        Self {
            id,
            lists: IrqSpinLock::new(Rank::Zone, FreeLists::new()),
            free: AtomicU64::new(0),
            marks: [const { AtomicU64::new(0) }; Watermark::COUNT],
            lowmem_reserve: [const { AtomicU64::new(0) }; ZoneId::COUNT],
            floors: [const { AtomicU64::new(NOTHING) }; ZoneId::COUNT],
            highatomic: AtomicU64::new(0),
            isolated_blocks: AtomicU64::new(0),
            below_high: AtomicU32::new(0),
            pcp: crate::pcp::Settings::new(),
            span: [const { AtomicU64::new(0) }; 2],
            present: AtomicU64::new(0),
            managed: AtomicU64::new(0),
        }
    }

    /// Which memory it is.
    pub fn id(&self) -> ZoneId {
        self.id
    }

    /// Pages in the free lists; those on harts' lists and in isolated blocks are not in it.
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

    /// Pages of RAM that the allocator was not given.
    pub(crate) fn absent_pages(&self) -> u64 {
        self.present_pages() - self.managed_pages()
    }

    /// The first frame, and one past the last; holes are in between.
    pub fn span(&self) -> (Pfn, Pfn) {
        (Pfn::new(self.span[0].load(Relaxed)), Pfn::new(self.span[1].load(Relaxed)))
    }

    /// Adds a range of RAM to the span; nothing of it is free yet.
    pub(crate) fn grow(&self, start: Pfn, end: Pfn) {
        let (low, high) = self.span();
        let empty = low == high;
        self.span[0].store(if empty { start } else { low.min(start) }.get(), Relaxed);
        self.span[1].store(if empty { end } else { high.max(end) }.get(), Relaxed);
        self.present.fetch_add(end - start, Relaxed);
    }

    /// Gives a range of frames that nobody uses to the allocator, in the largest blocks. All are the zone's.
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
