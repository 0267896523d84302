//! Where a file is mapped: which part of it, in which tables, at which addresses (Linux: `i_mmap`).
//!
//! Every mapping of a file has one [`Link`] here from before its first page until after its last, so
//! that truncation finds all pages. The lock is `i_mmap_rwsem`; who holds it also keeps the tables
//! over the linked mappings from being freed, since a mapping is unlinked first.

use crate::addr::{PAGE_SHIFT, VirtAddr, VirtRange};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::rmap::{SpaceCore, Which, zap_range};
use crate::slab::{KArc, KVec};
use crate::sync::{Mutex, MutexGuard, Rank};

/// One mapping of the file.
pub(crate) struct Link {
    pub(crate) core: KArc<SpaceCore>,
    pub(crate) range: VirtRange,
    /// Page number in the file of the first page.
    pub(crate) pgoff: u64,
    /// Stores reach the file, or may once rights change.
    pub(crate) writes: bool,
}

impl Link {
    fn key(&self) -> (usize, VirtAddr) {
        key(&self.core, self.range.start)
    }
}

/// Links are sorted by address space and start: mappings of one address space are disjoint.
fn key(core: &KArc<SpaceCore>, start: VirtAddr) -> (usize, VirtAddr) {
    ((&raw const **core).addr(), start)
}

/// All mappings of one file.
pub(crate) struct FileMaps(Mutex<KVec<Link>>);

impl FileMaps {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Rank::IMmap, KVec::new()))
    }

    pub(crate) fn lock(&self) -> FileMapsGuard<'_> {
        FileMapsGuard(self.0.lock())
    }

    /// Takes the pages of `count` page numbers from `first` on out of every address space (Linux:
    /// `unmap_mapping_range`).
    pub(crate) fn unmap(&self, first: u64, count: u64, which: Which) {
        let end = first.saturating_add(count);
        let links = self.0.lock();
        for link in links.iter() {
            let link_end = link.pgoff.saturating_add(link.range.pages());
            let (from, to) = (first.max(link.pgoff), end.min(link_end));
            if from < to {
                let start = link.range.start + ((from - link.pgoff) << PAGE_SHIFT);
                let range = VirtRange::new(start, start + ((to - from) << PAGE_SHIFT));
                zap_range(&link.core, range, which);
            }
        }
    }

    /// Whether stores through a mapping reach the file, or may (Linux: `i_mmap_writable`).
    pub(crate) fn any_writes(&self) -> bool {
        self.0.lock().iter().any(|link| link.writes)
    }

    /// Whether the file is mapped anywhere.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

/// The links, to be changed: several changes under one lock are one change to everybody else.
pub(crate) struct FileMapsGuard<'a>(MutexGuard<'a, KVec<Link>>);

impl FileMapsGuard<'_> {
    fn position(&self, key: (usize, VirtAddr)) -> Result<usize, usize> {
        self.0.binary_search_by_key(&key, Link::key)
    }

    /// Makes room for `additional` links.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub(crate) fn reserve(&mut self, additional: usize) -> Result<(), AllocError> {
        self.0.reserve(additional, Gfp::KERNEL)
    }

    /// Adds a link, for which room was made.
    pub(crate) fn insert(&mut self, link: Link) {
        let at = match self.position(link.key()) {
            Ok(_) => return debug_assert!(false, "{:?} is linked already", link.range),
            Err(at) => at,
        };
        let inserted = self.0.insert(at, link, Gfp::NOWAIT);
        debug_assert!(inserted.is_ok(), "nobody made room for a link");
    }

    /// Takes the link of the mapping that starts at `start` out.
    pub(crate) fn remove(&mut self, core: &KArc<SpaceCore>, start: VirtAddr) -> Option<Link> {
        let at = self.position(key(core, start)).ok()?;
        Some(self.0.remove(at))
    }

    /// What the link of the mapping that starts at `start` says: addresses and page number.
    pub(crate) fn find(&self, core: &KArc<SpaceCore>, start: VirtAddr) -> Option<(VirtRange, u64)> {
        let link = &self.0[self.position(key(core, start)).ok()?];
        Some((link.range, link.pgoff))
    }

    /// Gives the link of the mapping that starts at `start` another range and offset.
    pub(crate) fn resize(&mut self, core: &KArc<SpaceCore>, start: VirtAddr, range: VirtRange, pgoff: u64) {
        // The order cannot change: the mappings of one address space stay disjoint.
        match self.position(key(core, start)) {
            Ok(at) => {
                self.0[at].range = range;
                self.0[at].pgoff = pgoff;
            }
            Err(_) => debug_assert!(false, "{start:?} is not linked"),
        }
    }
}
