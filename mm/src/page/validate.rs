//! Looking whether the descriptors of all pages make sense, and agree with what is counted.
//!
//! What a page is shows in its descriptor; each kind promises something of its counts and flags. The pages
//! inside of a raw block that is in use look as free ones do, so that those are nobody's here.

use core::sync::atomic::Ordering::Relaxed;

use super::{FirstTailArm, MappingWord, PAGES_PER_SECTION, Page, PageFlags, PagePtr, PageType, TailArm};
use super::{pfn_to_online_page, pfn_to_page};
use crate::addr::{Order, Pfn};
use crate::lru::{self, LruList};
use crate::memory::memory;
use crate::stat::{self, Item};
use crate::zone::{Corrupt, Zone, ZoneId};

/// Checks the descriptor of every page, and that the counters of `stat` are what the pages add up to. Nobody
/// allocates, frees, maps or faults meanwhile, on any hart.
///
/// # Errors
/// What is wrong, and where.
pub fn validate() -> Result<(), Corrupt> {
    let mut found = Found::default();
    for section in memory().memmap.sections() {
        let mut index = 0;
        while index < PAGES_PER_SECTION {
            index += found.look_at(pfn_to_page(section + index))? as u64;
        }
    }
    found.compare()
}

/// How many pages there are of each kind.
#[derive(Default, Debug)]
struct Found {
    free: u64,
    reserved: u64,
    tables: u64,
    slab: u64,
    large_objects: u64,
    anon_mapped: u64,
    file_mapped: u64,
    shmem: u64,
    /// Pages of files that have a place elsewhere, with data.
    uptodate: u64,
    /// On each LRU list.
    listed: [u64; LruList::ALL.len()],
    /// Folios in batches for these.
    batched: u64,
    mlocked: u64,
}

impl Found {
    /// Checks the page, or the free block or folio that starts with it; says how many pages that were.
    fn look_at(&mut self, page: PagePtr) -> Result<usize, Corrupt> {
        let raw = page.count().raw();
        let flags = page.flags();
        if raw == 0 {
            return match flags {
                PageFlags::RESERVED => {
                    // A device's pages are not the allocator's to begin with.
                    self.reserved += u64::from(page.zone() != ZoneId::Device);
                    Ok(1)
                }
                _ if flags.is_empty() => Ok(1),
                _ => corrupt(page, "a page that nobody has has flags"),
            };
        }
        if let Some(order) = page.count().buddy_order() {
            self.free += order.pages() as u64;
            return free_block(page, order);
        }
        if page.count().is_typed() {
            self.typed(page)?;
            return Ok(1);
        }
        match () {
            _ if page.refcount() == 0 => corrupt(page, "a page is mapped that nobody has"),
            _ if page.count().is_stuck() => corrupt(page, "there are too many references to a page"),
            _ if flags.intersects(PageFlags::RESERVED) => corrupt(page, "a reserved page is in use"),
            _ if flags.contains(PageFlags::TAIL) => corrupt(page, "a tail has references"),
            _ if flags.contains(PageFlags::HEAD) => self.compound(page),
            _ => {
                self.folio(page, page.mapcount())?;
                self.page(page, page)?;
                Ok(1)
            }
        }
    }

    fn typed(&mut self, page: PagePtr) -> Result<(), Corrupt> {
        match page.page_type() {
            Some(PageType::Slab) => self.slab += 1,
            Some(PageType::LargeObject) => self.large_objects += 1,
            Some(PageType::Table) => self.tables += 1,
            Some(PageType::Stack) => {}
            Some(PageType::Buddy) | None => return corrupt(page, "a page is of no known type"),
        }
        // Whoever tries every frame leaves no more than references.
        let unlikely = PageFlags::TAIL | PageFlags::RESERVED | PageFlags::ANON_EXCLUSIVE;
        if page.flags().intersects(unlikely) {
            corrupt(page, "a kernel page has a user page's flags")
        } else {
            Ok(())
        }
    }

    /// The folio with this head, of several pages.
    fn compound(&mut self, head: PagePtr) -> Result<usize, Corrupt> {
        let first = pfn_to_online_page(head.pfn() + 1);
        let order = first.and_then(|tail| {
            let order = tail.arm_unchecked::<FirstTailArm>().order.load(Relaxed) as usize;
            Order::new(order).filter(|order| *order != Order::ZERO && head.pfn().is_aligned(*order))
        });
        let Some(order) = order else { return corrupt(head, "a compound page has no order") };
        let mut mapcount = head.mapcount();
        self.page(head, head)?;
        for index in 1..order.pages() {
            let tail = head.nth(index);
            match () {
                _ if tail.flags() - PageFlags::PER_PAGE != PageFlags::TAIL => {
                    return corrupt(tail, "a page of a compound page is no tail");
                }
                _ if tail.arm_unchecked::<TailArm>().head.load(Relaxed) != head.as_ptr() => {
                    return corrupt(tail, "a tail is another's");
                }
                _ if tail.refcount() != 0 || tail.count().is_typed() => {
                    return corrupt(tail, "a tail has references");
                }
                _ => {}
            }
            mapcount = mapcount.saturating_add(tail.mapcount());
            self.page(head, tail)?;
        }
        let tail = head.nth(1);
        let arm = tail.arm_unchecked::<FirstTailArm>();
        let entire = arm.entire_mapcount.load(Relaxed);
        if arm.large_mapcount.load(Relaxed) != mapcount.saturating_add(entire) {
            return corrupt(head, "a folio's mappings are not those of its pages");
        }
        self.folio(head, mapcount.saturating_add(entire))?;
        Ok(order.pages())
    }

