//! Intervals of page numbers, in order, and which of them overlap a range (Linux: `mm/interval_tree.c`).
//!
//! A balanced tree (AVL) by key, in which each node knows the greatest last number below it. The nodes are made by
//! whoever can fail, beforehand; nothing here allocates. What overlaps a range is found in ascending order of
//! the keys in O(log n + found) steps. The tree is as deep as 1.44 log2(n), and so is what recurses over it.

use core::ops::ControlFlow;

use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::slab::{Cache, KBox};

/// What a tree is of.
pub(crate) trait Interval {
    /// Tells two of a tree apart. Their order is that of [`Interval::first`], and something more where that is equal.
    type Key: Ord;

    /// See [`Interval::Key`].
    fn key(&self) -> Self::Key;
    /// The lowest number.
    fn first(&self) -> u64;
    /// The highest number, not below the lowest.
    fn last(&self) -> u64;
}

type Child<T> = Option<KBox<Node<T>>>;

/// An interval with what the tree needs.
pub(crate) struct Node<T> {
    item: T,
    /// The greatest last number here and below.
    max_last: u64,
    /// Of the tree that starts here; 1 without children.
    height: u8,
    low: Child<T>,
    high: Child<T>,
}

impl<T: Interval> Node<T> {
    /// A node for later.
    ///
    /// # Errors
    /// No memory; `item` is dropped.
    pub(crate) fn new(cache: &'static Cache<Self>, item: T, gfp: Gfp) -> Result<KBox<Self>, AllocError> {
        cache.alloc_with(gfp, || Self { item, max_last: 0, height: 1, low: None, high: None })
    }

    /// What is in it.
    pub(crate) fn item(&self) -> &T {
        &self.item
    }

    /// The same, to be changed, of a node that is in no tree.
    pub(crate) fn item_mut(&mut self) -> &mut T {
        &mut self.item
    }

    fn update(&mut self) {
        let max = |child: &Child<T>| child.as_ref().map_or(0, |node| node.max_last);
        self.height = 1 + height(&self.low).max(height(&self.high));
        self.max_last = self.item.last().max(max(&self.low)).max(max(&self.high));
    }
}

/// Nodes of one item for several trees, made by who can fail for who cannot.
pub(crate) struct Spares<T>(Child<T>);

impl<T: Interval + Clone> Spares<T> {
    /// `count` of them.
    ///
    /// # Errors
    /// No memory for all.
    pub(crate) fn new(cache: &'static Cache<Node<T>>, item: &T, count: usize) -> Result<Self, AllocError> {
        let mut spares = Self(None);
        for _ in 0..count {
            let mut node = Node::new(cache, item.clone(), Gfp::KERNEL)?;
            node.low = spares.0.take();
            spares.0 = Some(node);
        }
        Ok(spares)
    }
}

impl<T: Interval> Spares<T> {
    /// Puts one of them into `tree`.
    pub(crate) fn put_into(&mut self, tree: &mut IntervalTree<T>) {
        debug_assert!(self.0.is_some(), "too few were made");
        if let Some(mut node) = self.0.take() {
            self.0 = node.low.take();
            tree.insert(node);
        }
    }
}

impl<T> Drop for Spares<T> {
    /// One by one: a long list would be too deep a recursion.
    fn drop(&mut self) {
        while let Some(mut node) = self.0.take() {
            self.0 = node.low.take();
        }
    }
}

fn height<T>(child: &Child<T>) -> u8 {
    child.as_ref().map_or(0, |node| node.height)
}

/// The lower child comes up; the same node if there is none.
fn rotate_high<T: Interval>(mut node: KBox<Node<T>>) -> KBox<Node<T>> {
    let Some(mut up) = node.low.take() else { return node };
    node.low = up.high.take();
    node.update();
    up.high = Some(node);
    up.update();
    up
}

/// The upper child comes up; the same node if there is none.
fn rotate_low<T: Interval>(mut node: KBox<Node<T>>) -> KBox<Node<T>> {
    let Some(mut up) = node.high.take() else { return node };
    node.high = up.low.take();
    node.update();
    up.low = Some(node);
    up.update();
    up
}

/// After one of its children became higher or lower by one, or has another greatest number; says whether it is of
/// another height itself.
fn balance<T: Interval>(at: &mut Child<T>) -> bool {
    let Some(here) = at else { return false };
    let before = here.height;
    let (low, high) = (height(&here.low), height(&here.high));
    if low.abs_diff(high) <= 1 {
        here.update();
    } else if low > high {
        here.low = here.low.take().map(|low| match height(&low.low) < height(&low.high) {
            true => rotate_low(low),
            false => low,
        });
        *at = at.take().map(rotate_high);
    } else {
        here.high = here.high.take().map(|high| match height(&high.high) < height(&high.low) {
            true => rotate_high(high),
            false => high,
        });
        *at = at.take().map(rotate_low);
    }
    height(at) != before
}

