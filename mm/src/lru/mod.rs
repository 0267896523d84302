//! Lists that pages age on: active and inactive, of anonymous memory and of files (Linux: `mm/swap.c`,
//! `include/linux/mm_inline.h`, `struct lruvec`).
//!
//! Fed by faults and the page cache, through a batch on each hart ([`batch`]); the last put takes a page off. A list is
//! a ring through two 32-bit words of each folio's ([`list`]), the newest first. Which one a page is on is in its
//! flags; `ACTIVE`, `SWAPBACKED` and `UNEVICTABLE` of a page that is on one change under the lock alone. What cannot
//! be reclaimed is on none, and counted ([`mlock`]). No list has references to its pages: whoever finds one there has
//! to get one, unless it is being freed.
//!
//! Counters of each zone are written under the lock, so they agree with the lists whenever that is free.

mod batch;
mod list;
mod mlock;
#[cfg(test)]
mod tests;
mod validate;

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

pub(crate) use batch::Batch;
pub use batch::{add, drain, drain_all};
use list::Lists;
pub use mlock::{mlock, munlock};
pub(crate) use validate::batched;
pub use validate::validate;

use crate::addr::Pfn;
use crate::memory::memory;
use crate::page::{Folio, PageFlags, PagePtr, pfn_to_page};
use crate::stat::{self, Item};
use crate::sync::{IrqSpinGuard, IrqSpinLock, Rank};
use crate::zone::ZoneId;

/// Where a page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum LruList {
    /// Of a file, not used for a while.
    InactiveFile = 0,
    /// Of a file, used again and again.
    ActiveFile = 1,
    /// Anonymous memory, tmpfs, shared memory; not used for a while.
    InactiveAnon = 2,
    /// The same, used again and again.
    ActiveAnon = 3,
    /// Kept in memory: counted, but on no list.
    Unevictable = 4,
}

impl LruList {
    const COUNT: usize = 5;

    /// All.
    pub const ALL: [Self; Self::COUNT] =
        [Self::InactiveFile, Self::ActiveFile, Self::InactiveAnon, Self::ActiveAnon, Self::Unevictable];

    /// What counts its pages.
    pub const fn item(self) -> Item {
        match self {
            Self::InactiveFile => Item::InactiveFile,
            Self::ActiveFile => Item::ActiveFile,
            Self::InactiveAnon => Item::InactiveAnon,
            Self::ActiveAnon => Item::ActiveAnon,
            Self::Unevictable => Item::Unevictable,
        }
    }

    /// Where a page with these flags is, or goes.
    pub fn of(flags: PageFlags) -> Self {
        if flags.contains(PageFlags::UNEVICTABLE) {
            Self::Unevictable
        } else {
            Self::ALL[ring_of(flags) as usize]
        }
    }
}

/// The number of the ring that a page with these flags is on, unless it is unevictable.
#[inline(always)]
fn ring_of(flags: PageFlags) -> u32 {
    const SHIFT: u32 = PageFlags::ACTIVE.bits().trailing_zeros();
    const _: () = assert!(
        PageFlags::ACTIVE.bits() >> SHIFT == LruList::ActiveFile as u32
            && PageFlags::SWAPBACKED.bits() >> SHIFT == LruList::InactiveAnon as u32
    );
    flags.bits() >> SHIFT & (Lists::COUNT - 1)
}

/// The machine's lists.
pub(crate) struct Lru {
    lock: IrqSpinLock<()>,
    /// Where the heads are. Written at boot.
    heads: AtomicU32,
    /// Pages of each zone in each list. Written under the lock.
    pages: [[AtomicU64; LruList::COUNT]; ZoneId::COUNT],
    /// Pages of each zone that are `MLOCKED`. Written under the lock.
    mlocked: [AtomicU64; ZoneId::COUNT],
}

impl Lru {
    /// Without heads.
    pub(crate) const fn new() -> Self {
        Self {
            lock: IrqSpinLock::new(Rank::Lru, ()),
            heads: AtomicU32::new(0),
            pages: [const { [const { AtomicU64::new(0) }; LruList::COUNT] }; ZoneId::COUNT],
            mlocked: [const { AtomicU64::new(0) }; ZoneId::COUNT],
        }
    }

    /// Makes the lists, at boot: their heads are in the descriptor of a page that is given for good.
    pub(crate) fn init(&self, page: Pfn) {
        self.heads.store(Lists::make(pfn_to_page(page)), Relaxed);
    }

    /// An item that is counted here, of a zone (`/proc/zoneinfo`); `None` for others.
    pub(crate) fn read(&self, item: Item, zone: ZoneId) -> Option<u64> {
        if item == Item::Mlock {
            return Some(self.mlocked[zone as usize].load(Relaxed));
        }
        let list = LruList::ALL.into_iter().find(|list| list.item() == item)?;
        Some(self.pages[zone as usize][list as usize].load(Relaxed))
    }
}

/// One of `nr_inactive_file`, `nr_active_file`, `nr_inactive_anon`, `nr_active_anon`, `nr_unevictable` and `nr_mlock`
/// of one zone, in pages; 0 for any other item.
pub fn zone_pages(item: Item, zone: ZoneId) -> u64 {
    memory().lru.read(item, zone).unwrap_or(0)
}

/// Takes the lock of all lists.
#[inline]
pub fn lock() -> LruGuard<'static> {
    let lru = &memory().lru;
    let lock = lru.lock.lock();
    LruGuard { lru, lists: Lists::at(lru.heads.load(Relaxed)), _lock: lock }
}

