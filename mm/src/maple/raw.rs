//! The tree without the types of its values, and without where its nodes come from: what the writer does.
//!
//! A change looks first whether it may be made and whether there are nodes enough, and is then made as a whole, between
//! the steps of the root's count that readers without a lock go by. Models of `mm/tests/loom_maple.rs` are of this
//! very source.

use core::ops::Deref;
use core::ptr::{NonNull, null_mut};

use arrayvec::ArrayVec;

use super::balance::{Doomed, refill, split};
use super::node::{FREE, Node, Slot};
use super::path::{MAX_LEVELS, Path};
use super::pool::Pool;
use super::root::{Found, Root};
use super::shim::{Ordering::Release, fence};

/// Why an entry was not put in; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// Another has an address of its range, or there is none in it.
    Overlap,
    /// Nobody reserved nodes.
    Nodes,
}

/// Who gets nodes that were taken out, while readers without a lock may be in them.
pub(super) trait Retire<const N: usize> {
    /// Frees the node once no reader is in it.
    ///
    /// # Safety
    /// It was in a tree, no reader finds it there any more, and the caller does not touch it again.
    unsafe fn retire(&self, node: NonNull<Node<N>>);
}

/// A tree of ranges that are disjoint, each with a value of one word, none of them null. `B` owns the root, which
/// readers may share.
#[derive(Debug)]
pub(super) struct RawTree<B, const N: usize> {
    root: B,
    pool: Pool<N>,
    len: usize,
}

impl<B: Deref<Target = Root<N>>, const N: usize> RawTree<B, N> {
    /// An empty tree; so is the one that `root` is of.
    pub(super) const fn new(root: B) -> Self {
        Self { root, pool: Pool::new(), len: 0 }
    }

    #[inline(always)]
    pub(super) fn root(&self) -> &Root<N> {
        &self.root
    }

