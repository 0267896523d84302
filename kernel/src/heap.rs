//! A pairing heap of nodes that live in what they order: timers by deadline, threads by run time.
//!
//! Insert is O(1), taking out O(log n) amortised, and nothing is allocated. Of equal keys the older
//! comes first. Fredman, Sedgewick, Sleator, Tarjan: "The pairing heap", 1986.

use core::ptr::null_mut;

/// A place in a [`Heap`].
#[derive(Debug)]
pub struct Node {
    key: u64,
    child: *mut Node,
    next: *mut Node,
    /// The left sibling, or the parent for the first child; null for the root.
    prev: *mut Node,
    queued: bool,
}

impl Node {
    /// In no heap.
    pub const fn new() -> Self {
        Self { key: 0, child: null_mut(), next: null_mut(), prev: null_mut(), queued: false }
    }

    /// What it was last inserted with.
    pub const fn key(&self) -> u64 {
        self.key
    }

    /// Whether it is in a heap.
    pub const fn is_queued(&self) -> bool {
        self.queued
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

/// The heap. Its user vouches that a node stays where it is, and alive, while it is queued.
#[derive(Debug)]
pub struct Heap {
    root: *mut Node,
}

// SAFETY: the heap owns the links of its nodes; who calls its methods has it alone.
unsafe impl Send for Heap {}

impl Heap {
    /// An empty heap.
    pub const fn new() -> Self {
        Self { root: null_mut() }
    }

    /// The node with the smallest key, or null.
    pub const fn first(&self) -> *mut Node {
        self.root
    }

    /// The smallest key.
    pub fn first_key(&self) -> Option<u64> {
        // SAFETY: a queued node is alive.
        (!self.root.is_null()).then(|| unsafe { (*self.root).key })
    }

    /// Inserts `node`.
    ///
    /// # Safety
    /// `node` is in no heap, stays where it is and alive until it is taken out, and nobody else
    /// touches its links.
    pub unsafe fn insert(&mut self, node: *mut Node, key: u64) {
        // SAFETY: the caller vouches for `node`; the root is alive, as it is queued.
        unsafe {
            *node = Node { key, queued: true, ..Node::new() };
            self.root = meld(self.root, node);
        }
    }

    /// Takes `node` out.
    ///
    /// # Safety
    /// `node` is in this heap.
    pub unsafe fn remove(&mut self, node: *mut Node) {
        // SAFETY: all nodes that the links of a queued node reach are queued, so alive, and ours.
        unsafe {
            let rest = merge_pairs((*node).child);
            if node == self.root {
                self.root = rest;
            } else {
                let (prev, next) = ((*node).prev, (*node).next);
                if (*prev).child == node {
                    (*prev).child = next;
                } else {
                    (*prev).next = next;
                }
                if !next.is_null() {
                    (*next).prev = prev;
                }
                self.root = meld(self.root, rest);
            }
            *node = Node { key: (*node).key, ..Node::new() };
        }
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes one tree of two roots, either of which may be null; `a` stays on top if the keys are equal.
///
/// # Safety
/// Both are roots of trees of live nodes that nobody else touches.
unsafe fn meld(a: *mut Node, b: *mut Node) -> *mut Node {
    if a.is_null() {
        return b;
    }
    if b.is_null() {
        return a;
    }
    // SAFETY: the caller vouches for both.
    unsafe {
        let (top, below) = if (*b).key < (*a).key { (b, a) } else { (a, b) };
        (*below).next = (*top).child;
        (*below).prev = top;
        if !(*top).child.is_null() {
            (*(*top).child).prev = below;
        }
        (*top).child = below;
        (*top).next = null_mut();
        (*top).prev = null_mut();
        top
    }
}

/// Makes one tree of a list of siblings: pairs from the left, then all pairs from the right.
///
/// # Safety
/// As for [`meld`], for each of the list.
unsafe fn merge_pairs(mut first: *mut Node) -> *mut Node {
    let mut pairs: *mut Node = null_mut();
    // SAFETY: the caller vouches for the list.
    unsafe {
        while !first.is_null() {
            let a = first;
            let b = (*a).next;
            let next = if b.is_null() { null_mut() } else { (*b).next };
            (*a).next = null_mut();
            (*a).prev = null_mut();
            if !b.is_null() {
                (*b).next = null_mut();
                (*b).prev = null_mut();
            }
            let pair = meld(a, b);
            (*pair).next = pairs;
            pairs = pair;
            first = next;
        }
        let mut root = null_mut();
        while !pairs.is_null() {
            let next = (*pairs).next;
            (*pairs).next = null_mut();
            root = meld(pairs, root);
            pairs = next;
        }
        root
    }
}
