//! Faults that nobody took: pages made ready beforehand, or for the kernel's own copies (Linux:
//! `populate_vma_page_range`, `faultin_page`, `mm_populate`).

use rux_machine::cold;

use super::{MmError, Space};
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::fault::{self, Access, Fault, Outcome, Step};
use crate::vma::VmFlags;

/// Whether the rights of a mapping count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rights {
    /// As for the program itself.
    Obeyed,
    /// Only those that it could be given do (Linux: `FOLL_FORCE`).
    Overridden,
}

impl Rights {
    /// Whether a mapping with `flags` may be accessed.
    fn allow(self, flags: VmFlags, access: Access) -> bool {
        let obeyed = match access {
            Access::Read => flags.intersects(VmFlags::READ | VmFlags::WRITE),
            Access::Write => flags.contains(VmFlags::WRITE),
            Access::Execute => flags.contains(VmFlags::EXEC),
        };
        let given = match access {
            Access::Read => flags.contains(VmFlags::MAYREAD),
            // A private copy is written, never the file.
            Access::Write => flags.is_cow(),
            Access::Execute => false,
        };
        obeyed || self == Self::Overridden && given
    }
}

impl Space {
    /// Makes the page of `addr` ready for `access`, waiting as need be. It may be gone the moment after.
    ///
    /// # Errors
    /// `Fault`: not mapped, or not allowed. `Io`: no such page in the file. `NoMemory`.
    pub(crate) fn fault_in(&self, addr: VirtAddr, access: Access, rights: Rights) -> Result<(), MmError> {
        let page = addr.page_floor();
        loop {
            let step = {
                let layout = self.layout.read();
                match layout.vmas.find(page) {
                    Some(vma) if vma.start() <= page => {
                        if !rights.allow(vma.flags(), access) {
                            return Err(MmError::Fault);
                        }
                        Fault::new(&self.core, Some(&layout), vma, page, access).serve()
                    }
                    Some(above) if above.flags().contains(VmFlags::GROWSDOWN) => Step::Grow,
                    _ => return Err(MmError::Fault),
                }
            };
            match step {
                Step::Done => return Ok(()),
                Step::Again => {}
                Step::Oom => return Err(MmError::NoMemory),
                Step::Sigbus => return Err(MmError::Io),
                Step::NotMapped | Step::NotAllowed => return Err(MmError::Fault),
                blocked => match fault::wait(self, page, blocked) {
                    Ok(_) => {}
                    Err(Outcome::Oom) => return Err(MmError::NoMemory),
                    Err(Outcome::Sigbus { .. }) => return Err(MmError::Io),
                    Err(_) => return Err(MmError::Fault),
                },
            }
        }
    }

    /// Makes the pages of `range` ready: for a store where one is allowed and hits no file, for a load
    /// elsewhere. Stops at the first that cannot be had (`MAP_POPULATE`, `MAP_LOCKED`).
    ///
    /// # Errors
    /// As [`Space::fault_in`], and `Interrupted` when a fatal signal comes.
    pub(crate) fn try_populate(&self, range: VirtRange) -> Result<(), MmError> {
        let mut addr = range.start;
        while addr < range.end {
            if cold::fatal_signal() {
                return Err(MmError::Interrupted);
            }
            let (end, access) = {
                let layout = self.layout.read();
                let Some(vma) = layout.vmas.find(addr).filter(|vma| vma.start() < range.end) else {
                    return Ok(());
                };
                addr = addr.max(vma.start());
                let flags = vma.flags();
                let access = if flags.contains(VmFlags::LOCKONFAULT) || flags.contains(VmFlags::PFNMAP) {
                    addr = vma.end();
                    continue;
                } else if flags.contains(VmFlags::WRITE) && !flags.contains(VmFlags::SHARED) {
                    Some(Access::Write)
                } else if flags.intersects(VmFlags::READ | VmFlags::WRITE) {
                    Some(Access::Read)
                } else if flags.contains(VmFlags::EXEC) {
                    Some(Access::Execute)
                } else {
                    None
                };
                (vma.end().min(range.end), access)
            };
            match access {
                Some(access) => {
                    while addr < end {
                        if cold::fatal_signal() {
                            return Err(MmError::Interrupted);
                        }
                        self.fault_in(addr, access, Rights::Obeyed)?;
                        addr = addr + PAGE_SIZE as u64;
                    }
                }
                // Nobody may touch it: on Linux populating stops here.
                None => return Err(MmError::Fault),
            }
        }
        Ok(())
    }

    /// As [`Space::try_populate`], for callers whom no failure concerns: after one it goes on with the next mapping.
    pub(crate) fn populate(&self, range: VirtRange) {
        let mut rest = range;
        while !rest.is_empty() {
            let end = match self.layout.read().vmas.find(rest.start) {
                Some(vma) => vma.end().min(range.end),
                None => return,
            };
            // `mmap` has succeeded already: what is not there now is faulted in when it is used.
            if let Err(MmError::Interrupted) = self.try_populate(VirtRange::new(rest.start, end)) {
                return;
            }
            rest.start = end;
        }
    }
}
