//! `mlock` and its family (Linux: `mm/mlock.c`).

use core::ops::ControlFlow;

use linux_raw_sys::general as abi;

use super::{Layout, MmError, Space};
use crate::addr::{PAGE_SHIFT, VirtAddr, VirtRange};
use crate::lru;
use crate::page::{Folio, pfn_to_page};
use crate::paging::{Kind, Level, Slot, Visit};
use crate::rmap::SpaceCore;
use crate::vma::{VmFlags, Vma};

/// `MCL_CURRENT`, `MCL_FUTURE`, `MCL_ONFAULT` of asm-generic.
const MCL_CURRENT: u32 = 1;
const MCL_FUTURE: u32 = 2;
const MCL_ONFAULT: u32 = 4;

impl Space {
    /// Keeps `len` bytes from `addr` on in memory; `flags` is 0 or `MLOCK_ONFAULT` (`mlock2(2)`).
    ///
    /// # Errors
    /// As the manual page says.
    pub fn mlock(&self, addr: VirtAddr, len: u64, flags: u32) -> Result<(), MmError> {
        if flags & !abi::MLOCK_ONFAULT != 0 {
            return Err(MmError::Invalid);
        }
        let limits = self.limits();
        if !limits.can_lock() {
            return Err(MmError::Permission);
        }
        let range = pages_around(addr, len)?;
        let wanted = lock_flags(flags & abi::MLOCK_ONFAULT != 0);
        {
            let mut layout = self.layout.write_killable()?;
            let limit = limits.memlock >> PAGE_SHIFT;
            let mut locked = layout.locked_vm.saturating_add(range.pages());
            if locked > limit && !limits.may_lock {
                locked -= layout.locked_pages(range);
            }
            if locked > limit && !limits.may_lock {
                return Err(MmError::NoMemory);
            }
            layout.set_locked(range, wanted)?;
        }
        self.try_populate(range).map_err(|error| match error {
            MmError::Fault | MmError::Io => MmError::NoMemory,
            MmError::NoMemory => MmError::Again,
            other => other,
        })
    }

    /// Takes [`Space::mlock`] back.
    ///
    /// # Errors
    /// As the manual page says.
    pub fn munlock(&self, addr: VirtAddr, len: u64) -> Result<(), MmError> {
        let range = pages_around(addr, len)?;
        let mut layout = self.layout.write_killable()?;
        layout.set_locked(range, VmFlags::empty())
    }

