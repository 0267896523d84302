//! The search for room: the highest or the lowest addresses that no entry has (Linux: `mas_empty_area_rev`,
//! `mas_empty_area`).
//!
//! A search goes down to the place where its window ends, as long as there is a gap so large on the way, and from the
//! last node there to the nearest child that has one. Only at the window's ends may a gap be too small for what is
//! asked though it is large enough itself. For the writer and for who holds it off.

use core::ops::ControlFlow::{self, Break, Continue};

use super::node::{FREE, Node};
use super::root::Root;

/// What is looked for: `size` addresses within `low..high`.
struct Room {
    size: u64,
    low: u64,
    high: u64,
    /// The highest start.
    last: u64,
}

/// The end of a search, or that all of what was looked at is too small.
type Step = ControlFlow<Option<u64>>;

/// The highest `size` addresses within `low..high` that no entry has; where they start.
pub(super) fn highest<const N: usize>(root: &Root<N>, size: u64, low: u64, high: u64) -> Option<u64> {
    let room = Room::new(size, low, high)?;
    let Some(top) = root.top() else { return Some(room.last) };
    if last_end(top)? <= room.last {
        return Some(room.last);
    }
    match room.highest_in(top, 0) {
        Break(found) => found,
        Continue(()) => None,
    }
}

/// The lowest `size` addresses within `low..high` that no entry has; where they start.
pub(super) fn lowest<const N: usize>(root: &Root<N>, size: u64, low: u64, high: u64) -> Option<u64> {
    let room = Room::new(size, low, high)?;
    let Some(top) = root.top() else { return Some(low) };
    match room.lowest_in(top, 0) {
        Break(found) => found,
        Continue(()) => room.from(last_end(top)?.max(low)),
    }
}

/// Where the last entry below a node on the tree's right edge ends.
fn last_end<const N: usize>(mut node: &Node<N>) -> Option<u64> {
    for _ in 0..node.level() {
        node = node.child(node.len() - 1)?;
    }
    Some(node.hi(node.len() - 1))
}

/// Where the entry before slot `at` ends, if `floor` is where the one before the node does.
fn floor_of<const N: usize>(node: &Node<N>, at: usize, floor: u64) -> u64 {
    if at > 0 { node.hi(at - 1) } else { floor }
}

impl Room {
    fn new(size: u64, low: u64, high: u64) -> Option<Self> {
        let last = high.checked_sub(size).filter(|last| *last >= low && *last < FREE)?;
        Some(Self { size, low, high, last })
    }

    /// The highest room in a gap.
    fn within(&self, floor: u64, ceiling: u64) -> Option<u64> {
        let (floor, ceiling) = (floor.max(self.low), ceiling.min(self.high));
        (floor <= ceiling && ceiling - floor >= self.size).then(|| ceiling - self.size)
    }

    /// The room from here on, unless it is too high.
    fn from(&self, start: u64) -> Option<u64> {
        (start <= self.last).then_some(start)
    }

    /// Below a node in which entries are above the window, or reach into it from above; one ends at `floor` before it.
    fn highest_in<const N: usize>(&self, node: &Node<N>, floor: u64) -> Step {
        if node.level() == 0 {
            let at = node.search_leaf(self.last);
            if at < node.len()
                && let Some(found) = self.within(floor_of(node, at, floor), node.lo(at))
            {
                return Break(Some(found));
            }
            return self.highest_before(node, at, floor);
        }
        let at = node.search(self.last);
        if node.lo(at) >= self.size
            && let Some(child) = node.child(at)
        {
            self.highest_in(child, floor_of(node, at, floor))?;
        }
        self.highest_before(node, at, floor)
    }

    /// In slots before `end`, which are below the window's end. A gap so large that does not fit reaches over its
    /// start.
    fn highest_before<const N: usize>(&self, mut node: &Node<N>, mut end: usize, mut floor: u64) -> Step {
        for _ in 0..node.level() {
            let Some(at) = node.last_child_with_gap(end, self.size) else { return Continue(()) };
            let Some(child) = node.child(at) else { return Continue(()) };
            floor = floor_of(node, at, floor);
            (node, end) = (child, child.len());
        }
        if let Some(at) = node.last_after_gap(end, self.size) {
            return Break(self.within(node.hi(at - 1), node.lo(at)));
        }
        if end > 0 && node.lo(0) - floor >= self.size {
            return Break(self.within(floor, node.lo(0)));
        }
        Continue(())
    }

    /// Below a node in which entries are below the window, or reach into it from below; one ends at `floor` before it.
    fn lowest_in<const N: usize>(&self, node: &Node<N>, floor: u64) -> Step {
        if node.level() == 0 {
            let at = node.search_leaf(self.low);
            if at == node.len() {
                return Continue(());
            }
            let start = floor_of(node, at, floor).max(self.low);
            if start <= node.lo(at) && node.lo(at) - start >= self.size {
                return Break(self.from(start));
            }
            return match node.first_after_gap(at, self.size) {
                Some(at) => Break(self.from(node.hi(at - 1))),
                None => Continue(()),
            };
        }
        let mut at = node.search(self.low);
        if node.lo(at) >= self.size
            && let Some(child) = node.child(at)
        {
            self.lowest_in(child, floor_of(node, at, floor))?;
        }
        let (mut node, mut floor) = (node, floor);
        at += 1;
        for _ in 0..node.level() {
            let Some(next) = node.first_child_with_gap(at, self.size) else { return Continue(()) };
            let Some(child) = node.child(next) else { return Continue(()) };
            floor = floor_of(node, next, floor);
            (node, at) = (child, 0);
        }
        if node.lo(0) - floor >= self.size {
            return Break(self.from(floor));
        }
        match node.first_after_gap(0, self.size) {
            Some(at) => Break(self.from(node.hi(at - 1))),
            None => Continue(()),
        }
    }
}
