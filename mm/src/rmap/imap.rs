//! Where a file is mapped: which part of it, in which tables, at which addresses (Linux: `i_mmap`).
//!
//! Every mapping of a file has one [`Link`] here from before its first page until after its last, so
//! that truncation finds all pages. The lock is `i_mmap_rwsem`; who holds it also keeps the tables
//! over the linked mappings from being freed, since a mapping is unlinked first.
//!
//! Address spaces stand in the order of their birth. Fork copies private pages while truncation takes
//! them away: the parent loses its pages first, so that the child, which comes later, loses all that
//! were copied before.

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
    fn key(&self) -> (u64, VirtAddr) {
        key(&self.core, self.range.start)
    }
}

/// Links are sorted by address space and start: mappings of one address space are disjoint.
fn key(core: &KArc<SpaceCore>, start: VirtAddr) -> (u64, VirtAddr) {
    (core.number(), start)
}

/// All mappings of one file.
pub(crate) struct FileMaps(Mutex<Links>);

struct Links {
    /// In ascending order of their keys.
    links: KVec<Link>,
    /// Links that are still to come, and for which `links` has room.
    promised: usize,
    /// Those of them that will write.
    promised_writes: usize,
    /// Nobody may write any more (`F_SEAL_WRITE`).
    sealed: bool,
}

/// Why a mapping cannot be linked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoLink {
    /// No memory.
    OutOfMemory,
    /// It would write, and was sealed.
    Sealed,
}

impl From<AllocError> for NoLink {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl FileMaps {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(
            Rank::IMmap,
            Links { links: KVec::new(), promised: 0, promised_writes: 0, sealed: false },
        ))
    }

    /// Room for one link, which nobody else uses up; a link that `writes` keeps the file from being sealed
    /// from now on.
    ///
    /// # Errors
    /// See [`NoLink`].
    pub(crate) fn promise(&self, writes: bool) -> Result<Promise<'_>, NoLink> {
        let mut guard = self.lock();
        if writes && guard.0.sealed {
            return Err(NoLink::Sealed);
        }
        guard.reserve(1)?;
        guard.0.promised += 1;
        guard.0.promised_writes += usize::from(writes);
        Ok(Promise { maps: self, writes })
    }

    pub(crate) fn lock(&self) -> FileMapsGuard<'_> {
        FileMapsGuard(self.0.lock())
    }

    /// Takes the pages of `count` page numbers from `first` on out of every address space (Linux:
    /// `unmap_mapping_range`).
    pub(crate) fn unmap(&self, first: u64, count: u64, which: Which) {
        let end = first.saturating_add(count);
        let links = self.0.lock();
        for link in links.links.iter() {
            let link_end = link.pgoff.saturating_add(link.range.pages());
            let (from, to) = (first.max(link.pgoff), end.min(link_end));
            if from < to {
                let start = link.range.start + ((from - link.pgoff) << PAGE_SHIFT);
                let range = VirtRange::new(start, start + ((to - from) << PAGE_SHIFT));
                zap_range(&link.core, range, which);
            }
        }
    }

    /// From now on no mapping may write to the file, unless one does already or may: then nothing changes, and it
    /// says `false` (Linux: `mapping_deny_writable`).
    pub(crate) fn seal(&self) -> bool {
        let mut links = self.0.lock();
        let unwritten = links.promised_writes == 0 && !links.links.iter().any(|link| link.writes);
        links.sealed |= unwritten;
        unwritten
    }

    /// Whether the file is mapped anywhere.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().links.is_empty()
    }
}

/// The links, to be changed: several changes under one lock are one change to everybody else.
pub(crate) struct FileMapsGuard<'a>(MutexGuard<'a, Links>);

impl FileMapsGuard<'_> {
    fn position(&self, key: (u64, VirtAddr)) -> Result<usize, usize> {
        self.0.links.binary_search_by_key(&key, Link::key)
    }

    /// Makes room for `additional` links.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub(crate) fn reserve(&mut self, additional: usize) -> Result<(), AllocError> {
        let more = additional + self.0.promised;
        self.0.links.reserve(more, Gfp::KERNEL)
    }

    /// Adds a link, for which room was made.
    pub(crate) fn insert(&mut self, link: Link) {
        let at = match self.position(link.key()) {
            Ok(_) => return debug_assert!(false, "{:?} is linked already", link.range),
            Err(at) => at,
        };
        let inserted = self.0.links.insert(at, link, Gfp::NOWAIT);
        debug_assert!(inserted.is_ok(), "nobody made room for a link");
    }

    /// Takes the link of the mapping that starts at `start` out.
    pub(crate) fn remove(&mut self, core: &KArc<SpaceCore>, start: VirtAddr) -> Option<Link> {
        let at = self.position(key(core, start)).ok()?;
        Some(self.0.links.remove(at))
    }

    /// What the link of the mapping that starts at `start` says: addresses and page number.
    pub(crate) fn find(&self, core: &KArc<SpaceCore>, start: VirtAddr) -> Option<(VirtRange, u64)> {
        let link = &self.0.links[self.position(key(core, start)).ok()?];
        Some((link.range, link.pgoff))
    }

    /// Gives the link of the mapping that starts at `start` another range and offset.
    pub(crate) fn resize(&mut self, core: &KArc<SpaceCore>, start: VirtAddr, range: VirtRange, pgoff: u64) {
        // The order cannot change: the mappings of one address space stay disjoint.
        match self.position(key(core, start)) {
            Ok(at) => {
                self.0.links[at].range = range;
                self.0.links[at].pgoff = pgoff;
            }
            Err(_) => debug_assert!(false, "{start:?} is not linked"),
        }
    }
}

