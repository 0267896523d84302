//! `msync` and `mincore` (Linux: `mm/msync.c`, `mm/mincore.c`).

use core::ops::ControlFlow;

use linux_raw_sys::general as abi;

use super::{MmError, Space};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange};
use crate::paging::{Level, Pte, Slot, Visit};
use crate::vma::{VmFlags, Vma};

impl Space {
    /// Writes what was changed through shared mappings to the files; `flags` is `MS_*` (`msync(2)`). What is
    /// mapped of memory's own files is the file already.
    ///
    /// # Errors
    /// As the manual page says.
    pub fn msync(&self, addr: VirtAddr, len: u64, flags: u32) -> Result<(), MmError> {
        let both = abi::MS_ASYNC | abi::MS_SYNC;
        if flags & !(both | abi::MS_INVALIDATE) != 0 || !addr.is_page_aligned() || flags & both == both {
            return Err(MmError::Invalid);
        }
        let len = len.checked_next_multiple_of(PAGE_SIZE as u64).unwrap_or(0);
        let range = VirtRange::from_len(addr, len).ok_or(MmError::NoMemory)?;
        let layout = self.layout.read_killable()?;
        let (mut at, mut holes) = (range.start, Ok(()));
        while at < range.end {
            let Some(vma) = layout.vmas.find(at) else { return Err(MmError::NoMemory) };
            if at < vma.start() {
                if flags == abi::MS_ASYNC || vma.start() >= range.end {
                    return Err(MmError::NoMemory);
                }
                holes = Err(MmError::NoMemory);
            }
            if flags & abi::MS_INVALIDATE != 0 && vma.flags().contains(VmFlags::LOCKED) {
                return Err(MmError::Busy);
            }
            at = vma.end();
        }
        holes
    }

    /// Says for each page from `addr` on whether it is in memory: one byte of `out` each, at most a page
    /// of them at a time (`mincore(2)`, whose caller goes on piece by piece).
    ///
    /// # Errors
    /// As the manual page says, but for the check of the user's vector.
    pub fn mincore(&self, addr: VirtAddr, out: &mut [u8]) -> Result<(), MmError> {
        if !addr.is_page_aligned() {
            return Err(MmError::Invalid);
        }
        let len = (out.len() as u64) << PAGE_SHIFT;
        let end = addr.checked_add(len).filter(|end| *end <= self.task_size()).ok_or(MmError::NoMemory)?;
        let layout = self.layout.read_killable()?;
        let mut at = addr;
        while at < end {
            let Some(vma) = layout.vmas.lookup(at) else { return Err(MmError::NoMemory) };
            let part = VirtRange::new(at, vma.end().min(end));
            let first = ((at - addr) >> PAGE_SHIFT) as usize;
            let out = &mut out[first..first + part.pages() as usize];
            if vma.is_anonymous() || vma.file().is_some_and(|file| file.may_see_residency()) {
                let mut present = Present { vma, part, out, run: VirtRange::new(part.start, part.start) };
                let _ = self.core.tables.visit_range(part, &mut present);
                present.flush();
            } else {
                // Of what it may not know, all is said to be there.
                out.fill(1);
            }
            at = part.end;
        }
        Ok(())
    }
}

/// Notes which pages of `part` are there.
struct Present<'a> {
    vma: &'a Vma,
    part: VirtRange,
    out: &'a mut [u8],
    /// Pages that are there, and are not in `out` yet.
    run: VirtRange,
}

impl Present<'_> {
    /// The bytes for the part of `range` that was asked for.
    fn bytes(&mut self, range: VirtRange) -> &mut [u8] {
        let page = |at: VirtAddr| (at.clamp(self.part.start, self.part.end) - self.part.start) >> PAGE_SHIFT;
        let (start, end) = (page(range.start) as usize, page(range.end) as usize);
        self.out.get_mut(start..end).unwrap_or_default()
    }

    /// What is from `start` to `end` is there.
    #[inline(always)]
    fn add(&mut self, start: VirtAddr, end: VirtAddr) {
        if self.run.end != start {
            self.flush();
            self.run.start = start;
        }
        self.run.end = end;
    }

    fn flush(&mut self) {
        let run = self.run;
        self.bytes(run).fill(1);
    }
}

impl Visit for Present<'_> {
    fn entry<L: Level>(&mut self, addr: VirtAddr, slot: &Slot<L>) -> ControlFlow<()> {
        let end = addr + L::BYTES;
        match slot.get().is_present() {
            true => self.add(addr, end),
            false => self.bytes(VirtRange::new(addr, end)).fill(0),
        }
        ControlFlow::Continue(())
    }

    #[inline(always)]
    fn in_use(&mut self, addr: VirtAddr, slots: &[Slot<Pte>]) -> ControlFlow<()> {
        self.add(addr, addr + (slots.len() * PAGE_SIZE) as u64);
        ControlFlow::Continue(())
    }

    fn hole(&mut self, range: VirtRange) -> ControlFlow<()> {
        let vma = self.vma;
        let Some(mapping) = vma.mapping() else {
            self.bytes(range).fill(0);
            return ControlFlow::Continue(());
        };
        let start = range.start.max(self.part.start);
        for (byte, page) in self.bytes(range).iter_mut().zip(0..) {
            let at = start + (page << PAGE_SHIFT);
            *byte = u8::from(mapping.find_uptodate(vma.page_index(at)).is_some());
        }
        ControlFlow::Continue(())
    }
}
