//! Walks over the entries in ascending and in descending order, for the writer and for who holds it off.

use core::ptr::NonNull;
use core::slice;

use super::node::Node;
use super::path::Path;
use super::root::Root;
use super::shim::{AtomicPtr, Ordering::Relaxed};

/// The values of entries, ascending.
#[derive(Clone)]
pub(super) struct Ascending<'t, const N: usize> {
    /// What is left in the leaf.
    values: slice::Iter<'t, AtomicPtr<()>>,
    leaf: Option<&'t Node<N>>,
    /// Entries that start here or above are left out.
    limit: u64,
}

impl<'t, const N: usize> Ascending<'t, N> {
    /// From the first entry that ends above `from` to the last that starts below `limit`.
    pub(super) fn new(root: &'t Root<N>, from: u64, limit: u64) -> Self {
        let place = root.leaf_at(from);
        let (leaf, at) = place.map_or((None, 0), |(leaf, at)| (Some(leaf), at));
        Self { values: values_of(leaf, at, limit), leaf, limit }
    }

    /// Goes to the next leaf; says whether there is more.
    #[inline(always)]
    fn go_on(&mut self) -> bool {
        self.leaf = self.leaf.and_then(Node::next);
        self.values = values_of(self.leaf, 0, self.limit);
        let is_more = !self.values.as_slice().is_empty();
        if !is_more {
            self.leaf = None;
        }
        is_more
    }
}

#[inline(always)]
fn values_of<const N: usize>(
    leaf: Option<&Node<N>>,
    from: usize,
    limit: u64,
) -> slice::Iter<'_, AtomicPtr<()>> {
    let Some(leaf) = leaf else { return [].iter() };
    let mut len = leaf.len();
    if leaf.lo(len.wrapping_sub(1)) >= limit {
        len = leaf.starting_below(limit);
    }
    leaf.values(from, len).iter()
}

impl<const N: usize> Iterator for Ascending<'_, N> {
    type Item = NonNull<()>;

    #[inline(always)]
    fn next(&mut self) -> Option<NonNull<()>> {
        loop {
            if let Some(value) = self.values.next() {
                return Some(value_of(value));
            }
            if !self.go_on() {
                return None;
            }
        }
    }

    #[inline(always)]
    fn fold<A, F: FnMut(A, NonNull<()>) -> A>(mut self, mut sum: A, mut add: F) -> A {
        loop {
            for value in core::mem::take(&mut self.values) {
                sum = add(sum, value_of(value));
            }
            if !self.go_on() {
                return sum;
            }
        }
    }
}

#[inline(always)]
fn value_of(word: &AtomicPtr<()>) -> NonNull<()> {
    // SAFETY: entries have values that are not null, and only those of entries are walked over.
    unsafe { NonNull::new_unchecked(word.load(Relaxed)) }
}

/// The values of entries, descending.
#[derive(Clone)]
pub(super) struct Descending<'t, const N: usize> {
    /// The entry before this place comes next.
    place: Path<'t, N>,
}

/// The value of the last entry that ends at or below `below`.
#[inline]
pub(super) fn last_before<const N: usize>(root: &Root<N>, below: u64) -> Option<NonNull<()>> {
    match root.leaf_at(below)? {
        (leaf, at) if at > 0 => NonNull::new(leaf.ptr(at - 1)),
        _ => Descending::new(root, below).next(),
    }
}

impl<'t, const N: usize> Descending<'t, N> {
    /// From the last entry that ends at or below `below` to the first of all.
    pub(super) fn new(root: &'t Root<N>, below: u64) -> Self {
        let mut place = Path::new();
        // In an empty tree it leads nowhere, and there is nothing to walk over.
        let _ = place.go(root, below);
        Self { place }
    }
}

impl<const N: usize> Iterator for Descending<'_, N> {
    type Item = NonNull<()>;

    fn next(&mut self) -> Option<NonNull<()>> {
        let (leaf, at) = self.place.leaf()?;
        if at > 0 {
            self.place.set(0, leaf, at - 1);
            return NonNull::new(leaf.ptr(at - 1));
        }
        // At the first entry of all it stays, as there is no leaf before.
        self.place.go_to_previous_leaf()?;
        let (leaf, at) = self.place.leaf()?;
        NonNull::new(leaf.ptr(at))
    }
}
