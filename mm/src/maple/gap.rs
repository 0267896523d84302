//! The search for room: the highest or the lowest addresses that no entry has (Linux: `mas_empty_area_rev`,
//! `mas_empty_area`).
//!
//! Above the leaves only children are gone into that have a gap so large, so that each search goes up and down once.
//! For the writer and for who holds it off.

use super::path::Path;
use super::root::Root;

/// The highest `size` addresses within `low..high` that no entry has; where they start.
pub(super) fn highest<const N: usize>(root: &Root<N>, size: u64, low: u64, high: u64) -> Option<u64> {
    let last = high.checked_sub(size).filter(|last| *last >= low)?;
    let Some(mut path) = Path::to(root, last) else { return Some(last) };
    let (mut leaf, mut at) = path.leaf()?;
    if at == leaf.len() {
        // Everything ends below.
        return Some(last);
    }
    let fits = |floor: u64, ceiling: u64| {
        let (floor, ceiling) = (floor.max(low), ceiling.min(high));
        (floor <= ceiling && ceiling - floor >= size).then(|| ceiling - size)
    };
    // The gap before the first entry that is not below: it alone can reach over `high`.
    if let Some(found) = fits(path.floor(), leaf.lo(at)) {
        return Some(found);
    }
    if path.on(1).is_some_and(|(parent, child)| parent.lo(child) < size) {
        at = 0;
    }
    loop {
        // Gaps of this leaf further down. One so large that does not fit reaches over `low`.
        while at > 0 {
            at -= 1;
            let floor = if at > 0 { leaf.hi(at - 1) } else { path.floor_below(0) };
            if leaf.lo(at) - floor >= size {
                return fits(floor, leaf.lo(at));
            }
        }
        let (level, child) = (1..=path.top()).find_map(|level| {
            let (node, at) = path.on(level)?;
            (0..at).rev().find(|&child| node.lo(child) >= size).map(|child| (level, child))
        })?;
        let (node, _) = path.on(level)?;
        path.set(level, node, child);
        path.descend(level, |node| match node.level() {
            0 => node.len(),
            _ => (0..node.len()).rev().find(|&child| node.lo(child) >= size).unwrap_or(0),
        })?;
        (leaf, at) = path.leaf()?;
    }
}

/// The lowest `size` addresses within `low..high` that no entry has; where they start.
pub(super) fn lowest<const N: usize>(root: &Root<N>, size: u64, low: u64, high: u64) -> Option<u64> {
    let last = high.checked_sub(size).filter(|last| *last >= low)?;
    let below = |found: u64| (found <= last).then_some(found);
    let Some(mut path) = Path::to(root, low) else { return Some(low) };
    let (mut leaf, mut at) = path.leaf()?;
    if at == leaf.len() {
        return Some(low);
    }
    // The gap before the first entry that is not below: it alone can reach over `low`.
    let first = path.floor().max(low);
    if leaf.lo(at) >= first && leaf.lo(at) - first >= size {
        return below(first);
    }
    loop {
        let mut end = leaf.hi(at);
        at += 1;
        while at < leaf.len() {
            if leaf.lo(at) - end >= size {
                return below(end);
            }
            end = leaf.hi(at);
            at += 1;
        }
        let further = (1..=path.top()).find_map(|level| {
            let (node, at) = path.on(level)?;
            (at + 1..node.len()).find(|&child| node.lo(child) >= size).map(|child| (level, child))
        });
        let Some((level, child)) = further else {
            // Behind the last entry, which may be in another leaf.
            let mut path = path;
            let top = path.top();
            if top > 0 {
                let (node, _) = path.on(top)?;
                path.set(top, node, node.len() - 1);
                path.descend(top, |node| node.len() - 1)?;
            }
            let (leaf, _) = path.leaf()?;
            return below(leaf.hi(leaf.len() - 1));
        };
        let (node, _) = path.on(level)?;
        path.set(level, node, child);
        path.descend(level, |node| match node.level() {
            0 => 0,
            _ => (0..node.len()).find(|&child| node.lo(child) >= size).unwrap_or(0),
        })?;
        (leaf, at) = path.leaf()?;
        let floor = path.floor_below(0);
        if leaf.lo(0) - floor >= size {
            return below(floor);
        }
    }
}
