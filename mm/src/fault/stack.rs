//! A stack that grows (Linux: `expand_downwards`, `acct_stack_growth`).

use crate::addr::{PAGE_SHIFT, VirtAddr, VirtRange};
use crate::rmap::Place;
use crate::space::{Layout, Limits, MMAP_MIN_ADDR, MmError, STACK_GUARD_GAP, Space, account};
use crate::vma::{VmFlags, group_of_neighbour};

impl Space {
    /// Makes the stack above `addr` reach down to it. Takes `mmap_lock` for writing.
    ///
    /// # Errors
    /// No stack, too near to another mapping, a limit.
    pub(crate) fn grow_stack(&self, addr: VirtAddr) -> Result<(), MmError> {
        let limits = self.limits();
        self.layout.write().grow_stack(&limits, addr)
    }
}

impl Layout {
    /// Makes the mapping above `addr`, if it is a stack, reach down to it.
    pub(crate) fn grow_stack(&mut self, limits: &Limits, addr: VirtAddr) -> Result<(), MmError> {
        let addr = addr.page_floor();
        let Some(vma) = self.vmas.find(addr) else { return Err(MmError::Fault) };
        if vma.start() <= addr {
            // Somebody else was quicker.
            return Ok(());
        }
        let (flags, old) = (vma.flags(), vma.range());
        if !flags.contains(VmFlags::GROWSDOWN) {
            return Err(MmError::Fault);
        }
        if addr.get() < MMAP_MIN_ADDR {
            return Err(MmError::Permission);
        }
        if let Some(below) = self.vmas.before(addr)
            && !below.flags().contains(VmFlags::GROWSDOWN)
            && below.flags().intersects(VmFlags::ACCESS)
            && addr - below.end() < STACK_GUARD_GAP
        {
            return Err(MmError::NoMemory);
        }
        // As on Linux, which locks its group while it moves; so that the promise for it is kept from now on.
        if !vma.anon.is_some() {
            vma.anon.prepare(group_of_neighbour(vma, &self.vmas), &self.core, vma.place())?;
        }
        let pages = (old.start - addr) >> PAGE_SHIFT;
        if !self.may_expand(limits, flags, pages)
            || old.end - addr > limits.stack
            || !self.may_lock(limits, flags, pages)
        {
            return Err(MmError::NoMemory);
        }
        let pgoff = vma.pgoff().checked_sub(pages).ok_or(MmError::NoMemory)?;
        if flags.contains(VmFlags::ACCOUNT) {
            account::charge(pages)?;
        }
        self.resize_one(old.start, Place { range: VirtRange::new(addr, old.end), pgoff });
        self.count(flags, pages);
        if flags.contains(VmFlags::LOCKED) {
            self.locked_vm += pages;
        }
        Ok(())
    }
}
