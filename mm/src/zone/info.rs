//! What `/proc/zoneinfo`, `/proc/buddyinfo` and `/proc/pagetypeinfo` show, as numbers (Linux: `mm/vmstat.c`).

use core::sync::atomic::Ordering::Relaxed;

use super::{BLOCK_ORDER, MigrateType, Watermark, Zone, ZoneId};
use crate::addr::{Order, Pfn};
use crate::page::pfn_to_online_page;

/// For each zone, what is kept from allocations whose highest zone it is; pages.
pub type ProtectedPages = [u64; ZoneId::COUNT];

/// A zone at a moment, in pages; each number is right by itself.
#[derive(Clone, Copy, Debug)]
pub struct ZoneInfo {
    /// Which.
    pub id: ZoneId,
    /// In the free lists.
    pub free: u64,
    /// See [`Watermark`].
    pub min: u64,
    /// See [`Watermark`].
    pub low: u64,
    /// See [`Watermark`].
    pub high: u64,
    /// See [`Watermark`].
    pub promo: u64,
    /// From the first frame to the last.
    pub spanned: u64,
    /// RAM.
    pub present: u64,
    /// Given to the allocator.
    pub managed: u64,
    /// See [`Zone::lowmem_reserve`].
    pub protection: ProtectedPages,
    /// The first frame.
    pub start: Pfn,
    /// Kept for those who cannot wait, free or not.
    pub highatomic: u64,
}

impl Zone {
    /// The zone as `/proc/zoneinfo` shows it.
    pub fn info(&self) -> ZoneInfo {
        let (start, end) = self.span();
        ZoneInfo {
            id: self.id,
            free: self.free_pages(),
            min: self.watermark(Watermark::Min),
            low: self.watermark(Watermark::Low),
            high: self.watermark(Watermark::High),
            promo: self.watermark(Watermark::Promo),
            spanned: end - start,
            present: self.present_pages(),
            managed: self.managed_pages(),
            protection: ZoneId::ALL.map(|id| self.lowmem_reserve(id)),
            start,
            highatomic: self.highatomic.load(Relaxed),
        }
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

    /// How many blocks of [`BLOCK_ORDER`] are of each type (`/proc/pagetypeinfo`).
    pub fn blocks_by_type(&self) -> [u64; MigrateType::COUNT] {
        let mut counts = [0; MigrateType::COUNT];
        let (start, end) = self.span();
        for pfn in (start.get()..end.get()).step_by(BLOCK_ORDER.pages()) {
            let page = pfn_to_online_page(Pfn::new(pfn));
            if let Some(page) = page.filter(|page| page.zone_id() == self.id) {
                counts[page.block_type() as usize] += 1;
            }
        }
        counts
    }
}