/// Holds the lock. Interrupts are off.
pub struct LruGuard<'a> {
    lru: &'a Lru,
    lists: Lists,
    _lock: IrqSpinGuard<'a, ()>,
}

impl LruGuard<'_> {
    /// Moves folios to the front of the lists that they are on, one after the other. Each is on one, and not kept in
    /// memory.
    #[inline]
    pub fn touch<'f>(&mut self, folios: impl IntoIterator<Item = &'f Folio>) {
        // Taken out of the guard once, not for each folio.
        let lists = self.lists;
        for folio in folios {
            let flags = folio.flags();
            debug_assert!(flags & (PageFlags::LRU | PageFlags::UNEVICTABLE) == PageFlags::LRU, "{folio:?}");
            let place = lists.remove_from(folio);
            lists.insert_at(folio, place, ring_of(flags));
        }
    }

    /// Puts a folio on its list that was just taken out of a batch.
    #[inline]
    fn put_on(&mut self, folio: &Folio) {
        let flags = folio.flags();
        self.lists.insert(folio, ring_of(flags));
        self.count(folio, ring_of(flags) as usize, 1);
        folio.set_listed();
    }

    /// Takes a folio that is on a list off it: nobody has a reference any more.
    #[inline(always)]
    fn take_off_freed(&mut self, folio: &Folio) {
        let flags = folio.flags();
        debug_assert!(flags.contains(PageFlags::LRU) && folio.refcount() == 0, "{folio:?}");
        if flags.contains(PageFlags::UNEVICTABLE) {
            self.free_unevictable(folio);
        } else {
            self.lists.remove(folio);
            self.count(folio, ring_of(flags) as usize, -1);
        }
        // Nobody has the page, so nobody changes its flags.
        folio.as_page().init_flags(flags - PageFlags::LISTED);
    }

    /// Moves a folio that is on a list to the front of the active or inactive one of its kind.
    fn turn(&mut self, folio: &Folio, active: PageFlags) {
        let flags = folio.flags();
        let place = self.lists.remove_from(folio);
        self.count(folio, ring_of(flags) as usize, -1);
        let flags = (flags - PageFlags::ACTIVE) | active;
        if active.is_empty() {
            folio.clear_flags(PageFlags::ACTIVE | PageFlags::REFERENCED);
        } else {
            folio.set_flags(active);
        }
        self.lists.insert_at(folio, place, ring_of(flags));
        self.count(folio, ring_of(flags) as usize, 1);
    }

    /// Counts a folio in, with a `sign` of 1, or out, with -1.
    #[inline(always)]
    fn count(&mut self, folio: &Folio, list: usize, sign: i64) {
        let pages = &self.lru.pages[folio.head().zone_id() as usize];
        change(&pages[list], folio.pages() as i64 * sign);
    }
}

/// Changes a counter, which nobody else does meanwhile.
#[inline(always)]
fn change(counter: &AtomicU64, by: i64) {
    counter.store(counter.load(Relaxed).wrapping_add_signed(by), Relaxed);
}

/// Takes a page that is on a list, or about to be, off again: its last reference is gone (Linux:
/// `__page_cache_release`). `lists` is the lock, taken if need be; with one call for many pages it is taken once.
#[inline(always)]
pub(crate) fn forget(page: PagePtr, lists: &mut Option<LruGuard<'static>>) {
    if page.flags().contains(PageFlags::LRU_BATCH) && batch::take_out(&page) {
        return;
    }
    if lists.is_none() {
        *lists = Some(lock_aside());
    }
    // If somebody puts it on a list just now, that is done once the lock is free.
    if let Some(lists) = lists {
        lists.take_off_freed(Folio::of(page));
    }
}

/// As [`lock`], by a call: where a loop is to stay small.
#[inline(never)]
fn lock_aside() -> LruGuard<'static> {
    lock()
}

/// Notes that a folio was used, not by way of a mapping: the second time makes it active (Linux:
/// `folio_mark_accessed`). The caller has a reference; the lists' lock may be taken.
#[inline]
pub fn mark_accessed(folio: &Folio) {
    let flags = folio.flags();
    if !flags.contains(PageFlags::REFERENCED) {
        folio.set_flags(PageFlags::REFERENCED);
    } else if !flags.intersects(PageFlags::ACTIVE | PageFlags::UNEVICTABLE) {
        activate(folio);
        folio.clear_flags(PageFlags::REFERENCED);
    }
}

/// Makes a folio active that is on a list or about to be (Linux: `folio_activate`).
#[inline(never)]
pub fn activate(folio: &Folio) {
    let mut lists = lock();
    let flags = folio.flags();
    if flags.intersects(PageFlags::ACTIVE | PageFlags::UNEVICTABLE) {
        return;
    }
    if flags.contains(PageFlags::LRU) {
        lists.turn(folio, PageFlags::ACTIVE);
        stat::add(Item::PgActivate, folio.pages() as i64);
    } else if flags.contains(PageFlags::LRU_BATCH) {
        // It stays in the batch, and goes to the active list from there.
        folio.set_flags(PageFlags::ACTIVE);
    }
}

/// Makes a folio inactive that is on the active list (Linux: `folio_deactivate`).
pub fn deactivate(folio: &Folio) {
    let mut lists = lock();
    let flags = folio.flags();
    if flags.contains(PageFlags::LRU | PageFlags::ACTIVE) {
        lists.turn(folio, PageFlags::empty());
        stat::add(Item::PgDeactivate, folio.pages() as i64);
    }
}
