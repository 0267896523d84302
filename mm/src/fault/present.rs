//! A fault on an entry that maps a page: it was served meanwhile, or A or D has to be set (Svade), or
//! a store meets a page that may not be written yet (Linux: the end of `handle_pte_fault`).

use super::{Access, Fault, Step, step};
use crate::paging::{Bits, Entry};
use crate::vma::VmFlags;

impl Fault<'_> {
    pub(super) fn present(&self, seen: Entry) -> Step {
        if seen.is_prot_none() {
            if self.vma.flags().intersects(VmFlags::READ | VmFlags::WRITE | VmFlags::EXEC) {
                return self.restore_rights();
            }
            // The mapping allows nothing: it is the kernel that comes, and overrides the rights.
            return if self.access == Access::Write { self.write_protected(seen) } else { Step::Done };
        }
        if self.access == Access::Write && !seen.is_writable() {
            return self.write_protected(seen);
        }
        let guard = step!(self.lock_table());
        let entry = guard.get();
        if !same_page(entry, seen) || self.access == Access::Write && !entry.is_writable() {
            return Step::Again;
        }
        guard.slot().insert(self.used());
        drop(guard);
        self.core.tables.fence_spurious(self.addr);
        Step::Done
    }

    /// A page that nobody may touch in a mapping that allows it: its rights come back.
    fn restore_rights(&self) -> Step {
        let guard = step!(self.lock_table());
        let entry = guard.get();
        if entry.is_prot_none() {
            guard.set(entry.with_prot(self.vma.flags().page_prot().read_only()).with(Bits::A));
        }
        drop(guard);
        self.core.tables.fence_spurious(self.addr);
        self.fence_if_executable();
        if self.access == Access::Write { Step::Again } else { Step::Done }
    }
}

/// Whether both map the same page with the same rights: A and D may differ.
pub(super) fn same_page(a: Entry, b: Entry) -> bool {
    a.with(Bits::A | Bits::D) == b.with(Bits::A | Bits::D)
}
