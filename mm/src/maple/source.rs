//! Where nodes come from, and where they go once readers are out of them.

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use super::FANOUT;
use super::node::Node;
use crate::error::AllocError;
use crate::gfp::Gfp;
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

/// Nodes from slab, of trees whose readers all hold the lock that holds the writer off.
#[derive(Clone, Copy, Default, Debug)]
pub struct Locked;

/// Nobody has one: such trees have no readers without a lock.
#[derive(Debug)]
pub enum NoGuard {}

static NODES: Cache<UnsafeCell<Node<FANOUT>>> = Cache::new("maple_node");

impl Nodes<FANOUT> for Locked {
    type Guard = NoGuard;

    #[inline]
    fn alloc(&self, gfp: Gfp) -> Result<NonNull<Node<FANOUT>>, AllocError> {
        let node: NonNull<Node<FANOUT>> = NODES.alloc_raw(gfp)?.cast();
        // SAFETY: a new object for a node.
        unsafe { node.write(Node::new()) };
        Ok(node)
    }

    unsafe fn free(&self, node: NonNull<Node<FANOUT>>) {
        // SAFETY: the caller vouches for it; a node has nothing to drop.
        unsafe { NODES.free_raw(node.cast()) }
    }

    unsafe fn retire(&self, node: NonNull<Node<FANOUT>>) {
        // SAFETY: nobody reads but under the lock, and the caller is the writer.
        unsafe { self.free(node) }
    }
}
