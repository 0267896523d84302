//! Pages that mappings lock in memory: off the lists, and counted (Linux: `mm/mlock.c`).
//!
//! Each locked mapping of a page counts once, in the word that a listed page has a link in. A count may be too low
//! where the page was mapped before its mapping was locked and nobody told; then it is reclaimable too early, as on
//! Linux.

use core::sync::atomic::Ordering::Relaxed;

use rux_machine::{Hot, Hw};

use super::batch::take_out;
use super::{LruGuard, LruList, change, lock, ring_of};
use crate::page::{Folio, PageFlags};
use crate::stat::{self, Item};

const LOCKED: PageFlags = PageFlags::UNEVICTABLE.union(PageFlags::MLOCKED);

impl LruGuard<'_> {
    fn count_mlocked(&mut self, folio: &Folio, sign: i64) {
        change(&self.lru.mlocked[folio.head().zone_id() as usize], folio.pages() as i64 * sign);
        self.count(folio, LruList::Unevictable as usize, sign);
    }

    /// Accounts for a folio that is freed while mappings lock it.
    #[cold]
    pub(super) fn free_unevictable(&mut self, folio: &Folio) {
        self.count_mlocked(folio, -1);
        stat::add(Item::UnevictablePgsCleared, folio.pages() as i64);
    }
}

/// One more mapping locks a folio in memory. One that is on no list, nor about to be, is left alone. The caller has a
/// reference.
pub fn mlock(folio: &Folio) {
    let mut lists = lock();
    let flags = folio.flags();
    let count = &folio.arm().lru_next;
    if flags.contains(PageFlags::UNEVICTABLE) {
        count.store(count.load(Relaxed).saturating_add(1), Relaxed);
        return;
    }
    if flags.contains(PageFlags::LRU) {
        lists.lists.remove(folio);
        lists.count(folio, ring_of(flags) as usize, -1);
    } else if flags.contains(PageFlags::LRU_BATCH) {
        // Nobody else takes it out under the lock; who puts it in may be about to.
        while !take_out(folio.as_page()) {
            Hw::relax();
        }
    } else {
        return;
    }
    count.store(1, Relaxed);
    folio.clear_flags(PageFlags::ACTIVE);
    folio.set_flags(LOCKED | PageFlags::LRU);
    lists.count_mlocked(folio, 1);
    stat::add(Item::UnevictablePgsMlocked, folio.pages() as i64);
}

/// One mapping less locks a folio in memory; with the last one it goes to a list again. The caller has a reference.
pub fn munlock(folio: &Folio) {
    let mut lists = lock();
    if !folio.flags().contains(PageFlags::UNEVICTABLE) {
        return;
    }
    let count = &folio.arm().lru_next;
    let left = count.load(Relaxed).saturating_sub(1);
    if left != 0 {
        count.store(left, Relaxed);
        return;
    }
    lists.count_mlocked(folio, -1);
    let flags = folio.clear_flags(LOCKED);
    lists.lists.insert(folio, ring_of(flags));
    lists.count(folio, ring_of(flags) as usize, 1);
    stat::add(Item::UnevictablePgsMunlocked, folio.pages() as i64);
    stat::add(Item::UnevictablePgsRescued, folio.pages() as i64);
}
