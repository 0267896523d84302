//! Which mappings may share anonymous pages.
//!
//! The pages that a mapping gets of its own are found again through the group that it joined at its
//! first such page. Two groups cannot be one mapping, so merging asks here (Linux: `mm/rmap.c`,
//! `anon_vma_prepare`, `is_mergeable_anon_vma`).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The group of mappings that a mapping's anonymous pages belong to. None until the first page.
///
/// Bit 63 marks a mapping that inherited pages over a fork: its chain has more links than one, and it
/// then merges with nothing that is in no group.
#[derive(Default, Debug)]
pub struct AnonId(AtomicU64);

const INHERITED: u64 = 1 << 63;

/// The next group's number. Never used twice: 2^63 do not run out.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl AnonId {
    /// In no group.
    pub const fn none() -> Self {
        Self(AtomicU64::new(0))
    }

    /// In a group of its own (Linux: `anon_vma_alloc`).
    fn fresh() -> u64 {
        NEXT.fetch_add(1, Relaxed)
    }

    /// Whether it is in a group.
    #[inline]
    pub fn is_some(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    /// What a folio's mapping word says of its pages: a multiple of 4.
    #[inline]
    pub(crate) fn word(&self) -> usize {
        (self.0.load(Relaxed) << 2) as usize
    }

    /// Joins a group, unless it is in one: that of `neighbour`, if given, or a new one. Several
    /// faults may do so at once: one wins.
    pub(crate) fn prepare(&self, neighbour: Option<&Self>) {
        let group = match neighbour.map(|n| n.0.load(Relaxed)) {
            Some(group) if group != 0 => group,
            _ => Self::fresh(),
        };
        // Whoever loses finds a group, which is all it wants.
        let _ = self.0.compare_exchange(0, group, Relaxed, Relaxed);
    }

    /// Whether a neighbour may reuse the group: only one that inherited nothing
    /// (Linux: `reusable_anon_vma`).
    pub(crate) fn is_reusable(&self) -> bool {
        let id = self.0.load(Relaxed);
        id != 0 && id & INHERITED == 0
    }

    /// The id of a part of the same mapping, or of a mapping made from it in the same space.
    pub(crate) fn same(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Relaxed)))
    }

    /// The id of a child's copy (Linux: `anon_vma_fork`).
    pub(crate) fn forked(&self) -> Self {
        if self.is_some() { Self(AtomicU64::new(Self::fresh() | INHERITED)) } else { Self::none() }
    }

    /// Whether a range with `other` may become part of the mapping with `self` (Linux:
    /// `is_mergeable_anon_vma`). As in 6.12, a mapping without pages does not take in one that has
    /// some.
    pub(crate) fn merges_with(&self, other: &Self) -> bool {
        let (stays, joins) = (self.0.load(Relaxed), other.0.load(Relaxed));
        stays == joins || (joins == 0 && stays & INHERITED == 0)
    }

    /// Whether two mappings that a third joins may be one.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        let (a, b) = (self.0.load(Relaxed), other.0.load(Relaxed));
        a == b || a == 0 || b == 0
    }

    /// Takes over the group of a mapping that is merged into this one, if this one has none.
    pub(crate) fn absorb(&self, other: &Self) {
        let _ = self.0.compare_exchange(0, other.0.load(Relaxed), Relaxed, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_merge_as_linux_lets_them() {
        let (a, b, none) = (AnonId::none(), AnonId::none(), AnonId::none());
        assert!(a.merges_with(&b));
        a.prepare(None);
        b.prepare(None);
        assert!(!a.merges_with(&b), "two groups");
        assert!(a.merges_with(&none) && !none.merges_with(&a) && none.agrees_with(&a));
        let next = AnonId::none();
        next.prepare(Some(&a));
        assert!(a.merges_with(&next), "a neighbour's group is reused");
    }

    #[test]
    fn what_a_child_inherited_merges_with_nothing_new() {
        let parent = AnonId::none();
        parent.prepare(None);
        let child = parent.forked();
        assert!(!child.merges_with(&AnonId::none()) && !child.merges_with(&parent));
        assert!(child.merges_with(&child.same()));
        assert!(!AnonId::none().forked().is_some());
    }
}
