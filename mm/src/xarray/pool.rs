//! Nodes that nobody uses yet: what was reserved before the lock was taken, so that a change cannot fail half-way.

use core::ptr::{NonNull, null_mut};

use super::node::Node;

/// A list of empty nodes.
#[derive(Debug)]
pub(super) struct Pool<const N: usize> {
    first: *mut Node<N>,
    len: usize,
}

impl<const N: usize> Pool<N> {
    pub(super) const fn new() -> Self {
        Self { first: null_mut(), len: 0 }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a node.
    ///
    /// # Safety
    /// It is valid and empty, and nobody else knows it.
    pub(super) unsafe fn put(&mut self, node: NonNull<Node<N>>) {
        // SAFETY: the caller vouches for the node.
        unsafe { node.as_ref() }.set_next(self.first);
        self.first = node.as_ptr();
        self.len += 1;
    }

    /// Takes a node out, to be put in a tree, which then owns it, or to be freed.
    pub(super) fn take(&mut self) -> Option<NonNull<Node<N>>> {
        let node = NonNull::new(self.first)?;
        // SAFETY: nodes of the list are valid, and its own.
        let found = unsafe { node.as_ref() };
        self.first = found.next();
        found.set_next(null_mut());
        self.len -= 1;
        Some(node)
    }
}
