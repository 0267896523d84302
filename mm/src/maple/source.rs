//! Where nodes come from, and where they go once readers are out of them.

use core::mem::offset_of;
use core::ptr::NonNull;

use super::FANOUT;
use super::node::Node;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::rcu::{self, Head};
use crate::slab::Cache;

/// Whoever makes and frees the nodes of a tree.
pub trait Nodes<const N: usize> {
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
    /// It comes from [`Nodes::alloc`], and no reader ever knew it.
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

static NODES: Cache<Node<FANOUT>> = Cache::new("maple_node");

/// From a node to where it waits to be freed.
const HEAD: usize = offset_of!(Node<FANOUT>, retired);

const _: () =
    assert!(size_of::<Head>() == size_of::<[usize; 2]>() && align_of::<Head>() == align_of::<usize>());

impl Nodes<FANOUT> for Slab {
    type Guard = rcu::ReadGuard;

    #[inline]
    fn alloc(&self, gfp: Gfp) -> Result<NonNull<Node<FANOUT>>, AllocError> {
        let node = NODES.alloc_raw(gfp)?;
        // SAFETY: a new object for a node.
        unsafe { Node::init(node) };
        Ok(node)
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