    /// Keeps everything in memory; `flags` is `MCL_*` (`mlockall(2)`).
    ///
    /// # Errors
    /// As the manual page says.
    pub fn mlockall(&self, flags: u32) -> Result<(), MmError> {
        if flags == 0 || flags & !(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0 || flags == MCL_ONFAULT {
            return Err(MmError::Invalid);
        }
        let limits = self.limits();
        if !limits.can_lock() {
            return Err(MmError::Permission);
        }
        let wanted = lock_flags(flags & MCL_ONFAULT != 0);
        {
            let mut layout = self.layout.write_killable()?;
            let all = layout.total_vm <= limits.memlock >> PAGE_SHIFT || limits.may_lock;
            if flags & MCL_CURRENT != 0 && !all {
                return Err(MmError::NoMemory);
            }
            layout.def_flags -= VmFlags::LOCKED_MASK;
            if flags & MCL_FUTURE != 0 {
                layout.def_flags |= wanted;
            }
            if flags & MCL_CURRENT != 0 {
                layout.set_all_locked(wanted);
            }
        }
        if flags & MCL_CURRENT != 0 {
            // Pages that cannot be had are no failure of the call, mapping by mapping.
            let mut at = VirtAddr::ZERO;
            while let Some(range) = self.next_range(at) {
                self.populate(range);
                at = range.end;
            }
        }
        Ok(())
    }

    /// Takes [`Space::mlockall`] back.
    pub fn munlockall(&self) {
        let mut layout = self.layout.write();
        layout.def_flags -= VmFlags::LOCKED_MASK;
        layout.set_all_locked(VmFlags::empty());
    }

    fn next_range(&self, at: VirtAddr) -> Option<VirtRange> {
        self.layout.read().vmas.find(at).map(Vma::range)
    }
}

/// Calls `each` for every page of `range` that is mapped and counted, with its table locked.
fn each_page(core: &SpaceCore, range: VirtRange, each: fn(&Folio)) {
    struct Pages(fn(&Folio));
    impl Visit for Pages {
        fn entry<L: Level>(&mut self, _addr: VirtAddr, slot: &Slot<L>) -> ControlFlow<()> {
            let entry = slot.get();
            if let Kind::Leaf(pfn) | Kind::ProtNone(pfn) = entry.kind()
                && !entry.is_special()
            {
                (self.0)(pfn_to_page(pfn).folio());
            }
            ControlFlow::Continue(())
        }
    }
    let _ = core.tables.visit_range(range, &mut Pages(each));
}

fn lock_flags(on_fault: bool) -> VmFlags {
    if on_fault { VmFlags::LOCKED_MASK } else { VmFlags::LOCKED }
}

/// The pages that have a byte of the range.
///
/// # Errors
/// `Invalid`: it wraps.
fn pages_around(addr: VirtAddr, len: u64) -> Result<VirtRange, MmError> {
    let start = addr.page_floor();
    // Linux rounds the sum, so that what wraps to 0 there is an empty range.
    let rounded = len.wrapping_add(addr.page_offset() as u64).wrapping_add(0xfff) & !0xfff;
    VirtRange::from_len(start, rounded).ok_or(MmError::Invalid)
}

impl Layout {
    fn locked_pages(&self, range: VirtRange) -> u64 {
        let locked = self.vmas.overlapping(range).filter(|vma| vma.flags().contains(VmFlags::LOCKED));
        locked.filter_map(|vma| vma.range().intersect(range)).map(VirtRange::pages).sum()
    }

    /// Gives the mappings of `range` the lock flags `wanted`, up to the first hole or error (Linux:
    /// `apply_vma_lock_flags`).
    fn set_locked(&mut self, range: VirtRange, wanted: VmFlags) -> Result<(), MmError> {
        let mut at = range.start;
        while at < range.end {
            let Some(vma) = self.vmas.lookup(at) else { return Err(MmError::NoMemory) };
            let part = VirtRange::new(at, vma.end().min(range.end));
            self.set_part_locked(part, wanted)?;
            at = part.end;
        }
        Ok(())
    }

    /// All mappings that can be (Linux: `apply_mlockall_flags`).
    fn set_all_locked(&mut self, wanted: VmFlags) {
        let mut at = VirtAddr::ZERO;
        while let Some(range) = self.vmas.find(at).map(Vma::range) {
            // One that cannot be changed is left, as on Linux.
            let _ = self.set_part_locked(range, wanted);
            at = range.end;
        }
    }

    /// A part of one mapping (Linux: `mlock_fixup`).
    fn set_part_locked(&mut self, part: VirtRange, wanted: VmFlags) -> Result<(), MmError> {
        let Some(vma) = self.vmas.lookup(part.start) else { return Err(MmError::NoMemory) };
        let old = vma.flags();
        let new = old.difference(VmFlags::LOCKED_MASK) | wanted;
        if new == old || old.intersects(VmFlags::SPECIAL | VmFlags::DROPPABLE) {
            return Ok(());
        }
        self.set_flags(part, new)?;
        // A fault locks its page by the flags: it comes before all this, or after.
        debug_assert!(self.vmas.is_locked_in(part));
        match (old.contains(VmFlags::LOCKED), new.contains(VmFlags::LOCKED)) {
            (false, true) => {
                self.locked_vm += part.pages();
                each_page(&self.core, part, lru::mlock);
            }
            (true, false) => self.let_go(part),
            _ => {}
        }
        Ok(())
    }

    /// What is mapped in `part` is not to be kept in memory for it any more.
    pub(super) fn let_go(&mut self, part: VirtRange) {
        self.locked_vm -= part.pages();
        each_page(&self.core, part, lru::munlock);
    }
}
