//! Where a file is mapped: which part of it, in which tables, at which addresses (Linux: `i_mmap`).
//!
//! Every mapping of a file has one [`Link`] here from before its first page until after its last, so
//! that truncation finds all pages. The lock is `i_mmap_rwsem`; who holds it also keeps the tables
//! over the linked mappings from being freed, since a mapping is unlinked first.
//!
//! Of mappings that start with the same page of the file those of older address spaces come first. Fork copies private
//! pages while truncation takes them away: what is copied starts with the same page in the child as in the parent,
//! whose mappings nobody else changes meanwhile. So the parent loses its pages first, and the child, which comes
//! later, loses all that were copied before; a child that is linked while the lock is held is linked after the
//! whole walk, and finds nothing to copy (Linux: `vma_interval_tree_insert_after`).

use core::ops::ControlFlow;

use crate::addr::{PAGE_SHIFT, VirtAddr, VirtRange};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::rmap::interval::{Interval, IntervalTree, Node};
use crate::rmap::{SpaceCore, Which, zap_range};
use crate::slab::{Cache, KArc, KBox};
use crate::sync::{Rank, ReadGuard, RwSem, WriteGuard};

static LINKS: Cache<Node<Link>> = Cache::new("file_link");

/// Which pages a mapping shows, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) range: VirtRange,
    /// The number of the first page.
    pub(crate) pgoff: u64,
}

impl Place {
    /// The addresses of those of the pages from `first` to `last` that it shows.
    pub(crate) fn addresses(&self, first: u64, last: u64) -> Option<VirtRange> {
        let (from, to) = (first.max(self.pgoff), last.min(self.last()));
        (from <= to).then(|| {
            let start = self.range.start + ((from - self.pgoff) << PAGE_SHIFT);
            VirtRange::new(start, start + ((to - from + 1) << PAGE_SHIFT))
        })
    }

    /// The number of the last page.
    pub(crate) fn last(&self) -> u64 {
        self.pgoff.saturating_add(self.range.pages() - 1)
    }
}

/// One mapping of the pages that a tree is of.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) core: KArc<SpaceCore>,
    pub(crate) place: Place,
    /// Stores reach the file, or may once rights change.
    pub(crate) writes: bool,
}

/// First page, age of the address space, address: the mappings of one address space are disjoint.
pub(crate) type LinkKey = (u64, u64, VirtAddr);

impl Interval for Link {
    type Key = LinkKey;

    #[inline]
    fn key(&self) -> LinkKey {
        key(&self.core, self.place)
    }

    #[inline]
    fn first(&self) -> u64 {
        self.place.pgoff
    }

    #[inline]
    fn last(&self) -> u64 {
        self.place.last()
    }
}

#[inline]
pub(crate) fn key(core: &SpaceCore, place: Place) -> LinkKey {
    (place.pgoff, core.number(), place.range.start)
}

/// A link that is not in a tree yet.
pub(crate) type SpareLink = KBox<Node<Link>>;

/// Memory for a link of a file's mapping.
///
/// # Errors
/// There is none.
pub(crate) fn new_link(link: Link) -> Result<SpareLink, AllocError> {
    Node::new(&LINKS, link, Gfp::KERNEL)
}

/// All mappings of one file.
pub(crate) struct FileMaps(RwSem<Links>);

