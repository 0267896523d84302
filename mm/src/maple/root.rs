//! The root: what readers without a lock start from, and the count that tells them whether what they read was whole.
//!
//! Models of `mm/tests/loom_maple.rs` are of this very source.

use core::ptr::{NonNull, null_mut};

use super::node::{FREE, Node, Slot};
use super::shim::{AtomicPtr, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, SeqCount};

/// A change was in the way: the caller looks again under the lock that holds the writer off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry;

/// What was found: a range of addresses, and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) value: NonNull<()>,
}

impl Found {
    /// What is in a slot of a leaf, if it ends above `addr`.
    #[inline(always)]
    fn above(slot: Slot, addr: u64) -> Option<Self> {
        if slot.hi > addr { Self::of(slot) } else { None }
    }

    /// What is in a slot of a leaf, if anything.
    #[inline(always)]
    pub(super) fn of(slot: Slot) -> Option<Self> {
        Some(Self { start: slot.lo, end: slot.hi, value: NonNull::new(slot.ptr)? })
    }
}

/// How often a reader looks before it leaves it to the lock. A change takes some hundred instructions.
const TRIES: usize = 3;

/// `addr`, or the address below it if it is the last: one that a search goes along a path of nodes for. No entry ends
/// above the last.
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
        // SAFETY: a node in the tree stays as long as nobody changes it; the writer lets go of the old one before it
        // puts another there.
        unsafe { self.top.load(Relaxed).as_ref() }
    }

    /// The node was filled before.
    pub(super) fn set_top(&self, top: *mut Node<N>) {
        self.top.store(top, Release);
    }

    /// The leaf of the first entry that ends above `addr`, and its slot, or the one behind the last; for the writer
    /// and for who holds it off.
    #[inline]
    pub(super) fn leaf_at(&self, addr: u64) -> Option<(&Node<N>, usize)> {
        let addr = below_free(addr);
        let mut node = self.top()?;
        for _ in 0..node.level() {
            node = node.child(node.search(addr))?;
        }
        Some((node, node.search_leaf(addr)))
    }

    /// The first entry that ends above `addr`, for the writer and for who holds it off.
    #[inline]
    pub(super) fn find_locked(&self, addr: u64) -> Option<Found> {
        let mut node = self.top()?;
        let mut level = node.level();
        loop {
            let at = node.search(addr);
            if level == 0 {
                return Found::above(node.get(at), addr);
            }
            node = node.child(at)?;
            level -= 1;
        }
    }

    /// The first entry that ends above `addr`, for readers without a lock.
    ///
    /// # Errors
    /// The writer is at work.
    ///
    /// # Safety
    /// Nodes that are taken out of the tree from now on are not freed before this returns.
    #[inline(always)]
    pub(super) unsafe fn find(&self, addr: u64) -> Result<Option<Found>, Retry> {
        let begun = self.count.try_begin().ok_or(Retry)?;
        // SAFETY: the caller vouches for the nodes.
        let Some(slot) = (unsafe { self.slot(addr) }) else {
            // SAFETY: as above.
            return unsafe { self.find_again(addr) };
        };
        if self.count.retry(begun) {
            // SAFETY: as above.
            return unsafe { self.find_again(addr) };
        }
        Ok(Found::above(slot, addr))
    }

    /// As [`Root::find`], once it was in vain.
    ///
    /// # Safety
    /// As for [`Root::find`].
    #[cold]
    #[inline(never)]
    unsafe fn find_again(&self, addr: u64) -> Result<Option<Found>, Retry> {
        for _ in 1..TRIES {
            let begun = self.count.try_begin().ok_or(Retry)?;
            // SAFETY: the caller vouches for the nodes.
            let slot = unsafe { self.slot(addr) };
            let is_empty = slot.is_none() && self.top.load(Relaxed).is_null();
            if self.count.retry(begun) {
                continue;
            }
            match slot {
                Some(slot) => return Ok(Found::above(slot, addr)),
                None if is_empty => return Ok(None),
                // The last address of all, which is in no entry.
                None => break,
            }
        }
        Err(Retry)
    }

    /// The slot of a leaf to look in, or a mixture of slots of nodes that were in the tree since the caller began;
    /// none in an empty tree.
    ///
    /// # Safety
    /// As for [`Root::find`].
    #[inline(always)]
    unsafe fn slot(&self, addr: u64) -> Option<Slot> {
        // SAFETY: null, or a node that was in the tree when the caller began, or later: it is not freed yet. Acquire
        // pairs with the writer's release after it filled the node: what is read is a state of it as a node of the
        // tree.
        let mut node = unsafe { self.top.load(Acquire).as_ref() }?;
        // A node is on one level for as long as it is in a tree, and so are those that it ever pointed to.
        let mut level = node.level();
        loop {
            let at = node.search(addr);
            if level == 0 {
                return Some(node.get_published(at));
            }
            // SAFETY: as above, by way of a node of the level above; slots that became empty have no pointer.
            node = unsafe { node.ptr_published(at).cast::<Node<N>>().as_ref() }?;
            level -= 1;
        }
    }
}
