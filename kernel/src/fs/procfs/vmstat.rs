//! /proc/vmstat, and the counters of /proc/zoneinfo: Linux's names, in Linux's order (Linux: `vmstat_text` in
//! `mm/vmstat.c`). What nothing here counts yet is 0, as it is on a Linux where it never happened.

use rux_mm::lru;
use rux_mm::stat::{self, Item};
use rux_mm::zone::{Zone, ZoneId};

use super::{Entry, Text};
use crate::errno::Result;
use crate::show;

pub(super) const VMSTAT: Entry = Entry::File { name: "vmstat", mode: 0o444, show: show_vmstat, write: None };

/// A counter of the whole machine.
pub(super) struct Stat {
    pub(super) name: &'static str,
    item: Option<Item>,
}

impl Stat {
    pub(super) fn read(&self) -> u64 {
        self.item.map_or(0, stat::read)
    }
}

/// A table of [`Stat`]s: a name alone is of something that never happens here.
macro_rules! stats {
    ($($name:ident $(= $item:ident)?,)*) => {
        &[$(Stat { name: stringify!($name), item: stats!(@ $($item)?) },)*]
    };
    (@) => { None };
    (@ $item:ident) => { Some(Item::$item) };
}

/// A counter of one zone.
type ZoneStat = (&'static str, fn(&Zone) -> u64);

/// What is counted by zone.
pub(super) const ZONE_STATS: [ZoneStat; 10] = [
    ("nr_free_pages", Zone::free_pages),
    ("nr_zone_inactive_anon", |zone| lru::zone_pages(Item::InactiveAnon, zone.id())),
    ("nr_zone_active_anon", |zone| lru::zone_pages(Item::ActiveAnon, zone.id())),
    ("nr_zone_inactive_file", |zone| lru::zone_pages(Item::InactiveFile, zone.id())),
    ("nr_zone_active_file", |zone| lru::zone_pages(Item::ActiveFile, zone.id())),
    ("nr_zone_unevictable", |zone| lru::zone_pages(Item::Unevictable, zone.id())),
    ("nr_zone_write_pending", |_| 0),
    ("nr_mlock", |zone| lru::zone_pages(Item::Mlock, zone.id())),
    ("nr_bounce", |_| 0),
    ("nr_free_cma", |_| 0),
];

/// What is counted by node, of which there is one.
pub(super) const NODE_STATS: &[Stat] = stats![
    nr_inactive_anon = InactiveAnon,
    nr_active_anon = ActiveAnon,
    nr_inactive_file = InactiveFile,
    nr_active_file = ActiveFile,
    nr_unevictable = Unevictable,
    nr_slab_reclaimable = SlabReclaimable,
    nr_slab_unreclaimable = SlabUnreclaimable,
    nr_isolated_anon,
    nr_isolated_file,
    workingset_nodes,
    workingset_refault_anon,
    workingset_refault_file,
    workingset_activate_anon,
    workingset_activate_file,
    workingset_restore_anon,
    workingset_restore_file,
    workingset_nodereclaim,
    nr_anon_pages = AnonMapped,
    nr_mapped = FileMapped,
    nr_file_pages = FilePages,
    nr_dirty = FileDirty,
    nr_writeback = Writeback,
    nr_writeback_temp,
    nr_shmem = Shmem,
    nr_shmem_hugepages,
    nr_shmem_pmdmapped,
    nr_file_hugepages,
    nr_file_pmdmapped,
    nr_anon_transparent_hugepages = AnonThps,
    nr_vmscan_write,
    nr_vmscan_immediate_reclaim,
    nr_dirtied,
    nr_written,
    nr_throttled_written,
    nr_kernel_misc_reclaimable,
    nr_foll_pin_acquired,
    nr_foll_pin_released,
    nr_kernel_stack = KernelStackKb,
    nr_page_table_pages = PageTable,
    nr_sec_page_table_pages,
    nr_swapcached = SwapCached,
    pgdemote_kswapd,
    pgdemote_direct,
    pgdemote_khugepaged,
];

/// What happened since boot.
const EVENTS: &[Stat] = stats![
    pgpgin = PgPgIn,
    pgpgout = PgPgOut,
    pswpin = PswpIn,
    pswpout = PswpOut,
    pgalloc_dma32 = PgAllocDma32,
    pgalloc_normal = PgAllocNormal,
    pgalloc_movable = PgAllocMovable,
    pgalloc_device = PgAllocDevice,
    allocstall_dma32 = AllocStallDma32,
    allocstall_normal = AllocStallNormal,
    allocstall_movable = AllocStallMovable,
    allocstall_device = AllocStallDevice,
    pgskip_dma32,
    pgskip_normal,
    pgskip_movable,
    pgskip_device,
    pgfree = PgFree,
    pgactivate = PgActivate,
    pgdeactivate = PgDeactivate,
    pglazyfree,
    pgfault = PgFault,
    pgmajfault = PgMajFault,
    pglazyfreed,
    pgrefill,
    pgreuse = PgReuse,
    pgsteal_kswapd,
    pgsteal_direct,
    pgsteal_khugepaged,
    pgscan_kswapd,
    pgscan_direct,
    pgscan_khugepaged,
    pgscan_direct_throttle,
    pgscan_anon,
    pgscan_file,
    pgsteal_anon,
    pgsteal_file,
    pginodesteal,
    slabs_scanned,
    kswapd_inodesteal,
    kswapd_low_wmark_hit_quickly,
    kswapd_high_wmark_hit_quickly,
    pageoutrun,
    pgrotated,
    drop_pagecache,
    drop_slab,
    oom_kill = OomKill,
    pgmigrate_success,
    pgmigrate_fail,
    thp_migration_success,
    thp_migration_fail,
    thp_migration_split,
    compact_migrate_scanned,
    compact_free_scanned,
    compact_isolated,
    compact_stall,
    compact_fail,
    compact_success,
    compact_daemon_wake,
    compact_daemon_migrate_scanned,
    compact_daemon_free_scanned,
    htlb_buddy_alloc_success,
    htlb_buddy_alloc_fail,
    unevictable_pgs_culled,
    unevictable_pgs_scanned,
    unevictable_pgs_rescued = UnevictablePgsRescued,
    unevictable_pgs_mlocked = UnevictablePgsMlocked,
    unevictable_pgs_munlocked = UnevictablePgsMunlocked,
    unevictable_pgs_cleared = UnevictablePgsCleared,
    unevictable_pgs_stranded,
    thp_fault_alloc,
    thp_fault_fallback,
    thp_fault_fallback_charge,
    thp_collapse_alloc,
    thp_collapse_alloc_failed,
    thp_file_alloc,
    thp_file_fallback,
    thp_file_fallback_charge,
    thp_file_mapped,
    thp_split_page,
    thp_split_page_failed,
    thp_deferred_split_page,
    thp_underused_split_page,
    thp_split_pmd,
    thp_scan_exceed_none_pte,
    thp_scan_exceed_swap_pte,
    thp_scan_exceed_share_pte,
    thp_zero_page_alloc,
    thp_zero_page_alloc_failed,
    thp_swpout,
    thp_swpout_fallback,
    nr_tlb_remote_flush = TlbRemoteFlush,
    nr_tlb_remote_flush_received = TlbRemoteFlushReceived,
    nr_tlb_local_flush_all = TlbLocalFlushAll,
    nr_tlb_local_flush_one = TlbLocalFlushOne,
    swap_ra,
    swap_ra_hit,
    swpin_zero,
    swpout_zero,
    nr_unstable,
];

fn show_vmstat(text: &mut Text) -> Result<()> {
    let memory = rux_mm::memory();
    for (name, of) in ZONE_STATS {
        let sum: u64 = ZoneId::ALL.iter().map(|&id| of(memory.zone(id))).sum();
        show!(text, "{name} {sum}\n");
    }
    for stat in NODE_STATS {
        show!(text, "{} {}\n", stat.name, stat.read());
    }
    // Writers are slowed down from 20 % of the memory that may become dirty on, and pages written from 10 % on
    // (Linux: `global_dirtyable_memory`, `domain_dirty_limits`).
    let file_pages = stat::read(Item::ActiveFile) + stat::read(Item::InactiveFile);
    let dirtyable = memory.free_pages().saturating_sub(memory.total_reserve_pages()) + file_pages;
    show!(text, "nr_dirty_threshold {}\nnr_dirty_background_threshold {}\n", dirtyable / 5, dirtyable / 10);
    show!(text, "nr_memmap_pages 0\nnr_memmap_boot_pages {}\n", memory.memmap_pages());
    for stat in EVENTS {
        show!(text, "{} {}\n", stat.name, stat.read());
    }
    Ok(())
}
