//! Looking whether lists, batches, flags and counters agree.

use super::{LruList, lock, ring_of};
use crate::addr::Pfn;
use crate::memory::memory;
use crate::page::{FolioArm, PageFlags};
use crate::zone::{Corrupt, ZoneId};
use core::sync::atomic::Ordering::Relaxed;

/// Checks the links of all lists, the flags of the pages on them and in the batches, and the counters of each zone.
/// That no other page says it is on one, and how many are unevictable, is for [`crate::page::validate`] to see.
/// Nobody adds or frees pages meanwhile.
///
/// # Errors
/// What is wrong, and where.
pub fn validate() -> Result<(), Corrupt> {
    let guard = lock();
    let mut found = [[0; LruList::COUNT]; ZoneId::COUNT];
    for list in &LruList::ALL[..LruList::Unevictable as usize] {
        let ring = *list as u32;
        let kept: u64 =
            ZoneId::ALL.iter().map(|&zone| guard.lru.pages[zone as usize][ring as usize].load(Relaxed)).sum();
        let mut pages = 0;
        for (page, linked) in guard.lists.iter(ring) {
            let corrupt = |what| Err(Corrupt { what, pfn: page.pfn() });
            let flags = page.flags();
            if !linked {
                return corrupt("an LRU list is not linked backwards as it is forwards");
            }
            if flags & (PageFlags::LISTED | PageFlags::UNEVICTABLE | PageFlags::TAIL) != PageFlags::LRU {
                return corrupt("a page of an LRU list does not say so");
            }
            if ring_of(flags) != ring {
                return corrupt("a page is on another LRU list than it says");
            }
            if page.refcount() == 0 {
                return corrupt("a page of an LRU list is free");
            }
            let folio = page.folio().pages() as u64;
            found[page.zone() as usize][ring as usize] += folio;
            pages += folio;
            if pages > kept {
                return corrupt("an LRU list is longer than it is said to be");
            }
        }
        if pages != kept || !guard.lists.ends_well(ring) {
            return Err(Corrupt { what: "an LRU list is shorter than it is said to be", pfn: Pfn::new(0) });
        }
    }
    for zone in ZoneId::ALL {
        for list in &LruList::ALL[..LruList::Unevictable as usize] {
            if found[zone as usize][*list as usize]
                != guard.lru.pages[zone as usize][*list as usize].load(Relaxed)
            {
                return Err(Corrupt {
                    what: "a zone's LRU counters are wrong",
                    pfn: memory().zone(zone).span().0,
                });
            }
        }
    }
    for (index, hart) in memory().each_hart().enumerate() {
        for (number, page) in hart.lru.pages(index) {
            let fine = page.flags() & PageFlags::LISTED == PageFlags::LRU_BATCH
                && page.arm_unchecked::<FolioArm>().lru_next.load(Relaxed) == number
                && page.refcount() != 0;
            if !fine {
                return Err(Corrupt { what: "a page of an LRU batch does not say so", pfn: page.pfn() });
            }
        }
    }
    Ok(())
}

/// Pages in the batches of all harts, one for each folio.
pub(crate) fn batched() -> u64 {
    memory().each_hart().enumerate().map(|(index, hart)| hart.lru.pages(index).count() as u64).sum()
}
