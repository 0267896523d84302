//! Grouping by mobility: each block of 2 MiB says how its pages may be got back, and which zone it is of
//! (Linux: `enum migratetype`, `get_pageblock_migratetype`). The word ([`BlockWord`]) is in the
//! descriptor of the block's first page.

use super::{BLOCK_ORDER, BlockWord, ZoneId};
use crate::gfp::Gfp;
use crate::page::{Page, PagePtr};

/// How the pages of a block may be got back (Linux: `enum migratetype`). The first three numbers are those
/// of `Gfp`'s two bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MigrateType {
    /// Not at all: the kernel's own data.
    Unmovable = 0,
    /// By copying them elsewhere: user memory and the page cache.
    Movable = 1,
    /// By asking a shrinker.
    Reclaimable = 2,
    /// Kept for allocations of several pages by those who cannot wait.
    HighAtomic = 3,
    /// By nobody now: the block is being emptied. Its free pages are not handed out, and do not count.
    Isolate = 4,
}

impl MigrateType {
    /// How many there are.
    pub const COUNT: usize = 5;
    /// How many an allocation can ask for, which harts have lists of (Linux: `MIGRATE_PCPTYPES`).
    pub const MOBILITIES: usize = 3;
    /// All, by number.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Unmovable, Self::Movable, Self::Reclaimable, Self::HighAtomic, Self::Isolate];

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
            0 => Self::Unmovable,
            1 => Self::Movable,
            2 => Self::Reclaimable,
            3 => Self::HighAtomic,
            _ => Self::Isolate,
        }
    }

    /// Whether free blocks of two such types may become one (Linux: `migratetype_is_mergeable`).
    pub(super) const fn merges(index: u32) -> bool {
        index < Self::MOBILITIES as u32
    }

    /// Its name in `/proc/pagetypeinfo`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmovable => "Unmovable",
            Self::Movable => "Movable",
            Self::Reclaimable => "Reclaimable",
            Self::HighAtomic => "HighAtomic",
            Self::Isolate => "Isolate",
        }
    }
}

const _: () = assert!(Gfp::RECLAIMABLE.bits() == 2 * Gfp::MOVABLE.bits());

impl BlockWord {
    /// The zone that the block is of.
    #[inline(always)]
    pub(crate) fn zone_id(&self) -> ZoneId {
        ZoneId::from_index(self.zone())
    }
}

impl PagePtr {
    /// What is known of the block that the page is in.
    #[inline(always)]
    pub(crate) fn block_word(self) -> &'static BlockWord {
        // SAFETY: descriptors live as long as the machine.
        unsafe { &(*self.align_down(BLOCK_ORDER).as_ptr()).block }
    }

    /// The number of the mobility of the block that the page is in.
    #[inline(always)]
    pub(super) fn block_kind(self) -> u32 {
        self.block_word().kind()
    }

    /// The zone that the page is of.
    #[inline(always)]
    pub(crate) fn zone_id(self) -> ZoneId {
        self.block_word().zone_id()
    }
}

impl Page {
    /// The mobility of the block that the page is in.
    pub fn block_type(&self) -> MigrateType {
        MigrateType::from_index(self.ptr().block_kind())
    }

    /// The zone that the page is of (Linux: `page_zonenum`).
    pub fn zone(&self) -> ZoneId {
        self.ptr().zone_id()
    }
}

/// Says what block `first` starts is. At boot, or when the memory is new.
pub(crate) fn init_block(first: PagePtr, zone: ZoneId, kind: MigrateType) {
    debug_assert!(first.pfn().is_aligned(BLOCK_ORDER));
    first.block.init(zone as u32, kind as u32);
}

/// Sets the mobility of the block that starts with `first`. Under the zone's lock.
pub(super) fn set_block_type(first: PagePtr, kind: MigrateType) {
    debug_assert!(first.pfn().is_aligned(BLOCK_ORDER));
    first.block.set_kind(kind as u32);
}
