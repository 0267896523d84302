//! The heap's end (Linux: `SYSCALL_DEFINE1(brk)`, `do_brk_flags`).

use super::account::Charge;
use super::limits::MAX_MAP_COUNT;
use super::{Layout, Limits, MmError, Space};
use crate::addr::{PAGE_SHIFT, VirtAddr, VirtRange};
use crate::rmap::AnonId;
use crate::vma::{Attributes, Backing, RemovedVmas, VmFlags};

/// What the heap is mapped with.
const HEAP: VmFlags = VmFlags::READ
    .union(VmFlags::WRITE)
    .union(VmFlags::MAYACCESS)
    .union(VmFlags::ACCOUNT)
    .union(VmFlags::SOFTDIRTY);

impl Space {
    /// Moves the end of the heap to `end`, if that can be; returns where it is now (the system call
    /// `brk`, which never fails otherwise).
    pub fn brk(&self, end: VirtAddr) -> VirtAddr {
        let mut removed = RemovedVmas::new();
        let Ok(mut layout) = self.layout.write_killable() else { return self.layout.read().brk };
        let old = layout.brk;
        let moved = self.move_brk(&mut layout, end, &mut removed);
        let (now, locked) = (layout.brk, layout.def_flags.contains(VmFlags::LOCKED));
        drop(layout);
        drop(removed);
        if moved.is_ok()
            && locked
            && let (Some(from), Some(to)) = (old.page_ceil(), now.page_ceil())
            && from < to
        {
            self.populate(VirtRange::new(from, to));
        }
        now
    }

    fn move_brk(&self, layout: &mut Layout, end: VirtAddr, removed: &mut RemovedVmas) -> Result<(), MmError> {
        if end < layout.start_brk || end > self.task_size() {
            return Err(MmError::Invalid);
        }
        let limits = self.limits();
        let data = layout.exec.end_data.get().saturating_sub(layout.exec.start_data.get());
        if (end - layout.start_brk).saturating_add(data) > limits.data {
            return Err(MmError::NoMemory);
        }
        let (Some(old_page), Some(new_page)) = (layout.brk.page_ceil(), end.page_ceil()) else {
            return Err(MmError::NoMemory);
        };
        if new_page < old_page {
            if !layout.vmas.any_in(VirtRange::new(new_page, old_page)) {
                return Err(MmError::Invalid);
            }
            self.munmap_locked(layout, new_page, old_page - new_page, removed)?;
        } else if new_page > old_page {
            self.grow_heap(layout, &limits, VirtRange::new(old_page, new_page))?;
        }
        layout.brk = end;
        Ok(())
    }

    fn grow_heap(&self, layout: &mut Layout, limits: &Limits, range: VirtRange) -> Result<(), MmError> {
        if range.end > self.task_size() {
            return Err(MmError::NoMemory);
        }
        // A page stays between the heap and what is above, and a stack's guard gap.
        if layout
            .vmas
            .find(range.start)
            .is_some_and(|next| range.end + (1 << PAGE_SHIFT) > next.start_with_gap())
        {
            return Err(MmError::NoMemory);
        }
        let flags = HEAP | layout.def_flags;
        if !layout.may_lock(limits, flags, range.pages()) {
            return Err(MmError::Again);
        }
        self.map_anonymous(layout, limits, range, flags)
    }

    /// Maps private memory where nothing is (Linux: `do_brk_flags`).
    pub(crate) fn map_anonymous(
        &self,
        layout: &mut Layout,
        limits: &Limits,
        range: VirtRange,
        flags: VmFlags,
    ) -> Result<(), MmError> {
        if !layout.may_expand(limits, flags, range.pages()) || layout.vmas.len() > MAX_MAP_COUNT {
            return Err(MmError::NoMemory);
        }
        let charge = Charge::new(range.pages())?;
        let pgoff = range.start.get() >> PAGE_SHIFT;
        let backing = Backing::Anonymous;
        layout.insert_new(&Attributes { range, flags, backing: &backing, pgoff, anon: AnonId::NONE })?;
        charge.keep();
        layout.count(flags, range.pages());
        if flags.contains(VmFlags::LOCKED) {
            layout.locked_vm += range.pages();
        }
        Ok(())
    }
}
