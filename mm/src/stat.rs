//! What `/proc/vmstat` and `/proc/meminfo` count, one plain counter for each hart (Linux: `mm/vmstat.c`).
//!
//! A hart adds to its own counter with one relaxed atomic addition, so that an interrupt or a
//! migration in between does no harm; a reader sums. A sum is exact when nobody adds meanwhile.

use core::sync::atomic::{AtomicI64, Ordering::Relaxed};

use rux_machine::MAX_HARTS;

use crate::memory::{memory, this_hart};
use crate::zone::ZoneId;

macro_rules! items {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One thing counted. Sizes are in base pages unless the item says otherwise.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum Item {
            $($(#[$doc])* $name,)*
        }

        impl Item {
            /// All items.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in `/proc/vmstat`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

items! {
    /// Anonymous pages on the inactive LRU list.
    InactiveAnon = "nr_inactive_anon",
    /// Anonymous pages on the active LRU list.
    ActiveAnon = "nr_active_anon",
    /// File pages on the inactive LRU list.
    InactiveFile = "nr_inactive_file",
    /// File pages on the active LRU list.
    ActiveFile = "nr_active_file",
    /// Pages that reclaim passes by.
    Unevictable = "nr_unevictable",
    /// Pages that mappings lock in memory.
    Mlock = "nr_mlock",
    /// Slab pages that a shrinker can free.
    SlabReclaimable = "nr_slab_reclaimable",
    /// Slab pages that stay until their objects are freed.
    SlabUnreclaimable = "nr_slab_unreclaimable",
    /// Anonymous pages that are mapped.
    AnonMapped = "nr_anon_pages",
    /// File pages that are mapped, one for each page.
    FileMapped = "nr_mapped",
    /// Pages of the page cache, tmpfs and shared memory included.
    FilePages = "nr_file_pages",
    /// Pages to be written.
    FileDirty = "nr_dirty",
    /// Pages being written.
    Writeback = "nr_writeback",
    /// Pages of tmpfs and shared memory.
    Shmem = "nr_shmem",
    /// Transparent huge pages, in 2 MiB.
    AnonThps = "nr_anon_transparent_hugepages",
    /// Bytes of kernel stacks, in KiB.
    KernelStackKb = "nr_kernel_stack",
    /// Page tables of user space.
    PageTable = "nr_page_table_pages",
    /// Pages of the swap cache.
    SwapCached = "nr_swapcached",
    /// Pages taken from the allocator, by zone.
    PgAllocDma32 = "pgalloc_dma32",
    /// See above.
    PgAllocNormal = "pgalloc_normal",
    /// See above.
    PgAllocMovable = "pgalloc_movable",
    /// See above; devices' pages are no allocator's.
    PgAllocDevice = "pgalloc_device",
    /// Times that an allocation tried to reclaim by itself, by the highest zone that it could use.
    AllocStallDma32 = "allocstall_dma32",
    /// See above.
    AllocStallNormal = "allocstall_normal",
    /// See above.
    AllocStallMovable = "allocstall_movable",
    /// See above.
    AllocStallDevice = "allocstall_device",
    /// Pages given back to the allocator.
    PgFree = "pgfree",
    /// Pages moved to an active LRU list.
    PgActivate = "pgactivate",
    /// Pages moved back to an inactive one.
    PgDeactivate = "pgdeactivate",
    /// Pages that reclaim need no longer pass by.
    UnevictablePgsRescued = "unevictable_pgs_rescued",
    /// Pages that a mapping locked, none having done so before.
    UnevictablePgsMlocked = "unevictable_pgs_mlocked",
    /// Pages that no mapping locks any more.
    UnevictablePgsMunlocked = "unevictable_pgs_munlocked",
    /// Pages that were freed while a mapping locked them.
    UnevictablePgsCleared = "unevictable_pgs_cleared",
    /// Faults served.
    PgFault = "pgfault",
    /// Copy-on-write faults that needed no copy.
    PgReuse = "pgreuse",
    /// Faults that waited for I/O.
    PgMajFault = "pgmajfault",
    /// Pages read from files and swap, in KiB.
    PgPgIn = "pgpgin",
    /// Pages written to files and swap, in KiB.
    PgPgOut = "pgpgout",
    /// Pages read from swap.
    PswpIn = "pswpin",
    /// Pages written to swap.
    PswpOut = "pswpout",
    /// Processes killed for want of memory.
    OomKill = "oom_kill",
    /// Times that a hart had others fence their TLBs.
    TlbRemoteFlush = "nr_tlb_remote_flush",
    /// Harts that were asked to, in all of these.
    TlbRemoteFlushReceived = "nr_tlb_remote_flush_received",
    /// Fences of an address space, or of all.
    TlbLocalFlushAll = "nr_tlb_local_flush_all",
    /// Fences of a page.
    TlbLocalFlushOne = "nr_tlb_local_flush_one",
}

const COUNT: usize = Item::ALL.len();

/// One hart's counters.
#[derive(Debug)]
pub(crate) struct Counters([AtomicI64; COUNT]);

impl Counters {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicI64::new(0) }; COUNT])
    }

    #[inline(always)]
    pub(crate) fn add(&self, item: Item, amount: i64) {
        self.0[item as usize].fetch_add(amount, Relaxed);
    }
}

/// Adds to an item; a negative amount takes away.
#[inline(always)]
pub fn add(item: Item, amount: i64) {
    this_hart().stat.add(item, amount);
}

/// Adds one to an item.
#[inline(always)]
pub fn inc(item: Item) {
    add(item, 1);
}

/// Takes one from an item.
#[inline(always)]
pub fn dec(item: Item) {
    add(item, -1);
}

impl Item {
    /// What counts the pages taken from a zone.
    pub(crate) const fn pgalloc(zone: ZoneId) -> Self {
        match zone {
            ZoneId::Dma32 => Self::PgAllocDma32,
            ZoneId::Normal => Self::PgAllocNormal,
            ZoneId::Movable => Self::PgAllocMovable,
            ZoneId::Device => Self::PgAllocDevice,
        }
    }

    /// What counts the allocations that had to reclaim, whose highest zone is `zone`.
    pub(crate) const fn allocstall(zone: ZoneId) -> Self {
        match zone {
            ZoneId::Dma32 => Self::AllocStallDma32,
            ZoneId::Normal => Self::AllocStallNormal,
            ZoneId::Movable => Self::AllocStallMovable,
            ZoneId::Device => Self::AllocStallDevice,
        }
    }
}

/// An item over all harts. Not below 0, though a sum taken while pages move may be.
pub fn read(item: Item) -> u64 {
    // What is on the LRU lists is counted under their lock.
    if let Some(pages) = ZoneId::ALL.into_iter().map(|zone| memory().lru.read(item, zone)).sum() {
        return pages;
    }
    let harts = || (0..MAX_HARTS).map(|hart| memory().hart(hart));
    let sum: i64 = harts().map(|hart| hart.stat.0[item as usize].load(Relaxed)).sum();
    // What passes through the harts' lists is counted there, at no cost of its own.
    let listed: u64 = match item {
        Item::PgFree => memory().harts().map(|hart| hart.pcp.pushed_pages()).sum(),
        _ => match ZoneId::ALL.into_iter().find(|&zone| Item::pgalloc(zone) == item) {
            Some(zone) => memory().harts().map(|hart| hart.pcp.popped_pages(zone)).sum(),
            None => 0,
        },
    };
    sum.max(0) as u64 + listed
}
