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

/// The entries of the group, if all are leaves with A and D. With the table locked they stay so until they are stored to.
#[inline(always)]
pub(super) fn in_use(group: &[Slot<Pte>; GROUP]) -> Option<[Entry; GROUP]> {
    let entries = group.each_ref().map(Slot::get);
    let common = entries.iter().fold(u64::MAX, |common, entry| common & entry.bits());
    Entry::<Pte>::from_bits(common).has(Bits::V.union(Bits::A).union(Bits::D)).then_some(entries)
}

/// From the first to the last entry of a table that the hardware may still translate by: told to the gather once a table.
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
        assert_eq!(in_use(&group), Some([used; GROUP]));
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
                assert_eq!(in_use(&group), None, "{other:?}");
            }
            slot.set(used);
        }
    }
}
