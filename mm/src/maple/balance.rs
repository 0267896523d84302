//! Full nodes are split before something is put in, thin ones merged or evened out after something was taken out.
//!
//! What holds between changes: the leaves are equally far from the top; a node above the leaves has two children at the
//! least, a leaf two entries but for the last leaf, which may have one.

use core::ptr::NonNull;

use arrayvec::ArrayVec;

use super::node::{FREE, Node, Slot};
use super::path::{MAX_LEVELS, Path};
use super::pool::Pool;
use super::raw::{Retire, publish};
use super::root::Root;

/// Nodes that one change took out: at the most one on each level, and the top.
pub(super) struct Doomed<const N: usize> {
    nodes: ArrayVec<NonNull<Node<N>>, { MAX_LEVELS + 1 }>,
}

impl<const N: usize> Doomed<N> {
    #[inline(always)]
    pub(super) const fn new() -> Self {
        Self { nodes: ArrayVec::new_const() }
    }

    pub(super) fn push(&mut self, node: &Node<N>) {
        let pushed = self.nodes.try_push(node.as_ptr());
        debug_assert!(pushed.is_ok(), "more nodes than levels");
    }

    /// After the change, and when nothing refers to them.
    #[inline(always)]
    pub(super) fn retire(&self, retire: &impl Retire<N>) {
        for &node in &self.nodes {
            // SAFETY: the change took it out of the tree, and whoever made it is done with it.
            unsafe { retire.retire(node) };
        }
    }
}

/// Makes room at the place on `level` by moving half of its node to a new one beside it, on the levels above first.
/// What goes behind all else (`is_last`) gets a node of its own instead: who adds in order fills the nodes.
///
/// The pool has as many nodes as [`Path::nodes_needed`] says.
pub(super) fn split<'t, const N: usize>(
    root: &Root<N>,
    pool: &mut Pool<N>,
    path: &mut Path<'t, N>,
    level: usize,
    is_last: bool,
) {
    if level == path.top() {
        grow(root, pool, path);
    } else if path.on(level + 1).is_some_and(|(parent, _)| parent.is_full()) {
        split(root, pool, path, level + 1, is_last);
    }
    let (Some((node, at)), Some((parent, index))) = (path.on(level), path.on(level + 1)) else { return };
    let Some(right) = new_node(pool, level) else { return };
    // Above the leaves one child goes with it, so that it has two.
    let middle = if is_last { N - usize::from(level > 0) } else { N / 2 };
    node.split_off(middle, right);
    if level == 0 {
        right.set_next(node.next_ptr());
    }
    publish();
    if level == 0 {
        node.set_next(right.as_ptr().as_ptr());
    }
    let end = node.hi(middle - 1);
    parent.set_lo(index, node.largest_gap(path.floor_below(level)));
    let slot = Slot { hi: parent.hi(index), lo: right.largest_gap(end), ptr: right.as_ptr().cast().as_ptr() };
    parent.insert(index + 1, slot);
    parent.set_hi(index, end);
    if at >= middle {
        path.set(level, right, at - middle);
        path.set(level + 1, parent, index + 1);
    }
}

/// A node of the pool, for a tree.
fn new_node<'t, const N: usize>(pool: &mut Pool<N>, level: usize) -> Option<&'t Node<N>> {
    let node = pool.take()?;
    // SAFETY: nodes of the pool are valid, and stay so in the tree that it is put in.
    let node = unsafe { node.as_ref() };
    node.set_level(level);
    Some(node)
}

/// Puts a level on top, with the old top as its one child.
fn grow<const N: usize>(root: &Root<N>, pool: &mut Pool<N>, path: &mut Path<'_, N>) {
    let Some((old, _)) = path.on(path.top()) else { return };
    let Some(new) = new_node(pool, path.top() + 1) else { return };
    new.insert(0, Slot { hi: FREE, lo: old.largest_gap(0), ptr: old.as_ptr().cast().as_ptr() });
    publish();
    root.set_top(new.as_ptr().as_ptr());
    path.push(new, 0);
}

/// Merges the thin node on `level` with the one beside it, or moves entries between the two, and does the same above if
/// the parent became thin by that.
pub(super) fn refill<const N: usize>(
    root: &Root<N>,
    path: &mut Path<'_, N>,
    level: usize,
    doomed: &mut Doomed<N>,
) {
    let Some((parent, at)) = path.on(level + 1) else { return };
    let at = at.saturating_sub(1);
    let (Some(left), Some(right)) = (parent.child(at), parent.child(at + 1)) else { return };
    let both = left.len() + right.len();
    if both > Node::<N>::MERGED {
        left.even_out(right, both / 2);
        let end = left.hi(both / 2 - 1);
        let floor = if at > 0 { parent.hi(at - 1) } else { path.floor_below(level + 1) };
        // The gaps are the same ones as before, so nothing changes further up.
        parent.set_hi(at, end);
        parent.set_lo(at, left.largest_gap(floor));
        parent.set_lo(at + 1, right.largest_gap(end));
        return;
    }
    left.append_all(right);
    if level == 0 {
        left.set_next(right.next_ptr());
    }
    let (gap, end) = (parent.lo(at).max(parent.lo(at + 1)), parent.hi(at + 1));
    parent.remove(at + 1, 1);
    parent.set_lo(at, gap);
    parent.set_hi(at, end);
    doomed.push(right);
    if level + 1 < path.top() {
        if parent.len() < Node::<N>::FEW {
            refill(root, path, level + 1, doomed);
        }
    } else if parent.len() == 1 {
        root.set_top(left.as_ptr().as_ptr());
        doomed.push(parent);
    }
}
