//! `munmap` (Linux: `do_vmi_align_munmap`, `unmap_region`).

use super::{Layout, MmError, Space, account};
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::paging::Gather;
use crate::rmap::{Place, Which, ZapPages};
use crate::vma::{RemovedVmas, VmFlags};

impl Space {
    /// Takes all mappings out of `len` bytes from `addr` on (`munmap(2)`).
    ///
    /// # Errors
    /// As the manual page says.
    pub fn munmap(&self, addr: VirtAddr, len: u64) -> Result<(), MmError> {
        let mut removed = RemovedVmas::new();
        let mut layout = self.layout.write_killable()?;
        let done = self.munmap_locked(&mut layout, addr, len, &mut removed);
        drop(layout);
        drop(removed);
        done
    }

    /// As [`Space::munmap`], with `mmap_lock` held. What is in `removed` is to be dropped without it.
    pub(crate) fn munmap_locked(
        &self,
        layout: &mut Layout,
        addr: VirtAddr,
        len: u64,
        removed: &mut RemovedVmas,
    ) -> Result<(), MmError> {
        let range = self.checked_range(addr, len)?;
        if range.is_empty() {
            return Err(MmError::Invalid);
        }
        if !layout.vmas.any_in(range) {
            return Ok(());
        }
        if self.cut_off(layout, range) {
            return Ok(());
        }
        layout.split_at(range.start)?;
        layout.split_at(range.end)?;
        self.unmap_range(layout, range, removed);
        Ok(())
    }

    /// Takes `range` out where it is the lower or the upper part of one mapping, which then is as long as the rest:
    /// no mapping is made to be thrown away. Says whether it is.
    fn cut_off(&self, layout: &mut Layout, range: VirtRange) -> bool {
        // It changes in any case.
        let Some(vma) = layout.vmas.lock(range.start) else { return false };
        let (whole, flags) = (vma.range(), vma.flags());
        let rest = if range.start == whole.start && range.end < whole.end {
            Place { range: VirtRange::new(range.end, whole.end), pgoff: vma.page_index(range.end) }
        } else if whole.start < range.start && range.end == whole.end {
            Place { range: VirtRange::new(whole.start, range.start), pgoff: vma.pgoff() }
        } else {
            return false;
        };
        let core = &self.core;
        debug_assert!(layout.vmas.is_locked_in(range));
        let mut gather = Gather::new(&core.tables);
        core.tables.zap_range(range, &mut gather, ZapPages::new(core, Which::All).of(flags));
        layout.resize_one(whole.start, rest);
        layout.uncount(flags, range.pages());
        if flags.contains(VmFlags::LOCKED) {
            layout.locked_vm -= range.pages();
        }
        let (floor, ceiling) = layout.surroundings(range);
        core.tables.free_tables(range, floor, ceiling, &mut gather);
        gather.finish();
        if flags.contains(VmFlags::ACCOUNT) {
            account::uncharge(range.pages());
        }
        true
    }

    /// `len` bytes from `addr` on, rounded up to pages; both within what can be mapped.
    ///
    /// # Errors
    /// `Invalid`: not at a page, or too far up.
    pub(crate) fn checked_range(&self, addr: VirtAddr, len: u64) -> Result<VirtRange, MmError> {
        let end = self.task_size().get();
        if !addr.is_page_aligned() || addr.get() > end || len > end - addr.get() {
            return Err(MmError::Invalid);
        }
        let len = len.checked_next_multiple_of(PAGE_SIZE as u64).ok_or(MmError::Invalid)?;
        VirtRange::from_len(addr, len).ok_or(MmError::Invalid)
    }

    /// Takes everything out of `range`, at whose borders mappings start and end. Cannot fail.
    pub(crate) fn unmap_range(&self, layout: &mut Layout, range: VirtRange, removed: &mut RemovedVmas) {
        let core = &self.core;
        let mut gather = Gather::new(&core.tables);
        let mut committed = 0;
        {
            let mut zap = ZapPages::new(core, Which::All);
            // No fault puts a page in from here on, or finds a table that is freed below.
            for vma in layout.vmas.detach_in(range) {
                core.tables.zap_range(vma.range(), &mut gather, zap.of(vma.flags()));
                if vma.flags().contains(VmFlags::ACCOUNT) {
                    committed += vma.pages();
                }
            }
        }
        layout.remove_range(range, removed);
        let (floor, ceiling) = layout.surroundings(range);
        core.tables.free_tables(range, floor, ceiling, &mut gather);
        gather.finish();
        account::uncharge(committed);
    }
}
