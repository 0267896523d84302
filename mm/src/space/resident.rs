//! What of a mapping is in memory, and how (Linux: `smap_gather_stats`, `smaps_account`).

use core::ops::{AddAssign, ControlFlow};

use super::{MmError, Space, VmaInfo};
use crate::addr::VirtAddr;
use crate::page::{PageFlags, pfn_to_page};
use crate::paging::{Kind, Level, Slot, Visit};
use crate::rmap::PageKind;
use crate::vma::VmFlags;

/// Binary places of [`Share`]'s fraction (Linux: `PSS_SHIFT`).
const SHARE_SHIFT: u32 = 12;

/// Bytes of pages, each divided by how often it is mapped.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Share(u64);

impl Share {
    /// In whole bytes.
    pub const fn bytes(self) -> u64 {
        self.0 >> SHARE_SHIFT
    }
}

impl AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

/// Pages of one mapping or of several, in bytes: those with a descriptor that counts, so neither the zero page nor
/// the kernel's own.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Resident {
    /// All.
    pub all: u64,
    /// Each divided by how often it is mapped, by kind: file, anonymous, shared memory.
    pub share: [Share; 3],
    /// Of these, those that were written.
    pub share_dirty: Share,
    /// Of these, those in locked mappings.
    pub share_locked: Share,
    /// Mapped more than once, not written.
    pub shared_clean: u64,
    /// Mapped more than once, and written.
    pub shared_dirty: u64,
    /// Mapped here alone, not written.
    pub private_clean: u64,
    /// Mapped here alone, and written.
    pub private_dirty: u64,
    /// Used of late.
    pub referenced: u64,
    /// Private to processes.
    pub anonymous: u64,
}

impl Resident {
    /// Each page divided by how often it is mapped, all kinds.
    pub fn share_of_all(&self) -> Share {
        Share(self.share.iter().map(|share| share.0).sum())
    }
}

impl AddAssign<&Self> for Resident {
    fn add_assign(&mut self, other: &Self) {
        self.all += other.all;
        for (share, more) in self.share.iter_mut().zip(other.share) {
            *share += more;
        }
        self.share_dirty += other.share_dirty;
        self.share_locked += other.share_locked;
        self.shared_clean += other.shared_clean;
        self.shared_dirty += other.shared_dirty;
        self.private_clean += other.private_clean;
        self.private_dirty += other.private_dirty;
        self.referenced += other.referenced;
        self.anonymous += other.anonymous;
    }
}

/// Counts the pages of a mapping.
struct Count {
    locked: bool,
    found: Resident,
}

impl Visit for Count {
    fn entry<L: Level>(&mut self, _addr: VirtAddr, slot: &Slot<L>) -> ControlFlow<()> {
        let entry = slot.get();
        let (Kind::Leaf(pfn) | Kind::ProtNone(pfn)) = entry.kind() else { return ControlFlow::Continue(()) };
        if entry.is_special() {
            return ControlFlow::Continue(());
        }
        let page = pfn_to_page(pfn);
        let folio = page.folio();
        let (bytes, maps) = (L::BYTES, u64::from(folio.mapcount().max(1)));
        let (shared, dirty) = (maps > 1, entry.is_dirty() || folio.has(PageFlags::DIRTY));
        let share = Share((bytes << SHARE_SHIFT) / maps);
        let found = &mut self.found;
        found.all += bytes;
        found.share[PageKind::of(folio) as usize] += share;
        if self.locked {
            found.share_locked += share;
        }
        if dirty {
            found.share_dirty += share;
        }
        *match (shared, dirty) {
            (true, false) => &mut found.shared_clean,
            (true, true) => &mut found.shared_dirty,
            (false, false) => &mut found.private_clean,
            (false, true) => &mut found.private_dirty,
        } += bytes;
        if entry.is_young() || folio.has(PageFlags::REFERENCED) {
            found.referenced += bytes;
        }
        if folio.is_anon() {
            found.anonymous += bytes;
        }
        ControlFlow::Continue(())
    }
}

impl Space {
    /// As [`Space::for_each_vma`], with what of each mapping is in memory.
    ///
    /// # Errors
    /// As [`Space::for_each_vma`].
    pub fn for_each_resident(
        &self,
        from: VirtAddr,
        each: &mut dyn FnMut(&VmaInfo<'_>, &Resident) -> ControlFlow<()>,
    ) -> Result<(), MmError> {
        self.for_each_vma(from, &mut |vma| {
            let locked = vma.flags.contains(VmFlags::LOCKED);
            let mut count = Count { locked, found: Resident::default() };
            let _ = self.core.tables.visit_range(vma.range, &mut count);
            each(vma, &count.found)
        })
    }
}
