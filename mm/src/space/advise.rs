//! `madvise` (Linux: `mm/madvise.c`).

use core::ops::ControlFlow;

use linux_raw_sys::general as abi;

use super::populate::Rights;
use super::{Layout, MmError, Space};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange};
use crate::fault::Access;
use crate::lru;
use crate::page::{PageFlags, pfn_to_page};
use crate::paging::{Bits, Gather, Kind, Level, Slot, Visit};
use crate::rmap::{Which, ZapPages};
use crate::slab::KArc;
use crate::vma::{VmFile, VmFlags, Vma};

/// What a piece of advice does to one mapping.
enum Advice {
    /// Takes flags away and adds others.
    Flags(VmFlags, VmFlags),
    /// Drops the pages (`MADV_DONTNEED`, `MADV_DONTNEED_LOCKED`, `MADV_FREE`).
    Drop,
    /// Makes them old, lets them go where they have another place, or nothing.
    Hint,
}

impl Space {
    /// Tells how `len` bytes from `addr` on will be used; `advice` is `MADV_*` (`madvise(2)`).
    ///
    /// # Errors
    /// As the manual page says.
    pub fn madvise(&self, addr: VirtAddr, len: u64, advice: u32) -> Result<(), MmError> {
        if !is_known(advice) || !addr.is_page_aligned() {
            return Err(MmError::Invalid);
        }
        let len = len.checked_next_multiple_of(PAGE_SIZE as u64).ok_or(MmError::Invalid)?;
        let range = VirtRange::from_len(addr, len).ok_or(MmError::Invalid)?;
        if range.is_empty() {
            return Ok(());
        }
        match advice {
            abi::MADV_POPULATE_READ => self.populate_for(range, Access::Read),
            abi::MADV_POPULATE_WRITE => self.populate_for(range, Access::Write),
            abi::MADV_REMOVE => self.remove_pages(range),
            abi::MADV_DONTNEED
            | abi::MADV_DONTNEED_LOCKED
            | abi::MADV_FREE
            | abi::MADV_COLD
            | abi::MADV_PAGEOUT
            | abi::MADV_WILLNEED => {
                if advice == abi::MADV_COLD {
                    lru::drain();
                }
                let layout = self.layout.read();
                each_part(
                    range,
                    |at| layout.vmas.find(at),
                    |vma, part| {
                        allowed(vma, advice)?;
                        self.advise_pages(vma, part, advice);
                        Ok(())
                    },
                )
            }
            _ => {
                let mut layout = self.layout.write_killable()?;
                advise_flags(&mut layout, range, advice)
            }
        }
    }

    /// Does with the pages of `part` what the advice says, which `vma` allows. `mmap_lock` is held for reading.
    fn advise_pages(&self, vma: &Vma, part: VirtRange, advice: u32) {
        match advice {
            abi::MADV_COLD => {
                let mut gather = Gather::new(&self.core.tables);
                let _ = self.core.tables.visit_range(part, &mut Cool { gather: &mut gather });
            }
            abi::MADV_PAGEOUT => self.page_out(vma, part),
            // A hint that nothing is made of: a page is read when it is asked for.
            abi::MADV_WILLNEED => {}
            _ => {
                let mut gather = Gather::new(&self.core.tables);
                let mut zap = ZapPages::new(&self.core, Which::All);
                self.core.tables.zap_range(part, &mut gather, zap.of(vma.flags()));
            }
        }
    }

