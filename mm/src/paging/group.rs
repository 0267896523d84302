//! Last-level entries four at a time, and what has to be fenced of a table.
//!
//! While a table is locked nobody but the hardware changes its entries, and the hardware only sets A and D in
//! leaves. Where both are set, nothing moves any more: a plain store loses nothing where others need an atomic
//! exchange. Most pages of a program are like that, so that one test does for four of them.

use super::entry::{Bits, Entry};
use super::gather::Gather;
use super::level::Pte;
use super::table::Slot;
use crate::addr::{PAGE_SIZE, VirtAddr};

/// Entries in a group.
pub(super) const GROUP: usize = 4;
/// The bytes that a group covers.
pub(super) const GROUP_BYTES: u64 = (GROUP * PAGE_SIZE) as u64;

/// What the entries of a group are together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Group {
    /// All are empty.
    Empty,
    /// All are leaves with A and D: with the table locked they stay so until they are stored to.
    InUse([Entry; GROUP]),
    /// To be looked at one by one.
    Mixed,
}

impl Group {
    /// Looks at a group whose table is locked.
    #[inline(always)]
    pub(super) fn of(group: &[Slot<Pte>; GROUP]) -> Self {
        let entries = group.each_ref().map(Slot::get_locked);
        let common = entries.iter().fold(u64::MAX, |common, entry| common & entry.bits());
        if Entry::<Pte>::from_bits(common).has(Bits::V.union(Bits::A).union(Bits::D)) {
            Self::InUse(entries)
        } else if entries.iter().fold(0, |any, entry| any | entry.bits()) == Entry::<Pte>::NONE.bits() {
            Self::Empty
        } else {
            Self::Mixed
        }
    }
}

/// From the first to the last entry of a table that the hardware may still translate by: told to the gather once a
/// table.
pub(super) struct Stale {
    first: VirtAddr,
    end: VirtAddr,
}

impl Stale {
    /// Nothing.
    pub(super) const NONE: Self = Self { first: VirtAddr::ZERO, end: VirtAddr::ZERO };

    /// The `bytes` at `addr`, which are above all that was added before; none if 0.
    #[inline(always)]
    pub(super) fn add(&mut self, addr: VirtAddr, bytes: u64) {
        if bytes == 0 {
            return;
        }
        if self.end == VirtAddr::ZERO {
            self.first = addr;
        }
        self.end = addr + bytes;
    }

    /// Leaves the fence to `gather`.
    #[inline(always)]
    pub(super) fn tell(self, gather: &mut Gather<'_>) {
        if self.end != VirtAddr::ZERO {
            gather.changed(self.first, self.end - self.first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Prot;
    use super::*;
    use crate::addr::Pfn;

    #[test]
    fn a_group_is_in_use_only_if_the_hardware_has_nothing_to_set_in_any() {
        let used = Entry::leaf(Pfn::new(5), Prot::USER_RW).dirty();
        let group: [Slot<Pte>; GROUP] = core::array::from_fn(|_| Slot::new(used));
        assert_eq!(Group::of(&group), Group::InUse([used; GROUP]));
        let others = [
            Entry::NONE,
            used.without(Bits::A),
            used.without(Bits::D),
            used.with_prot(Prot::NONE),
            used.without(Bits::V),
        ];
        for slot in &group {
            for other in others {
                slot.set(other);
                assert_eq!(Group::of(&group), Group::Mixed, "{other:?}");
            }
            slot.set(used);
        }
        group.iter().for_each(|slot| slot.set(Entry::NONE));
        assert_eq!(Group::of(&group), Group::Empty);
    }
}
