//! When two neighbours are one mapping (Linux: `is_mergeable_vma`, `can_vma_merge_left`,
//! `can_vma_merge_right`), and whose group of anonymous pages a mapping joins
//! (`find_mergeable_anon_vma`).

use crate::addr::VirtRange;
use crate::rmap::{AnonChain, AnonId, Place};
use crate::vma::{Backing, VmFlags, Vma, VmaTree};

/// What a range is to be: compared with its neighbours before it gets a mapping of its own.
pub(crate) struct Attributes<'a> {
    pub(crate) range: VirtRange,
    pub(crate) flags: VmFlags,
    pub(crate) backing: &'a Backing,
    pub(crate) pgoff: u64,
    pub(crate) anon: AnonId,
}

/// Which neighbours a range becomes one with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Merge {
    pub(crate) left: bool,
    pub(crate) right: bool,
}

impl Attributes<'_> {
    /// Which pages it shows, and where.
    pub(crate) fn place(&self) -> Place {
        Place { range: self.range, pgoff: self.pgoff }
    }

    fn same_kind(&self, neighbour: &Vma) -> bool {
        (self.flags ^ neighbour.flags()).difference(VmFlags::SOFTDIRTY).is_empty()
            && self.backing.same(neighbour.backing())
    }

    fn merges_left(&self, prev: &Vma) -> bool {
        prev.end() == self.range.start
            && self.same_kind(prev)
            && prev.pgoff().wrapping_add(prev.pages()) == self.pgoff
            && prev.anon.merges_with(self.anon)
    }

    fn merges_right(&self, next: &Vma) -> bool {
        next.start() == self.range.end
            && self.same_kind(next)
            && self.pgoff.wrapping_add(self.range.pages()) == next.pgoff()
            && next.anon.merges_with(self.anon)
    }

    /// Which of the mappings around the range it becomes one with.
    pub(crate) fn merge(&self, tree: &VmaTree) -> Merge {
        if self.flags.intersects(VmFlags::SPECIAL) {
            return Merge { left: false, right: false };
        }
        let prev = tree.before(self.range.start).filter(|prev| self.merges_left(prev));
        let next = tree.find(self.range.end).filter(|next| self.merges_right(next));
        let right = match (prev, next) {
            (Some(prev), Some(next)) => prev.anon.agrees_with(&next.anon),
            (None, Some(_)) => true,
            _ => false,
        };
        Merge { left: prev.is_some(), right }
    }
}

/// The neighbour whose group the first anonymous page of `vma` joins, so that both may be merged
/// later: one that differs in its rights alone.
pub(crate) fn group_of_neighbour<'a>(vma: &Vma, tree: &'a VmaTree) -> Option<&'a AnonChain> {
    let alike = |low: &Vma, high: &Vma| {
        low.end() == high.start()
            && low.backing().same(high.backing())
            && (low.flags() ^ high.flags()).difference(VmFlags::ACCESS | VmFlags::SOFTDIRTY).is_empty()
            && low.pgoff().wrapping_add(low.pages()) == high.pgoff()
    };
    let next = tree.find(vma.end()).filter(|next| alike(vma, next) && next.anon.is_reusable());
    let found =
        next.or_else(|| tree.before(vma.start()).filter(|prev| alike(prev, vma) && prev.anon.is_reusable()));
    found.map(|neighbour| &neighbour.anon)
}