    /// Linux: `madvise_populate`.
    fn populate_for(&self, range: VirtRange, access: Access) -> Result<(), MmError> {
        let wanted = if access == Access::Write { VmFlags::WRITE } else { VmFlags::READ };
        let mut at = range.start;
        while at < range.end {
            let end = {
                let layout = self.layout.read();
                let Some(vma) = layout.vmas.lookup(at) else { return Err(MmError::NoMemory) };
                if !vma.flags().contains(wanted) {
                    return Err(MmError::Invalid);
                }
                vma.end().min(range.end)
            };
            while at < end {
                if rux_machine::cold::fatal_signal() {
                    return Err(MmError::Interrupted);
                }
                match self.fault_in(at, access, Rights::Obeyed) {
                    Ok(()) => at = at + PAGE_SIZE as u64,
                    // Changed meanwhile: the outer loop looks again.
                    Err(MmError::Fault) => break,
                    Err(MmError::Io) => return Err(MmError::Fault),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Punches the range out of the files behind it (Linux: `madvise_remove`).
    fn remove_pages(&self, range: VirtRange) -> Result<(), MmError> {
        let mut at = range.start;
        let mut holes = Ok(());
        while at < range.end {
            // The file is changed without `mmap_lock`.
            let (end, file, from): (VirtAddr, KArc<dyn VmFile>, u64) = {
                let layout = self.layout.read();
                let Some(vma) = layout.vmas.find(at) else { return Err(MmError::NoMemory) };
                if at < vma.start() {
                    holes = Err(MmError::NoMemory);
                    at = vma.start();
                    if at >= range.end {
                        break;
                    }
                }
                if vma.flags().contains(VmFlags::LOCKED) {
                    return Err(MmError::Invalid);
                }
                let Some(file) = vma.file().filter(|_| vma.mapping().is_some()) else {
                    return Err(MmError::Invalid);
                };
                if !vma.flags().contains(VmFlags::SHARED | VmFlags::MAYWRITE) {
                    return Err(MmError::Access);
                }
                (vma.end().min(range.end), file.clone(), vma.page_index(at) << PAGE_SHIFT)
            };
            file.punch_hole(from, from + (end - at))?;
            at = end;
        }
        holes
    }
}

/// Makes pages that nobody else maps old (Linux: `madvise_cold_or_pageout_pte_range`).
struct Cool<'a, 'g> {
    gather: &'a mut Gather<'g>,
}

impl Visit for Cool<'_, '_> {
    fn entry<L: Level>(&mut self, addr: VirtAddr, slot: &Slot<L>) -> ControlFlow<()> {
        let entry = slot.get();
        let Kind::Leaf(pfn) = entry.kind() else { return ControlFlow::Continue(()) };
        let page = pfn_to_page(pfn);
        let folio = page.folio();
        if entry.is_special() || folio.mapcount() != 1 {
            return ControlFlow::Continue(());
        }
        if entry.is_young() {
            slot.remove(Bits::A);
            self.gather.changed(addr, L::BYTES);
        }
        folio.clear_flags(PageFlags::REFERENCED);
        lru::deactivate(folio);
        ControlFlow::Continue(())
    }
}

/// Whether Linux knows the advice when it is configured without KSM and huge pages.
fn is_known(advice: u32) -> bool {
    matches!(
        advice,
        abi::MADV_NORMAL
            | abi::MADV_RANDOM
            | abi::MADV_SEQUENTIAL
            | abi::MADV_WILLNEED
            | abi::MADV_DONTNEED
            | abi::MADV_DONTNEED_LOCKED
            | abi::MADV_FREE
            | abi::MADV_REMOVE
            | abi::MADV_DONTFORK
            | abi::MADV_DOFORK
            | abi::MADV_DONTDUMP
            | abi::MADV_DODUMP
            | abi::MADV_WIPEONFORK
            | abi::MADV_KEEPONFORK
            | abi::MADV_COLD
            | abi::MADV_PAGEOUT
            | abi::MADV_POPULATE_READ
            | abi::MADV_POPULATE_WRITE
    )
}

/// What the advice is to this mapping, if it allows it (Linux: `madvise_vma_behavior`).
fn allowed(vma: &Vma, advice: u32) -> Result<Advice, MmError> {
    let flags = vma.flags();
    let none = VmFlags::empty();
    let advice = match advice {
        abi::MADV_NORMAL => Advice::Flags(VmFlags::RAND_READ | VmFlags::SEQ_READ, none),
        abi::MADV_RANDOM => Advice::Flags(VmFlags::SEQ_READ, VmFlags::RAND_READ),
        abi::MADV_SEQUENTIAL => Advice::Flags(VmFlags::RAND_READ, VmFlags::SEQ_READ),
        abi::MADV_DONTFORK => Advice::Flags(none, VmFlags::DONTCOPY),
        abi::MADV_DOFORK if !flags.contains(VmFlags::IO) => Advice::Flags(VmFlags::DONTCOPY, none),
        abi::MADV_WIPEONFORK if vma.file().is_none() && !flags.contains(VmFlags::SHARED) => {
            Advice::Flags(none, VmFlags::WIPEONFORK)
        }
        abi::MADV_KEEPONFORK if !flags.contains(VmFlags::DROPPABLE) => {
            Advice::Flags(VmFlags::WIPEONFORK, none)
        }
        abi::MADV_DONTDUMP => Advice::Flags(none, VmFlags::DONTDUMP),
        abi::MADV_DODUMP if !flags.intersects(VmFlags::SPECIAL | VmFlags::DROPPABLE) => {
            Advice::Flags(VmFlags::DONTDUMP, none)
        }
        abi::MADV_DONTNEED if !flags.intersects(VmFlags::PFNMAP | VmFlags::LOCKED) => Advice::Drop,
        abi::MADV_DONTNEED_LOCKED if !flags.contains(VmFlags::PFNMAP) => Advice::Drop,
        // The pages may go at any moment until they are written again: they go now.
        abi::MADV_FREE if vma.is_anonymous() && !flags.intersects(VmFlags::PFNMAP | VmFlags::LOCKED) => {
            Advice::Drop
        }
        abi::MADV_WILLNEED => Advice::Hint,
        abi::MADV_COLD | abi::MADV_PAGEOUT if !flags.intersects(VmFlags::PFNMAP | VmFlags::LOCKED) => {
            Advice::Hint
        }
        _ => return Err(MmError::Invalid),
    };
    Ok(advice)
}

/// Calls `each` for the part of `range` in each mapping, up to the first error; holes are an error at the end
/// (Linux: `madvise_walk_vmas`).
fn each_part<'a>(
    range: VirtRange,
    find: impl Fn(VirtAddr) -> Option<&'a Vma>,
    mut each: impl FnMut(&'a Vma, VirtRange) -> Result<(), MmError>,
) -> Result<(), MmError> {
    let (mut at, mut holes) = (range.start, Ok(()));
    while at < range.end {
        let Some(vma) = find(at) else { return Err(MmError::NoMemory) };
        if at < vma.start() {
            holes = Err(MmError::NoMemory);
            at = vma.start();
            if at >= range.end {
                break;
            }
        }
        let part = VirtRange::new(at, vma.end().min(range.end));
        each(vma, part)?;
        at = part.end;
    }
    holes
}

fn advise_flags(layout: &mut Layout, range: VirtRange, advice: u32) -> Result<(), MmError> {
    let (mut at, mut holes) = (range.start, Ok(()));
    while at < range.end {
        let Some(vma) = layout.vmas.find(at) else { return Err(MmError::NoMemory) };
        if at < vma.start() {
            holes = Err(MmError::NoMemory);
            at = vma.start();
            if at >= range.end {
                break;
            }
        }
        let part = VirtRange::new(at, vma.end().min(range.end));
        let Advice::Flags(off, on) = allowed(vma, advice)? else { return Err(MmError::Invalid) };
        let flags = vma.flags().difference(off) | on;
        if flags != vma.flags() {
            layout.set_flags(part, flags).map_err(|error| match error {
                MmError::NoMemory => MmError::Again,
                other => other,
            })?;
        }
        at = part.end;
    }
    holes
}