/// Says whether the tree became higher.
fn insert<T: Interval>(at: &mut Child<T>, node: KBox<Node<T>>, key: &T::Key) -> bool {
    let Some(here) = at else {
        *at = Some(node);
        return true;
    };
    here.max_last = here.max_last.max(node.max_last);
    let grew = if *key < here.item.key() {
        insert(&mut here.low, node, key)
    } else {
        debug_assert!(*key != here.item.key(), "an interval is in the tree already");
        insert(&mut here.high, node, key)
    };
    grew && balance(at)
}

/// What was taken out, and whether the tree became lower.
fn remove<T: Interval>(at: &mut Child<T>, key: &T::Key) -> Option<(KBox<Node<T>>, bool)> {
    let here = at.as_mut()?;
    let below = match key.cmp(&here.item.key()) {
        core::cmp::Ordering::Less => &mut here.low,
        core::cmp::Ordering::Greater => &mut here.high,
        core::cmp::Ordering::Equal => return take(at),
    };
    let (removed, lower) = remove(below, key)?;
    let lower = (lower || removed.item.last() >= here.max_last) && balance(at);
    Some((removed, lower))
}

/// As [`remove`], of the very first node.
fn take<T: Interval>(at: &mut Child<T>) -> Option<(KBox<Node<T>>, bool)> {
    let mut removed = at.take()?;
    let low = removed.low.take();
    let Some(mut next) = take_first(&mut removed.high) else {
        *at = low;
        return Some((removed, true));
    };
    next.low = low;
    next.high = removed.high.take();
    next.height = removed.height;
    *at = Some(next);
    let lower = balance(at);
    Some((removed, lower))
}

/// Takes the node with the lowest key out.
fn take_first<T: Interval>(at: &mut Child<T>) -> Child<T> {
    let here = at.as_mut()?;
    if here.low.is_none() {
        let high = here.high.take();
        return core::mem::replace(at, high);
    }
    let first = take_first(&mut here.low);
    balance(at);
    first
}

fn set_last<T: Interval>(at: &mut Child<T>, key: &T::Key, change: impl FnOnce(&mut T)) -> bool {
    let Some(here) = at else { return false };
    let found = match key.cmp(&here.item.key()) {
        core::cmp::Ordering::Less => set_last(&mut here.low, key, change),
        core::cmp::Ordering::Greater => set_last(&mut here.high, key, change),
        core::cmp::Ordering::Equal => {
            change(&mut here.item);
            debug_assert!(*key == here.item.key(), "a key was changed in a tree");
            true
        }
    };
    here.update();
    found
}

/// The intervals. See the head of the room.
pub(crate) struct IntervalTree<T>(Child<T>);

impl<T> IntervalTree<T> {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl<T: Interval> IntervalTree<T> {
    /// Puts an interval in; none has its key.
    pub(crate) fn insert(&mut self, mut node: KBox<Node<T>>) {
        node.update();
        let key = node.item.key();
        insert(&mut self.0, node, &key);
    }

    /// Takes the interval with that key out.
    pub(crate) fn remove(&mut self, key: &T::Key) -> Option<KBox<Node<T>>> {
        remove(&mut self.0, key).map(|(node, _)| node)
    }

    /// Changes the last number, and nothing of the key, of the interval with that key; says whether there is one.
    pub(crate) fn set_last(&mut self, key: &T::Key, change: impl FnOnce(&mut T)) -> bool {
        set_last(&mut self.0, key, change)
    }

    /// The interval with that key.
    pub(crate) fn get(&self, key: &T::Key) -> Option<&T> {
        let mut at = self.0.as_ref();
        while let Some(node) = at {
            at = match key.cmp(&node.item.key()) {
                core::cmp::Ordering::Less => node.low.as_ref(),
                core::cmp::Ordering::Greater => node.high.as_ref(),
                core::cmp::Ordering::Equal => return Some(&node.item),
            };
        }
        None
    }

    /// Shows `visit` the intervals that have a number from `first` to `last`, in ascending order of their keys, until
    /// it breaks.
    pub(crate) fn overlaps(
        &self,
        first: u64,
        last: u64,
        mut visit: impl FnMut(&T) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        overlaps(&self.0, first, last, &mut visit)
    }

