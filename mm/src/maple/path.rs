//! The way from the top to a place in a leaf, and what is kept true along it: where children end, and their largest
//! gaps.
//!
//! For the writer and for who holds it off.

use core::mem::MaybeUninit;

use super::node::{FREE, Node};
use super::root::{Found, Root, below_free};

/// As many levels as a tree may have, a power of two: more than memory has room for.
pub(super) const MAX_LEVELS: usize = 16;
/// The top of a path that leads nowhere: below all levels.
const NOWHERE: usize = usize::MAX;

/// A place in a leaf: a slot, or behind the last one. It is filled where it stands, as it is large for what most
/// changes do.
#[derive(Clone)]
pub(super) struct Path<'t, const N: usize> {
    /// Those up to `top` are there.
    nodes: [MaybeUninit<&'t Node<N>>; MAX_LEVELS],
    at: [MaybeUninit<u8>; MAX_LEVELS],
    top: usize,
}

impl<'t, const N: usize> Path<'t, N> {
    /// To nowhere: [`Path::go`] comes first.
    #[inline(always)]
    pub(super) const fn new() -> Self {
        Self {
            nodes: [MaybeUninit::uninit(); MAX_LEVELS],
            at: [MaybeUninit::uninit(); MAX_LEVELS],
            top: NOWHERE,
        }
    }

    /// Goes to the first entry that ends above `addr`, or behind the last. None in an empty tree.
    #[inline]
    pub(super) fn go(&mut self, root: &'t Root<N>, addr: u64) -> Option<()> {
        self.top = NOWHERE;
        let addr = below_free(addr);
        let mut node = root.top()?;
        let top = node.level();
        for level in (1..=top).rev() {
            let at = node.search(addr);
            self.set(level, node, at);
            node = node.child(at)?;
        }
        self.set(0, node, node.search_leaf(addr));
        // All levels are there now. No tree has more than there is room for.
        self.top = top % MAX_LEVELS;
        Some(())
    }

    #[inline(always)]
    pub(super) fn set(&mut self, level: usize, node: &'t Node<N>, at: usize) {
        self.nodes[level % MAX_LEVELS].write(node);
        self.at[level % MAX_LEVELS].write(at as u8);
    }

    /// Puts a level on top.
    pub(super) fn push(&mut self, node: &'t Node<N>, at: usize) {
        self.set(self.top.wrapping_add(1), node, at);
        self.top = self.top.wrapping_add(1) % MAX_LEVELS;
    }

    #[inline(always)]
    pub(super) fn top(&self) -> usize {
        self.top
    }

    /// The node on a level of the path, and the slot there; none above the top.
    #[inline(always)]
    pub(super) fn on(&self, level: usize) -> Option<(&'t Node<N>, usize)> {
        if level.wrapping_add(1) > self.top.wrapping_add(1) {
            return None;
        }
        // SAFETY: levels up to `top` are there, and it is below `MAX_LEVELS`.
        unsafe {
            let node = self.nodes.get_unchecked(level).assume_init();
            Some((node, self.at.get_unchecked(level).assume_init() as usize))
        }
    }

    /// The leaf and the slot.
    #[inline(always)]
    pub(super) fn leaf(&self) -> Option<(&'t Node<N>, usize)> {
        self.on(0)
    }

    /// The entry in the slot; none behind the last.
    #[inline]
    pub(super) fn entry(&self) -> Option<Found> {
        let (leaf, at) = self.leaf()?;
        if at < leaf.len() { Found::of(leaf.get(at)) } else { None }
    }

    /// Where the entry ends that is the last before the node on `level`; 0 if there is none.
    pub(super) fn floor_below(&self, level: usize) -> u64 {
        (level + 1..=self.top)
            .find_map(|above| self.on(above).filter(|(_, at)| *at > 0))
            .map_or(0, |(node, at)| node.hi(at - 1))
    }

    /// Where the entry before the place ends; 0 if there is none.
    #[inline]
    pub(super) fn floor(&self) -> u64 {
        match self.leaf() {
            Some((leaf, at)) if at > 0 => leaf.hi(at - 1),
            _ => self.floor_below(0),
        }
    }

    /// How many nodes an insertion at the place takes: one for each full node from the leaf up, and a new top if all
    /// are.
    #[inline]
    pub(super) fn nodes_needed(&self) -> usize {
        let full = (0..=self.top).take_while(|&level| self.on(level).is_some_and(|(node, _)| node.is_full()));
        let full = full.count();
        full + usize::from(full > self.top)
    }

    /// Goes down from the node on `level` to a leaf, as `pick` says for each node on the way.
    pub(super) fn descend(&mut self, level: usize, mut pick: impl FnMut(&Node<N>) -> usize) -> Option<()> {
        let (mut node, mut at) = self.on(level)?;
        for below in (0..level).rev() {
            node = node.child(at)?;
            at = pick(node);
            self.set(below, node, at);
        }
        Some(())
    }

    /// The first place in the leaf after this one.
    fn next_leaf(&self) -> Option<Self> {
        let level =
            (1..=self.top).find(|&level| self.on(level).is_some_and(|(node, at)| at + 1 < node.len()))?;
        let (node, at) = self.on(level)?;
        let mut path = self.clone();
        path.set(level, node, at + 1);
        path.descend(level, |_| 0)?;
        Some(path)
    }

    /// Goes to the last slot in the leaf before this one.
    pub(super) fn go_to_previous_leaf(&mut self) -> Option<()> {
        let level = (1..=self.top).find(|&level| self.on(level).is_some_and(|(_, at)| at > 0))?;
        let (node, at) = self.on(level)?;
        self.set(level, node, at - 1);
        self.descend(level, |node| node.len().saturating_sub(1))
    }

    /// Gaps in the leaf have changed: `was` is the largest of those that are gone, `is` of those that are new.
    #[inline]
    pub(super) fn regap(&self, was: u64, is: u64) {
        let (Some((leaf, _)), Some((parent, at))) = (self.leaf(), self.on(1)) else { return };
        let largest = parent.lo(at);
        if is > largest {
            self.settle(0, is);
        } else if was >= largest && is < largest {
            self.settle(0, leaf.largest_gap(self.floor_below(0)));
        }
    }

    /// Tells the levels above that the largest gap below the node on `level` is now `gap`.
    pub(super) fn settle(&self, level: usize, mut gap: u64) {
        for above in level + 1..=self.top {
            let Some((parent, at)) = self.on(above) else { return };
            let old = parent.lo(at);
            if old == gap {
                return;
            }
            parent.set_lo(at, gap);
            let Some((grandparent, at)) = self.on(above + 1) else { return };
            let largest = grandparent.lo(at);
            if gap < largest {
                if old < largest {
                    return;
                }
                gap = parent.largest_gap(0);
            }
        }
    }

    /// The last entry of the leaf, which ended at `old`, or another one in its place, now ends at `new`.
    pub(super) fn end_moved(&self, old: u64, new: u64) {
        for level in 1..=self.top {
            let Some((node, at)) = self.on(level) else { return };
            if node.hi(at) == FREE {
                // The last of the tree, whose end nobody keeps; nothing is behind it.
                return;
            }
            node.set_hi(at, new);
            if at + 1 < node.len() {
                break;
            }
        }
        let Some(next) = self.next_leaf() else { return };
        let Some((leaf, _)) = next.leaf() else { return };
        next.regap(leaf.lo(0) - old, leaf.lo(0) - new);
    }
}
