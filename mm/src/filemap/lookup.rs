//! What is in the cache (Linux: `filemap_get_entry`, `find_get_entries`, `mapping_seek_hole_data`).
//!
//! Looking for pages takes no lock, unless all of a range have to be found.

use arrayvec::ArrayVec;

use crate::filemap::Mapping;
use crate::page::Folio;
use crate::page_alloc::FolioRef;
use crate::rcu;
use crate::xarray::Entry;

impl Mapping {
    /// The pages that are in the cache, from `first` to below `end`, with their numbers: as many as there are, or as
    /// `found` has room for.
    pub(super) fn find_batch<const N: usize>(
        &self,
        first: u64,
        end: u64,
        found: &mut ArrayVec<(u64, FolioRef), N>,
    ) {
        let Some(last) = end.checked_sub(1) else { return };
        let index = self.index.lock();
        let mut from = first;
        while !found.is_full()
            && let Some(next) = index.next(from, last)
        {
            from = next.index + 1;
            if let Entry::Item(folio) = next.entry {
                found.push((next.index, FolioRef::of(folio)));
            }
        }
    }

    /// The number of the first page at or above `index` that holds data (`SEEK_DATA`): what was only allocated is a
    /// hole (Linux: `mapping_seek_hole_data`).
    pub fn next_data(&self, index: u64) -> Option<u64> {
        let mut from = index;
        // A step at a time, as there may be many pages, and the lock spins.
        loop {
            let (at, data) = {
                let index = self.index.lock();
                let found = index.next(from, u64::MAX)?;
                (found.index, found.entry.item().is_some_and(Folio::is_uptodate))
            };
            if data {
                return Some(at);
            }
            from = at.checked_add(1)?;
        }
    }

    /// The folio of page `index`, if it is in the cache; perhaps not up to date, perhaps truncated
    /// the moment after (Linux: `filemap_get_folio`).
    #[inline]
    pub fn find(&self, index: u64) -> Option<FolioRef> {
        self.index.get(&rcu::read(), index).and_then(Entry::item)
    }

    /// As [`Mapping::find`], if it can be read.
    #[inline]
    pub fn find_uptodate(&self, index: u64) -> Option<FolioRef> {
        self.find(index).filter(|folio| folio.is_uptodate())
    }

    /// Shows `each` the pages that are in the cache and can be read, of `count` from `first` on, with their numbers.
    /// One that comes or goes meanwhile may be left out. `each` does not sleep.
    #[inline(always)]
    pub(crate) fn for_each_uptodate(&self, first: u64, count: u64, mut each: impl FnMut(u64, FolioRef)) {
        let Some(more) = count.checked_sub(1) else { return };
        self.index.for_each(&rcu::read(), first, first.saturating_add(more), |at, folio| {
            if folio.is_uptodate() {
                each(at, folio);
            }
            true
        });
    }
}