struct Links {
    tree: IntervalTree<Link>,
    /// Links that write, those among them that are still to come.
    writers: usize,
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
        Self(RwSem::new(Rank::IMmap, Links { tree: IntervalTree::new(), writers: 0, sealed: false }))
    }

    /// A link that cannot fail to be added later; one that writes keeps the file from being sealed from now on.
    ///
    /// # Errors
    /// See [`NoLink`].
    pub(crate) fn promise(&self, link: Link) -> Result<Promise<'_>, NoLink> {
        let writes = link.writes;
        let node = new_link(link)?;
        if writes {
            let mut links = self.0.write();
            if links.sealed {
                return Err(NoLink::Sealed);
            }
            links.writers += 1;
        }
        Ok(Promise { maps: self, node: Some(node) })
    }

    /// The links, to be changed.
    pub(crate) fn lock(&self) -> FileMapsGuard<'_> {
        FileMapsGuard(self.0.write())
    }

    /// The links, to be walked.
    pub(crate) fn read(&self) -> FileMapsReader<'_> {
        FileMapsReader(self.0.read())
    }

    /// Takes the pages of `count` page numbers from `first` on out of every address space (Linux:
    /// `unmap_mapping_range`).
    pub(crate) fn unmap(&self, first: u64, count: u64, which: Which) {
        let Some(more) = count.checked_sub(1) else { return };
        let last = first.saturating_add(more);
        let _ = self.read().overlaps(first, last, |link| {
            if let Some(range) = link.place.addresses(first, last) {
                zap_range(&link.core, range, which);
            }
            ControlFlow::Continue(())
        });
    }

    /// From now on no mapping may write to the file, unless one does already or may: then nothing changes, and it
    /// says `false` (Linux: `mapping_deny_writable`).
    pub(crate) fn seal(&self) -> bool {
        let mut links = self.0.write();
        let unwritten = links.writers == 0;
        links.sealed |= unwritten;
        unwritten
    }

    /// Whether the file is mapped anywhere.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().tree.is_empty()
    }
}

/// The links, which stay as they are meanwhile.
pub(crate) struct FileMapsReader<'a>(ReadGuard<'a, Links>);

impl FileMapsReader<'_> {
    /// Shows `visit` the links with pages from `first` to `last`, parents before children, until it breaks.
    pub(crate) fn overlaps(
        &self,
        first: u64,
        last: u64,
        visit: impl FnMut(&Link) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.0.tree.overlaps(first, last, visit)
    }

    /// Whether that mapping is linked.
    pub(crate) fn has(&self, core: &SpaceCore, place: Place) -> bool {
        self.0.tree.get(&key(core, place)).is_some_and(|link| link.place == place)
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// When it does not hold.
    pub(crate) fn validate(&self) {
        self.0.tree.validate();
        let mut writers = 0;
        let _ = self.overlaps(0, u64::MAX, |link| {
            writers += usize::from(link.writes);
            ControlFlow::Continue(())
        });
        assert!(writers <= self.0.writers, "mappings that write");
        assert!(writers == 0 || !self.0.sealed, "a sealed file is written to");
    }
}

/// The links, to be changed: several changes under one lock are one change to everybody else.
pub(crate) struct FileMapsGuard<'a>(WriteGuard<'a, Links>);

impl FileMapsGuard<'_> {
    /// Adds a link.
    pub(crate) fn insert(&mut self, node: SpareLink) {
        self.0.writers += usize::from(node.item().writes);
        self.0.tree.insert(node);
    }

    /// Takes the link of the mapping at `place` out.
    pub(crate) fn remove(&mut self, core: &SpaceCore, place: Place) {
        let node = self.0.tree.remove(&key(core, place));
        debug_assert!(node.is_some(), "{place:?} is not linked");
        self.0.writers -= usize::from(node.is_some_and(|node| node.item().writes));
    }

    /// The mapping at `from` is at `to` from now on.
    pub(crate) fn resize(&mut self, core: &SpaceCore, from: Place, to: Place) {
        resize(&mut self.0.tree, core, from, to);
    }
}

/// The mapping at `from` is at `to` from now on.
pub(crate) fn resize(tree: &mut IntervalTree<Link>, core: &SpaceCore, from: Place, to: Place) {
    let (old, new) = (key(core, from), key(core, to));
    if old == new {
        let found = tree.set_last(&old, |link| link.place = to);
        debug_assert!(found, "{from:?} is not linked");
    } else if let Some(mut node) = tree.remove(&old) {
        node.item_mut().place = to;
        tree.insert(node);
    } else {
        debug_assert!(false, "{from:?} is not linked");
    }
}

/// A link that is to come, until it is added or given up.
#[must_use]
pub(crate) struct Promise<'a> {
    maps: &'a FileMaps,
    node: Option<SpareLink>,
}

