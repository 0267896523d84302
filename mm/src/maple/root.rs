//! The root: what readers without a lock start from, and the count that tells them whether what they read was whole.
//!
//! Models of `mm/tests/loom_maple.rs` are of this very source.

use core::ptr::null_mut;

use super::node::{FREE, Node};
use super::shim::{AtomicPtr, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, SeqCount};

/// A change was in the way: the caller looks again under the lock that holds the writer off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry;

/// What was found: a range of addresses, and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) value: *mut (),
}

/// How often a reader looks before it leaves it to the lock. A change takes some hundred instructions.
const TRIES: usize = 3;

/// An address that the searches can look for. No entry ends above it that does not end above `addr`.
#[inline(always)]
pub(super) fn below_free(addr: u64) -> u64 {
    addr.min(FREE - 1)
}

/// Where a tree starts.
#[derive(Debug)]
pub(super) struct Root<const N: usize> {
    /// Odd while the writer is at work.
    pub(super) count: SeqCount,
    top: AtomicPtr<Node<N>>,
}

impl<const N: usize> Root<N> {
    /// Of an empty tree.
    pub(super) fn new() -> Self {
        Self { count: SeqCount::default(), top: AtomicPtr::new(null_mut()) }
    }

    /// The top node, for the writer and for who holds it off.
    #[inline(always)]
    pub(super) fn top(&self) -> Option<&Node<N>> {
        // SAFETY: a node in the tree stays as long as nobody changes it; the writer lets go of the old one before it puts
        // another there.
        unsafe { self.top.load(Relaxed).as_ref() }
    }

    /// The node was filled before.
    pub(super) fn set_top(&self, top: *mut Node<N>) {
        self.top.store(top, Release);
    }

    /// The first entry that ends above `addr`, for the writer and for who holds it off.
    #[inline]
    pub(super) fn find_locked(&self, addr: u64) -> Option<Found> {
        let addr = below_free(addr);
        let mut node = self.top()?;
        for _ in 0..node.level() {
            node = node.child(node.search(addr))?;
        }
        let slot = node.get(node.search(addr));
        (slot.hi > addr && slot.hi != FREE).then_some(Found { start: slot.lo, end: slot.hi, value: slot.ptr })
    }

    /// The first entry that ends above `addr`, for readers without a lock.
    ///
    /// # Errors
    /// The writer is at work.
    ///
    /// # Safety
    /// Nodes that are taken out of the tree from now on are not freed before this returns.
    #[inline]
    pub(super) unsafe fn find(&self, addr: u64) -> Result<Option<Found>, Retry> {
        let addr = below_free(addr);
        for _ in 0..TRIES {
            let begun = self.count.try_begin().ok_or(Retry)?;
            // SAFETY: the caller vouches for the nodes.
            let found = unsafe { self.descend(addr) };
            if !self.count.retry(begun) {
                return found;
            }
        }
        Err(Retry)
    }

    /// What [`Root::find`] returns if nothing has changed meanwhile; anything otherwise.
    ///
    /// # Safety
    /// As for [`Root::find`].
    #[inline(always)]
    unsafe fn descend(&self, addr: u64) -> Result<Option<Found>, Retry> {
        // SAFETY: null, or a node that was in the tree when the caller began, or later: it is not freed yet. Acquire pairs
        // with the writer's release after it filled the node: what is read is a state of it as a node of the tree.
        let Some(mut node) = (unsafe { self.top.load(Acquire).as_ref() }) else { return Ok(None) };
        // A node is in one level for as long as it is in a tree, and so are those that it ever pointed to.
        for _ in 0..node.level() {
            let child = node.ptr_published(node.search(addr)).cast::<Node<N>>();
            // SAFETY: as above, by way of a node of the level above; slots that became empty have no pointer.
            node = unsafe { child.as_ref() }.ok_or(Retry)?;
        }
        let at = node.search(addr);
        let (end, start) = (node.hi(at), node.lo(at));
        if end <= addr || end == FREE {
            return Ok(None);
        }
        Ok(Some(Found { start, end, value: node.ptr_published(at) }))
    }
}
