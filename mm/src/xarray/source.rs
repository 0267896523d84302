//! Where nodes come from, and where they go once readers are out of them.

use core::mem::offset_of;
use core::ptr::NonNull;

use super::FANOUT;
use super::node::Node;
use super::pool::Pool;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::rcu::{self, Head};
use crate::slab::Cache;

/// Whoever makes and frees the nodes of an array.
pub trait Nodes<const N: usize>: Clone {
    /// While a reader without a lock holds one, no node is freed that it may find.
    type Guard;

    /// A node made by [`Node::new`].
    ///
    /// # Errors
    /// No memory.
    fn alloc(&self, gfp: Gfp) -> Result<NonNull<Node<N>>, AllocError>;

    /// Frees a node at once.
    ///
    /// # Safety
    /// It comes from [`Nodes::alloc`], and no reader ever knew it, or none is left.
    unsafe fn free(&self, node: NonNull<Node<N>>);

    /// Frees a node once no reader is in it.
    ///
    /// # Safety
    /// It comes from [`Nodes::alloc`]; readers who start from now on do not find it, and the caller does not touch it
    /// again.
    unsafe fn retire(&self, node: NonNull<Node<N>>);
}

/// Nodes from slab, freed after a grace period.
#[derive(Clone, Copy, Default, Debug)]
pub struct Slab;

static NODES: Cache<Node<FANOUT>> = Cache::new("radix_tree_node");

/// From a node to where it waits to be freed.
const HEAD: usize = offset_of!(Node<FANOUT>, retired);

const _: () =
    assert!(size_of::<Head>() == size_of::<[usize; 2]>() && align_of::<Head>() == align_of::<usize>());
// Seven of a page.
const _: () = assert!(size_of::<Node<FANOUT>>() <= 576);

impl Nodes<FANOUT> for Slab {
    type Guard = rcu::ReadGuard;

    #[inline]
    fn alloc(&self, gfp: Gfp) -> Result<NonNull<Node<FANOUT>>, AllocError> {
        // All zeroes is an empty node.
        NODES.alloc_raw(gfp | Gfp::ZERO)
    }

    unsafe fn free(&self, node: NonNull<Node<FANOUT>>) {
        // SAFETY: the caller vouches for it; a node has nothing to drop.
        unsafe { NODES.free_raw(node) }
    }

    unsafe fn retire(&self, node: NonNull<Node<FANOUT>>) {
        // SAFETY: within the node.
        let head = unsafe { node.byte_add(HEAD) }.cast::<Head>();
        // SAFETY: no new reader finds the node, and nobody else uses its head.
        unsafe { rcu::call(head, free_retired) }
    }
}

/// # Safety
/// `head` is that of a node which was retired, and no reader is in it any more.
unsafe fn free_retired(head: NonNull<Head>) {
    // SAFETY: it lies in a node of the cache.
    let node = unsafe { head.byte_sub(HEAD) }.cast::<Node<FANOUT>>();
    // SAFETY: the caller vouches for it; nothing is to drop.
    unsafe { NODES.free_raw(node) }
}

/// Nodes for a change, to be had before the array is locked. What is left over is freed with it.
#[derive(Debug)]
pub struct Spare<S: Nodes<N> = Slab, const N: usize = FANOUT> {
    pool: Pool<N>,
    source: S,
}

// SAFETY: it owns its nodes, which are atomics.
unsafe impl<S: Nodes<N> + Send, const N: usize> Send for Spare<S, N> {}

impl Spare {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { pool: Pool::new(), source: Slab }
    }
}

impl Default for Spare {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Nodes<N>, const N: usize> Spare<S, N> {
    /// The same, of nodes that come from `source`.
    pub const fn new_in(source: S) -> Self {
        Self { pool: Pool::new(), source }
    }

    /// Sees to it that there are `count` nodes. No lock is held that the allocator must not be called under.
    ///
    /// # Errors
    /// No memory; what there was stays.
    pub fn fill(&mut self, count: usize, gfp: Gfp) -> Result<(), AllocError> {
        while self.pool.len() < count {
            let node = self.source.alloc(gfp)?;
            // SAFETY: just made.
            unsafe { self.pool.put(node) };
        }
        Ok(())
    }

    pub(super) fn pool(&mut self) -> &mut Pool<N> {
        &mut self.pool
    }
}

impl<S: Nodes<N>, const N: usize> Drop for Spare<S, N> {
    #[inline]
    fn drop(&mut self) {
        while let Some(node) = self.pool.take() {
            // SAFETY: from the source, and in no array.
            unsafe { self.source.free(node) };
        }
    }
}