    /// The owner of the root.
    pub(super) const fn base(&self) -> &B {
        &self.root
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Nodes that are kept for changes.
    pub(super) fn pool(&mut self) -> &mut Pool<N> {
        &mut self.pool
    }

    /// How many nodes any one insertion takes at the most. None when the tree has as many levels as it can have.
    #[inline]
    pub(super) fn nodes_to_insert(&self) -> Option<usize> {
        let nodes = self.root.top().map_or(1, |top| top.level() + 2);
        (nodes <= MAX_LEVELS).then_some(nodes)
    }

    #[inline(always)]
    pub(super) fn spare(&self) -> usize {
        self.pool.len()
    }

    /// Puts an entry in, for the addresses from `start` to below `end`.
    ///
    /// # Errors
    /// See [`Refused`].
    pub(super) fn insert(&mut self, start: u64, end: u64, value: NonNull<()>) -> Result<(), Refused> {
        if start >= end || end == FREE {
            return Err(Refused::Overlap);
        }
        let slot = Slot { hi: end, lo: start, ptr: value.as_ptr() };
        let root = &*self.root;
        let mut path = Path::new();
        if path.go(root, start).is_none() {
            return self.insert_first(slot);
        }
        let Some((mut leaf, mut at)) = path.leaf() else { return Err(Refused::Nodes) };
        let is_last = at == leaf.len();
        if !is_last && leaf.lo(at) < end {
            return Err(Refused::Overlap);
        }
        let needed = path.nodes_needed();
        if needed > self.pool.len() || path.top() + 2 > MAX_LEVELS {
            return Err(Refused::Nodes);
        }
        root.count.write_begin();
        if needed > 0 {
            split(root, &mut self.pool, &mut path, 0, is_last);
            if let Some(place) = path.leaf() {
                (leaf, at) = place;
            }
        }
        let floor = path.floor();
        let mut gap = start - floor;
        let was = if is_last { 0 } else { leaf.lo(at) - floor };
        if !is_last {
            gap = gap.max(leaf.lo(at) - end);
        }
        leaf.insert(at, slot);
        path.regap(was, gap);
        root.count.write_end();
        self.len += 1;
        Ok(())
    }

    fn insert_first(&mut self, slot: Slot) -> Result<(), Refused> {
        let leaf = self.pool.take().ok_or(Refused::Nodes)?;
        self.root.count.write_begin();
        // SAFETY: nodes of the pool are valid, and nobody else knows this one.
        unsafe { leaf.as_ref() }.insert(0, slot);
        self.root.set_top(leaf.as_ptr());
        self.root.count.write_end();
        self.len = 1;
        Ok(())
    }

    /// Makes two entries of the one that `addr` is in: its own value keeps what is below `low_end`, which is above
    /// `addr` or next to it, and `value` gets what is from `high_start` on. None has what is between.
    ///
    /// # Errors
    /// See [`Refused`]; `Overlap`: there is no such entry, or nothing would be left for one of the two.
    pub(super) fn split(
        &mut self,
        addr: u64,
        low_end: u64,
        high_start: u64,
        value: NonNull<()>,
    ) -> Result<(), Refused> {
        let root = &*self.root;
        let mut path = Path::new();
        path.go(root, addr).ok_or(Refused::Overlap)?;
        let entry = path.entry().filter(|entry| entry.start <= addr).ok_or(Refused::Overlap)?;
        if low_end <= entry.start || high_start < low_end || entry.end <= high_start {
            return Err(Refused::Overlap);
        }
        let needed = path.nodes_needed();
        if needed > self.pool.len() || path.top() + 2 > MAX_LEVELS {
            return Err(Refused::Nodes);
        }
        root.count.write_begin();
        if needed > 0 {
            split(root, &mut self.pool, &mut path, 0, false);
        }
        if let Some((leaf, at)) = path.leaf() {
            // The leaf ends where it did, and all its gaps are there still.
            leaf.insert(at + 1, Slot { hi: entry.end, lo: high_start, ptr: value.as_ptr() });
            leaf.set_hi(at, low_end);
            path.regap(0, high_start - low_end);
            self.len += 1;
        }
        root.count.write_end();
        Ok(())
    }

    /// Takes the entry out that `addr` is in.
    #[inline]
    pub(super) fn remove(&mut self, addr: u64, retire: &impl Retire<N>) -> Option<Found> {
        let mut path = Path::new();
        path.go(&self.root, addr)?;
        let entry = path.entry().filter(|entry| entry.start <= addr)?;
        let mut doomed = Doomed::new();
        take_out(&self.root, &mut path, 1, &mut doomed);
        self.len -= 1;
        doomed.retire(retire);
        Some(entry)
    }

    /// Takes all entries out that have an address from `start` to below `end`, and gives them to `out`, ascending. It
    /// is called between changes: the tree is whole then, without the entries that it was called for.
    pub(super) fn remove_range(
        &mut self,
        start: u64,
        end: u64,
        retire: &impl Retire<N>,
        mut out: impl FnMut(Found),
    ) {
        loop {
            let mut path = Path::new();
            if path.go(&self.root, start).is_none() {
                return;
            }
            let Some((leaf, at)) = path.leaf() else { return };
            let len = leaf.len();
            let mut count = (at..len).take_while(|&at| leaf.lo(at) < end).count();
            // No leaf becomes empty but the last one: what its end is would be in another leaf then.
            if count == len && len > 1 {
                count -= 1;
            }
            if count == 0 {
                return;
            }
            let taken: ArrayVec<Found, N> =
                (at..at + count).filter_map(|at| Found::of(leaf.get(at))).take(N).collect();
            let mut doomed = Doomed::new();
            take_out(&self.root, &mut path, count, &mut doomed);
            self.len -= count;
            doomed.retire(retire);
            taken.iter().copied().for_each(&mut out);
        }
    }

    /// Gives the entry that `addr` is in the range from `start` to below `end`, which takes no address of another
    /// entry. Says whether it could.
    pub(super) fn resize(&mut self, addr: u64, start: u64, end: u64) -> bool {
        let root = &*self.root;
        let mut path = Path::new();
        if path.go(root, addr).is_none() {
            return false;
        }
        let (Some((leaf, at)), Some(old)) = (path.leaf(), path.entry()) else { return false };
        let floor = path.floor();
        let next =
            if at + 1 < leaf.len() { Some(leaf.lo(at + 1)) } else { leaf.next().map(|next| next.lo(0)) };
        let is_free = floor <= start && start < end && end <= next.unwrap_or(FREE - 1);
        if old.start > addr || !is_free {
            return false;
        }
        root.count.write_begin();
        leaf.set_lo(at, start);
        leaf.set_hi(at, end);
        let (was, is) = (old.start - floor, start - floor);
        match next {
            Some(next) if at + 1 < leaf.len() => path.regap(was.max(next - old.end), is.max(next - end)),
            _ => {
                path.regap(was, is);
                if end != old.end {
                    path.end_moved(old.end, end);
                }
            }
        }
        root.count.write_end();
        true
    }

    /// Takes all entries out and gives them to `out`, ascending; the nodes that were reserved stay. It is called when
    /// the tree is empty already.
    pub(super) fn clear(&mut self, retire: &impl Retire<N>, mut out: impl FnMut(Found)) {
        let Some(top) = self.root.top() else { return };
        self.root.count.write_begin();
        self.root.set_top(null_mut());
        self.root.count.write_end();
        self.len = 0;
        empty(top, retire, &mut out);
    }
}

/// Gives out what is below a node that is not in the tree any more, and retires the nodes.
fn empty<const N: usize>(node: &Node<N>, retire: &impl Retire<N>, out: &mut impl FnMut(Found)) {
    let is_leaf = node.level() == 0;
    for at in 0..node.len() {
        if is_leaf {
            Found::of(node.get(at)).into_iter().for_each(&mut *out);
        } else if let Some(child) = node.child(at) {
            empty(child, retire, out);
        }
    }
    // SAFETY: the tree is empty for readers; this one is not touched again, and its children were retired.
    unsafe { retire.retire(node.as_ptr()) };
}

/// Takes `count` entries out of the leaf at the place; all of them only if the leaf is the last one.
/// Nodes that are not needed any more go to `doomed`.
fn take_out<const N: usize>(root: &Root<N>, path: &mut Path<'_, N>, count: usize, doomed: &mut Doomed<N>) {
    let Some((leaf, at)) = path.leaf() else { return };
    let floor = path.floor();
    let last_end = leaf.hi(at + count - 1);
    let gap = if count == 1 { leaf.lo(at) - floor } else { FREE };
    root.count.write_begin();
    leaf.remove(at, count);
    let left = leaf.len();
    if left == 0 && path.top() == 0 {
        root.set_top(null_mut());
        doomed.push(leaf);
    } else {
        if at < left {
            // The gaps before what is gone are parts of this one.
            path.regap(0, leaf.lo(at) - floor);
        } else {
            path.regap(gap, 0);
            if left > 0 {
                path.end_moved(last_end, floor);
            }
        }
        if left < Node::<N>::FEW && path.top() > 0 {
            refill(root, path, 0, doomed);
        }
    }
    root.count.write_end();
}

/// What the nodes filled so far hold is seen by readers who find pointers to them from here on.
pub(super) fn publish() {
    // Pairs with the acquire of `Node::ptr_published`.
    fence(Release);
}