impl Promise<'_> {
    /// Adds the link.
    pub(crate) fn insert(mut self) {
        if let Some(node) = self.node.take() {
            self.maps.0.write().tree.insert(node);
        }
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        if let Some(node) = self.node.take()
            && node.item().writes
        {
            self.maps.0.write().writers -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PAGE_SIZE;
    use crate::host::HostMachine;
    use crate::inject::{Then, fail_after};
    use std::vec::Vec;

    fn core() -> KArc<SpaceCore> {
        KArc::new(SpaceCore::new(Gfp::KERNEL).unwrap(), Gfp::KERNEL).unwrap()
    }

    fn link(core: &KArc<SpaceCore>, page: u64) -> Link {
        let start = VirtAddr::new(page << PAGE_SHIFT);
        let range = VirtRange::new(start, start + PAGE_SIZE as u64);
        Link { core: core.clone(), place: Place { range, pgoff: 0 }, writes: false }
    }

    #[test]
    fn a_promise_is_kept_when_there_is_no_memory_any_more() {
        let _machine = HostMachine::new(1 << 20, 1);
        let (maps, core) = (FileMaps::new(), core());
        let promise = maps.promise(link(&core, 1)).unwrap();
        let _injection = fail_after(0, Then::Fail);
        assert!(matches!(maps.promise(link(&core, 2)), Err(NoLink::OutOfMemory)));
        promise.insert();
        assert!(maps.read().has(&core, link(&core, 1).place));
    }

    #[test]
    fn a_promise_that_is_not_kept_leaves_nothing() {
        let _machine = HostMachine::new(1 << 20, 1);
        let (maps, core) = (FileMaps::new(), core());
        drop(maps.promise(Link { writes: true, ..link(&core, 1) }).unwrap());
        assert!(maps.is_empty() && maps.seal());
    }

    #[test]
    fn a_mapping_on_its_way_keeps_its_file_from_being_sealed() {
        let _machine = HostMachine::new(1 << 20, 1);
        let (maps, core) = (FileMaps::new(), core());
        let writing = || Link { writes: true, ..link(&core, 1) };
        let reader = maps.promise(link(&core, 2)).unwrap();
        let writer = maps.promise(writing()).unwrap();
        assert!(!maps.seal());
        writer.insert();
        assert!(!maps.seal());
        maps.lock().remove(&core, writing().place);
        assert!(maps.seal());
        assert!(matches!(maps.promise(writing()), Err(NoLink::Sealed)));
        drop(reader);
        assert!(maps.promise(link(&core, 2)).is_ok());
    }

    #[test]
    fn parents_come_before_their_children() {
        let _machine = HostMachine::new(1 << 20, 1);
        // The slots of the first come free again for the last.
        let first: [_; 8] = core::array::from_fn(|_| core());
        let parent = core();
        drop(first);
        let children: [_; 8] = core::array::from_fn(|_| core());
        let maps = FileMaps::new();
        for space in children.iter().rev().chain([&parent]) {
            maps.lock().insert(new_link(link(space, 1)).unwrap());
        }
        let mut order = Vec::new();
        let _ = maps.read().overlaps(0, 0, |link| {
            order.push(&raw const *link.core);
            ControlFlow::Continue(())
        });
        assert!(order.into_iter().eq([&parent].into_iter().chain(&children).map(|space| &raw const **space)));
    }

    #[test]
    fn a_place_knows_the_addresses_of_its_pages() {
        let range = VirtRange::new(VirtAddr::new(0x10000), VirtAddr::new(0x14000));
        let place = Place { range, pgoff: 7 };
        let at = |start, end| Some(VirtRange::new(VirtAddr::new(start), VirtAddr::new(end)));
        assert_eq!(place.addresses(0, u64::MAX), at(0x10000, 0x14000));
        assert_eq!(place.addresses(8, 9), at(0x11000, 0x13000));
        assert_eq!(place.addresses(10, 10), at(0x13000, 0x14000));
        assert_eq!((place.addresses(0, 6), place.addresses(11, 12)), (None, None));
    }
}
