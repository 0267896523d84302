//! /proc/{buddyinfo,pagetypeinfo,zoneinfo,slabinfo}: who has which pages (Linux: `mm/vmstat.c`, `mm/slab_common.c`).

use rux_mm::addr::Order;
use rux_mm::slab::{SLABINFO_HEADER, for_each_cache};
use rux_mm::zone::{BLOCK_ORDER, MigrateType, Zone, ZoneId};

use super::vmstat::{NODE_STATS, ZONE_STATS};
use super::{Entry, Text};
use crate::errno::Result;
use crate::{hart, show};

/// Above so many free blocks Linux stops counting those of a type.
const MOST_COUNTED: u64 = 100_000;

const fn file(name: &'static str, mode: u32, show: fn(&mut Text) -> Result<()>) -> Entry {
    Entry::File { name, mode, show, write: None }
}

pub(super) const BUDDYINFO: Entry = file("buddyinfo", 0o444, show_buddyinfo);
pub(super) const PAGETYPEINFO: Entry = file("pagetypeinfo", 0o400, show_pagetypeinfo);
pub(super) const ZONEINFO: Entry = file("zoneinfo", 0o444, show_zoneinfo);
pub(super) const SLABINFO: Entry = file("slabinfo", 0o400, show_slabinfo);

/// The zones that have memory.
fn populated() -> impl Iterator<Item = &'static Zone> {
    let zones = ZoneId::ALL.iter().map(|&id| rux_mm::memory().zone(id));
    zones.filter(|zone| zone.present_pages() != 0)
}

fn show_buddyinfo(text: &mut Text) -> Result<()> {
    for zone in populated() {
        show!(text, "Node 0, zone {:>8} ", zone.id().name());
        for blocks in zone.free_blocks() {
            show!(text, "{blocks:6} ");
        }
        show!(text, "\n");
    }
    Ok(())
}

fn show_pagetypeinfo(text: &mut Text) -> Result<()> {
    show!(text, "Page block order: {}\n", BLOCK_ORDER.get());
    show!(text, "Pages per block:  {}\n\n", BLOCK_ORDER.pages());
    show!(text, "{:<43} ", "Free pages count per migrate type at order");
    for order in Order::all() {
        show!(text, "{:6} ", order.get());
    }
    show!(text, "\n");
    for zone in populated() {
        for kind in MigrateType::ALL {
            show!(text, "Node    0, zone {:>8}, type {:>12} ", zone.id().name(), kind.name());
            for blocks in zone.free_blocks_of(kind) {
                let more = if blocks >= MOST_COUNTED { ">" } else { "" };
                show!(text, "{more}{:6} ", blocks.min(MOST_COUNTED));
            }
            show!(text, "\n");
        }
    }
    show!(text, "\n{:<23}", "Number of blocks type ");
    for kind in MigrateType::ALL {
        show!(text, "{:>12} ", kind.name());
    }
    show!(text, "\n");
    for zone in populated() {
        show!(text, "Node 0, zone {:>8} ", zone.id().name());
        for blocks in zone.blocks_by_type() {
            show!(text, "{blocks:12} ");
        }
        show!(text, "\n");
    }
    Ok(())
}

fn show_zoneinfo(text: &mut Text) -> Result<()> {
    let first = populated().next().map(Zone::id);
    for id in ZoneId::ALL {
        show_zone(text, rux_mm::memory().zone(id), first == Some(id));
    }
    Ok(())
}

/// One zone; the node's own numbers go with its first zone that has memory.
fn show_zone(text: &mut Text, zone: &Zone, with_node: bool) {
    let info = zone.info();
    show!(text, "Node 0, zone {:>8}", info.id.name());
    if with_node {
        show!(text, "\n  per-node stats");
        for stat in NODE_STATS {
            show!(text, "\n      {:<12} {}", stat.name, stat.read());
        }
    }
    show!(text, "\n  pages free     {}", info.free);
    let lines = [
        // Watermark boosting is not built.
        ("boost", 0),
        ("min", info.min),
        ("low", info.low),
        ("high", info.high),
        ("promo", info.promo),
        ("spanned", info.spanned),
        ("present", info.present),
        ("managed", info.managed),
        ("cma", 0),
    ];
    for (name, pages) in lines {
        show!(text, "\n        {name:<8} {pages}");
    }
    show!(text, "\n        protection: (");
    for (at, pages) in info.protection.iter().enumerate() {
        show!(text, "{}{pages}", if at == 0 { "" } else { ", " });
    }
    show!(text, ")");
    if info.present == 0 {
        show!(text, "\n");
        return;
    }
    for (name, of) in ZONE_STATS {
        show!(text, "\n      {name:<12} {}", of(zone));
    }
    show!(text, "\n  pagesets");
    for hart in hart::online().iter() {
        let pcp = rux_mm::memory().pcp_info(info.id, hart);
        show!(text, "\n    cpu: {hart}");
        show!(text, "\n              count: {}", pcp.count);
        show!(text, "\n              high:  {}", pcp.high);
        show!(text, "\n              batch: {}", pcp.batch);
        // Each hart's counters are summed by who reads: none is ever behind.
        show!(text, "\n  vm stats threshold: 0");
    }
    show!(text, "\n  node_unreclaimable:  0\n  start_pfn:           {}\n", info.start.get());
}

fn show_slabinfo(text: &mut Text) -> Result<()> {
    show!(text, "{SLABINFO_HEADER}");
    for_each_cache(|cache| show!(text, "{cache}\n"));
    Ok(())
}