/// Room for a link, until it is used or given up.
#[must_use]
pub(crate) struct Promise<'a> {
    maps: &'a FileMaps,
    writes: bool,
}

impl Promise<'_> {
    /// Adds the link.
    pub(crate) fn insert(self, link: Link) {
        // The room is given up with the promise, after the link has it.
        debug_assert_eq!(link.writes, self.writes);
        self.maps.lock().insert(link);
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        let mut links = self.maps.0.lock();
        links.promised -= 1;
        links.promised_writes -= usize::from(self.writes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PAGE_SIZE;
    use crate::host::HostMachine;
    use crate::inject::{Then, fail_after};

    fn core() -> KArc<SpaceCore> {
        KArc::new(SpaceCore::new(Gfp::KERNEL).unwrap(), Gfp::KERNEL).unwrap()
    }

    fn link(core: &KArc<SpaceCore>, page: u64) -> Link {
        let start = VirtAddr::new(page << PAGE_SHIFT);
        let range = VirtRange::new(start, start + PAGE_SIZE as u64);
        Link { core: core.clone(), range, pgoff: 0, writes: false }
    }

    #[test]
    fn promised_room_stays_when_others_take_all_there_is() {
        let _machine = HostMachine::new(1 << 20, 1);
        let (maps, core) = (FileMaps::new(), core());
        let promise = maps.promise(false).unwrap();
        let _injection = fail_after(0, Then::Fail);
        let mut others = 0;
        while maps.lock().reserve(1).is_ok() {
            maps.lock().insert(link(&core, others));
            others += 1;
        }
        promise.insert(link(&core, others));
        assert_eq!(maps.lock().0.links.len() as u64, others + 1);
        assert_eq!(maps.lock().0.promised, 0);
        assert!(maps.lock().find(&core, VirtAddr::new(others << PAGE_SHIFT)).is_some());
    }

    #[test]
    fn a_promise_that_is_not_kept_gives_its_room_back() {
        let _machine = HostMachine::new(1 << 20, 1);
        let maps = FileMaps::new();
        drop(maps.promise(false).unwrap());
        assert_eq!(maps.lock().0.promised, 0);
        assert!(maps.is_empty());
    }

    #[test]
    fn a_mapping_on_its_way_keeps_its_file_from_being_sealed() {
        let _machine = HostMachine::new(1 << 20, 1);
        let maps = FileMaps::new();
        let reader = maps.promise(false).unwrap();
        let writer = maps.promise(true).unwrap();
        assert!(!maps.seal());
        let core = core();
        writer.insert(Link { writes: true, ..link(&core, 1) });
        assert!(!maps.seal());
        drop(maps.lock().remove(&core, VirtAddr::new(1 << PAGE_SHIFT)));
        assert!(maps.seal());
        assert!(matches!(maps.promise(true), Err(NoLink::Sealed)));
        drop(reader);
        assert!(maps.promise(false).is_ok());
    }

    #[test]
    fn address_spaces_stand_in_the_order_of_their_birth() {
        let _machine = HostMachine::new(1 << 20, 1);
        // The slots of the first come free again for the last.
        let first: [_; 8] = core::array::from_fn(|_| core());
        let parent = core();
        drop(first);
        let children: [_; 8] = core::array::from_fn(|_| core());
        let maps = FileMaps::new();
        for space in children.iter().rev().chain([&parent]) {
            let mut links = maps.lock();
            links.reserve(1).unwrap();
            links.insert(link(space, 1));
        }
        let links = maps.lock();
        let order = links.0.links.iter().map(|link| &*link.core as *const SpaceCore);
        assert!(order.eq([&parent].into_iter().chain(&children).map(|space| &**space as *const SpaceCore)));
    }
}