    /// What holds of a folio as one; `mapcount` is of all its pages.
    fn folio(&mut self, head: PagePtr, mapcount: u32) -> Result<(), Corrupt> {
        if mapcount > head.refcount() {
            return corrupt(head, "a folio has more mappings than references");
        }
        let folio = head.folio();
        let pages = folio.pages() as u64;
        let flags = head.flags();
        if flags.contains(PageFlags::LRU) {
            self.listed[LruList::of(flags) as usize] += pages;
        }
        self.batched += u64::from(flags.contains(PageFlags::LRU_BATCH));
        self.mlocked += if flags.contains(PageFlags::MLOCKED) { pages } else { 0 };
        match () {
            _ if flags.contains(PageFlags::LISTED) => {
                return corrupt(head, "a page is on an LRU list and in a batch");
            }
            _ if flags.contains(PageFlags::UNEVICTABLE) != flags.contains(PageFlags::MLOCKED) => {
                return corrupt(head, "a page is kept in memory and not locked, or the other way about");
            }
            _ if flags.contains(PageFlags::UNEVICTABLE) && !flags.contains(PageFlags::LRU) => {
                return corrupt(head, "a page is kept in memory that is not counted");
            }
            _ if mapcount != 0 && !flags.intersects(PageFlags::LISTED) && folio.is_anon() => {
                return corrupt(head, "a page of a program is on no LRU list");
            }
            _ => {}
        }
        // Of a raw block the words are whatever was there, but it has no flags.
        if let MappingWord::File(_) = folio.mapping() {
            if head.flags().contains(PageFlags::SWAPBACKED) {
                self.shmem += pages;
            } else if head.flags().contains(PageFlags::UPTODATE) {
                self.uptodate += pages;
            }
        }
        Ok(())
    }

    /// What holds of each page of the folio with that head.
    fn page(&mut self, head: PagePtr, page: PagePtr) -> Result<(), Corrupt> {
        let mapcount = page.mapcount();
        if page.anon_exclusive() && mapcount > 1 {
            return corrupt(page, "a page that is one's alone is mapped twice");
        }
        if mapcount != 0 {
            *(if head.folio().is_anon() { &mut self.anon_mapped } else { &mut self.file_mapped }) += 1;
        }
        Ok(())
    }

    /// Whether the counters say the same.
    fn compare(&self) -> Result<(), Corrupt> {
        let kept = stat::read;
        let slab = kept(Item::SlabReclaimable) + kept(Item::SlabUnreclaimable);
        let zones = || memory().zones.iter();
        // A block that is on two lists counts twice; one that is isolated is on none.
        let free = zones().map(Zone::free_pages).sum::<u64>() <= self.free;
        let reserved = self.reserved == memory().reserved_pages();
        let store = kept(Item::FilePages).checked_sub(kept(Item::Shmem));
        let checks = [
            (free, "fewer pages are free than the zones count"),
            (reserved, "the reserved pages are not as many as is said"),
            (self.anon_mapped == kept(Item::AnonMapped), "nr_anon_pages is wrong"),
            (self.file_mapped == kept(Item::FileMapped), "nr_mapped is wrong"),
            (self.shmem == kept(Item::Shmem), "nr_shmem is wrong"),
            (store.is_some_and(|pages| self.uptodate <= pages), "nr_file_pages is wrong"),
            // The kernel's own tables, and the roots, are not counted.
            (self.tables >= kept(Item::PageTable), "nr_page_table_pages is wrong"),
            (self.listed == LruList::ALL.map(|list| kept(list.item())), "an LRU counter is wrong"),
            (self.batched == lru::batched(), "an LRU batch is wrong"),
            (self.mlocked == kept(Item::Mlock), "nr_mlock is wrong"),
            (self.slab + self.large_objects <= slab, "nr_slab is too low"),
            (self.large_objects != 0 || self.slab == slab, "nr_slab is too high"),
        ];
        match checks.iter().find(|check| !check.0) {
            None => Ok(()),
            Some(&(_, what)) => {
                log::error!("{self:?}");
                Err(Corrupt { what, pfn: Pfn::new(0) })
            }
        }
    }
}

/// Inside of a free block nobody has a page.
fn free_block(page: PagePtr, order: Order) -> Result<usize, Corrupt> {
    if !page.pfn().is_aligned(order) || !page.flags().is_empty() {
        return corrupt(page, "a free block is not as it should be");
    }
    let used = |tail: &PagePtr| tail.count().raw() != 0 || !tail.flags().is_empty();
    match (1..order.pages()).map(|index| page.nth(index)).find(used) {
        Some(tail) => corrupt(tail, "a page is free and in use"),
        None => Ok(order.pages()),
    }
}

fn corrupt<T>(page: PagePtr, what: &'static str) -> Result<T, Corrupt> {
    let page: &Page = &page;
    log::error!("{what}: {page:?}");
    Err(Corrupt { what, pfn: page.pfn() })
}

#[cfg(test)]
mod tests;