    /// Checks what must always hold; says how many there are.
    ///
    /// # Panics
    /// When it does not hold.
    pub(crate) fn validate(&self) -> usize {
        let (mut before, mut count) = (None, 0);
        validate(&self.0);
        let _ = self.overlaps(0, u64::MAX, |item| {
            let key = item.key();
            assert!(before.as_ref().is_none_or(|before| *before < key), "order of an interval tree");
            before = Some(key);
            count += 1;
            ControlFlow::Continue(())
        });
        count
    }
}

fn overlaps<T: Interval>(
    at: &Child<T>,
    first: u64,
    last: u64,
    visit: &mut impl FnMut(&T) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(node) = at.as_ref().filter(|node| node.max_last >= first) else {
        return ControlFlow::Continue(());
    };
    overlaps(&node.low, first, last, visit)?;
    if node.item.first() > last {
        return ControlFlow::Continue(());
    }
    if node.item.last() >= first {
        visit(&node.item)?;
    }
    overlaps(&node.high, first, last, visit)
}

fn validate<T: Interval>(at: &Child<T>) -> (u8, u64) {
    let Some(node) = at else { return (0, 0) };
    let (low, high) = (validate(&node.low), validate(&node.high));
    assert!(low.0.abs_diff(high.0) <= 1, "an interval tree is out of balance");
    assert_eq!(node.height, 1 + low.0.max(high.0), "height");
    assert!(node.item.first() <= node.item.last(), "an empty interval");
    assert_eq!(node.max_last, node.item.last().max(low.1).max(high.1), "the greatest last number");
    (node.height, node.max_last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostMachine;
    use std::vec::Vec;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Range(u64, u64, u64);

    impl Interval for Range {
        type Key = (u64, u64);

        fn key(&self) -> (u64, u64) {
            (self.0, self.2)
        }

        fn first(&self) -> u64 {
            self.0
        }

        fn last(&self) -> u64 {
            self.1
        }
    }

    static RANGES: Cache<Node<Range>> = Cache::new("test_range");

    fn node(range: Range) -> KBox<Node<Range>> {
        Node::new(&RANGES, range, Gfp::KERNEL).unwrap()
    }

    fn found(tree: &IntervalTree<Range>, first: u64, last: u64) -> Vec<Range> {
        let mut found = Vec::new();
        let _ = tree.overlaps(first, last, |range| {
            found.push(*range);
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn random_changes_agree_with_a_list() {
        let _machine = HostMachine::new(1 << 20, 1);
        let (seeds, steps) = if cfg!(miri) { (1, 200) } else { (8, 4000) };
        for seed in 1..=seeds {
            let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed) | 1;
            let mut below = |n: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) % n
            };
            let (mut tree, mut model) = (IntervalTree::new(), Vec::<Range>::new());
            // Long runs of one kind, so that the tree grows and shrinks.
            let mut grows = 70;
            for step in 0..steps {
                if step % 500 == 0 {
                    grows = 100 - grows;
                }
                if below(100) < grows && model.len() < 300 {
                    let first = below(200);
                    // Some reach to the very end of all numbers.
                    let last = if below(20) == 0 { u64::MAX } else { first + below(30) };
                    let range = Range(first, last, below(1 << 40));
                    tree.insert(node(range));
                    model.push(range);
                } else if !model.is_empty() {
                    let range = model.swap_remove(below(model.len() as u64) as usize);
                    assert_eq!(tree.get(&range.key()), Some(&range));
                    assert_eq!(tree.remove(&range.key()).map(|node| *node.item()), Some(range));
                    assert!(tree.get(&range.key()).is_none() && tree.remove(&range.key()).is_none());
                }
                if let Some(range) = model.last_mut() {
                    range.1 = range.0 + below(30);
                    assert!(tree.set_last(&range.key(), |item| item.1 = range.1));
                }
                if step % 16 == 0 {
                    assert_eq!(tree.validate(), model.len());
                }
                let first = below(240);
                let last = first + below(20);
                let mut expected: Vec<_> =
                    model.iter().filter(|range| range.0 <= last && first <= range.1).copied().collect();
                expected.sort_by_key(Range::key);
                assert_eq!(found(&tree, first, last), expected);
            }
            assert_eq!(tree.is_empty(), model.is_empty());
        }
    }

    #[test]
    fn whoever_has_seen_enough_sees_no_more() {
        let _machine = HostMachine::new(1 << 20, 1);
        let mut tree = IntervalTree::new();
        (0..10).for_each(|n| tree.insert(node(Range(n, n + 5, 0))));
        let mut seen = 0;
        let flow = tree.overlaps(4, 6, |_| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((flow, seen), (ControlFlow::Break(()), 3));
    }

    #[test]
    fn what_does_not_overlap_is_passed_over() {
        struct Counted<'a>(u64, &'a core::cell::Cell<u32>);
        impl Interval for Counted<'_> {
            type Key = u64;
            fn key(&self) -> u64 {
                self.0
            }
            fn first(&self) -> u64 {
                self.1.set(self.1.get() + 1);
                self.0
            }
            fn last(&self) -> u64 {
                self.0
            }
        }
        let looks = core::cell::Cell::new(0);
        let _machine = HostMachine::new(4 << 20, 1);
        let mut tree = IntervalTree::new();
        for n in 0..1024 {
            let item = Counted(n, &looks);
            let node = Node { item, max_last: 0, height: 1, low: None, high: None };
            tree.insert(KBox::new(node, Gfp::KERNEL).unwrap());
        }
        looks.set(0);
        let _ = tree.overlaps(500, 501, |_| ControlFlow::Continue(()));
        assert!(looks.get() <= 40, "{} looks", looks.get());
    }
}
