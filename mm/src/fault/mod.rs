//! Page faults: what a load, a store or a fetch that the hardware refused is to become (Linux:
//! `handle_mm_fault`, `mm/memory.c`; the look-up of the mapping is `lock_mm_and_find_vma`).
//!
//! A fault holds the lock of its mapping for reading, and nothing else of the address space, if it can be had at once
//! and no more is needed; else `mmap_lock` for reading: where a writer is at the mapping or in the store, where there
//! is no mapping (a stack may grow), for the first anonymous page of a mapping, which may join its neighbours' group,
//! and after any wait. What it would wait for (I/O, a folio's lock) it waits for without either, and then starts
//! anew. What it decided before it had the lock of the page table, it looks at again under that lock.

mod anon;
mod cow;
mod file;
mod present;
mod stack;

use core::sync::atomic::Ordering::Relaxed;

use linux_raw_sys::general as abi;

use crate::addr::VirtAddr;
use crate::filemap::{FileError, Mapping};
use crate::gfp::Gfp;
use crate::page::PageFlags;
use crate::page_alloc::FolioRef;
use crate::paging::{AnyEntry, Bits, Kind, LastTable, NoPte, PteGuard};
use crate::slab::KArc;
use crate::space::{Layout, Space, SpaceCore};
use crate::stat::{self, Item};
use crate::vma::{Backing, VmFlags, Vma};

/// What was tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A load.
    Read,
    /// A store or an atomic operation.
    Write,
    /// An instruction fetch.
    Execute,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Outcome {
    /// The access can be tried again.
    Done,
    /// The same, after waiting for I/O.
    Major,
    /// Nothing was done, but something has changed: try the access, or the fault, again.
    Retry,
    /// There is no memory; the process is to be killed.
    Oom,
    /// SIGBUS with this `si_code` and `si_addr`.
    Sigbus {
        /// `BUS_ADRERR` or `BUS_MCEERR_AR`.
        code: i32,
        /// The address that was accessed.
        addr: VirtAddr,
    },
    /// SIGSEGV with this `si_code` and `si_addr`.
    Sigsegv {
        /// `SEGV_MAPERR` or `SEGV_ACCERR`.
        code: i32,
        /// The address that was accessed.
        addr: VirtAddr,
    },
}

/// `BUS_ADRERR`: past the end of the file, or it could not be read.
const BUS_ADRERR: i32 = 2;

/// Serves the fault that `access` at `addr` took in `space`, the running one. May sleep: called with
/// interrupts and pre-emption on, and with no lock held that ranks below `mmap_lock`. A user copy of the
/// kernel calls it, too, and turns a signal into `EFAULT`.
pub fn handle_mm_fault(space: &Space, addr: VirtAddr, access: Access) -> Outcome {
    match quick_attempt(space, addr, access) {
        step @ Step::Done => {
            // Nothing is in it; that would be looked at once more.
            core::mem::forget(step);
            stat::inc(Item::PgFault);
            space.core.minor_faults.fetch_add(1, Relaxed);
            Outcome::Done
        }
        step => handle_slowly(space, addr, access, step),
    }
}

/// With the lock of the mapping alone.
#[inline(always)]
fn quick_attempt(space: &Space, addr: VirtAddr, access: Access) -> Step {
    match space.layout.lock_vma(addr) {
        Some(vma) => fault_in_vma(space, None, &vma, addr, access),
        None => Step::Again,
    }
}

/// With `mmap_lock`.
#[cold]
fn attempt(space: &Space, addr: VirtAddr, access: Access) -> Step {
    let layout = space.layout.read();
    find_and_fault(space, &layout, addr, access)
}

/// Goes on where a first attempt got to `step`.
#[cold]
fn handle_slowly(space: &Space, addr: VirtAddr, access: Access, mut step: Step) -> Outcome {
    let mut major = false;
    let outcome = loop {
        match step {
            Step::Done if major => break Outcome::Major,
            Step::Done => break Outcome::Done,
            Step::Again => {}
            Step::Oom => break Outcome::Oom,
            Step::Sigbus => break Outcome::Sigbus { code: BUS_ADRERR, addr },
            Step::NotMapped => break Outcome::Sigsegv { code: abi::SEGV_MAPERR as i32, addr },
            Step::NotAllowed => break Outcome::Sigsegv { code: abi::SEGV_ACCERR as i32, addr },
            blocked => match wait(space, addr, blocked) {
                Ok(read) => major |= read,
                Err(outcome) => break outcome,
            },
        }
        step = attempt(space, addr, access);
    };
    stat::inc(Item::PgFault);
    if outcome == Outcome::Major {
        stat::inc(Item::PgMajFault);
        space.core.major_faults.fetch_add(1, Relaxed);
    } else {
        space.core.minor_faults.fetch_add(1, Relaxed);
    }
    outcome
}

/// Where a fault got with `mmap_lock`, or the lock of its mapping, held for reading.
#[must_use]
pub(crate) enum Step {
    /// The access can be tried again.
    Done,
    /// What was looked at has changed, or cannot be had without `mmap_lock`.
    Again,
    /// No memory.
    Oom,
    /// No such page of the file.
    Sigbus,
    /// No mapping.
    NotMapped,
    /// A mapping that forbids the access.
    NotAllowed,
    /// A stack that ought to grow, which takes `mmap_lock` for writing.
    Grow,
    /// Somebody has the folio locked.
    Locked(FolioRef),
    /// The page has to be read.
    Read(KArc<Mapping>, u64),
}

/// Does without locks what stopped a fault: says whether it waited for I/O, or how the fault ends.
pub(crate) fn wait(space: &Space, addr: VirtAddr, blocked: Step) -> Result<bool, Outcome> {
    match blocked {
        Step::Locked(folio) => {
            folio.wait_while(PageFlags::LOCKED);
            Ok(false)
        }
        Step::Read(mapping, index) => match mapping.get(index) {
            Ok(_) => Ok(true),
            Err(FileError::NoMemory) => Err(Outcome::Oom),
            Err(_) => Err(Outcome::Sigbus { code: BUS_ADRERR, addr }),
        },
        Step::Grow => match space.grow_stack(addr) {
            Ok(()) => Ok(false),
            Err(_) => Err(Outcome::Sigsegv { code: abi::SEGV_MAPERR as i32, addr }),
        },
        _ => Ok(false),
    }
}

/// Finds the mapping, then serves the fault.
fn find_and_fault(space: &Space, layout: &Layout, addr: VirtAddr, access: Access) -> Step {
    let vma = match layout.vmas.find(addr) {
        Some(vma) if vma.start() <= addr => vma,
        Some(above) if above.flags().contains(VmFlags::GROWSDOWN) && addr < space.task_size() => {
            return Step::Grow;
        }
        _ => return Step::NotMapped,
    };
    fault_in_vma(space, Some(layout), vma, addr, access)
}

/// Checks the rights of the mapping that `addr` is in, then serves the fault.
#[inline(always)]
fn fault_in_vma(space: &Space, layout: Option<&Layout>, vma: &Vma, addr: VirtAddr, access: Access) -> Step {
    let wanted = match access {
        // A page that can be written can be read.
        Access::Read => VmFlags::READ | VmFlags::WRITE,
        Access::Write => VmFlags::WRITE,
        Access::Execute => VmFlags::EXEC,
    };
    if !vma.flags().intersects(wanted) {
        return Step::NotAllowed;
    }
    Fault::new(&space.core, layout, vma, addr.page_floor(), access).serve()
}

/// One fault in one mapping, whose rights allow the access, or are not to count.
pub(crate) struct Fault<'a> {
    pub(crate) core: &'a SpaceCore,
    /// What `mmap_lock` is held for, if it is; the lock of the mapping alone, if not.
    pub(crate) layout: Option<&'a Layout>,
    pub(crate) vma: &'a Vma,
    /// Page-aligned, within the mapping.
    pub(crate) addr: VirtAddr,
    pub(crate) access: Access,
    /// The table over the address, if it was there when [`Fault::serve`] looked.
    table: Option<LastTable<'a>>,
}

impl<'a> Fault<'a> {
    /// `addr` is page-aligned and within `vma`.
    #[inline]
    pub(crate) fn new(
        core: &'a SpaceCore,
        layout: Option<&'a Layout>,
        vma: &'a Vma,
        addr: VirtAddr,
        access: Access,
    ) -> Self {
        Self { core, layout, vma, addr, access, table: None }
    }

    /// By what is in the table (Linux: `handle_pte_fault`).
    pub(crate) fn serve(mut self) -> Step {
        let (entry, table) = self.core.tables.lookup_last(self.addr);
        self.table = table;
        let entry = match entry {
            AnyEntry::Pte(entry) => entry,
            upper if upper.kind() == Kind::None => return self.missing(),
            // Nothing in user space is mapped by larger leaves yet; what else is there has no page to give.
            _ => return Step::Sigbus,
        };
        match entry.kind() {
            Kind::None => self.missing(),
            Kind::Leaf(_) | Kind::ProtNone(_) => self.present(entry),
            Kind::Table(_) | Kind::NonPresent(_) => Step::Sigbus,
        }
    }

    fn missing(&self) -> Step {
        match self.vma.backing() {
            Backing::Anonymous | Backing::Zero(_) => self.anonymous(),
            Backing::File(_) => self.file(),
            Backing::Special(special) => self.special(special),
        }
    }

    /// Locks the table over the address.
    fn lock_table(&self) -> Result<PteGuard<'a>, Step> {
        if let Some(guard) = self.table.and_then(|table| table.lock(self.addr)) {
            return Ok(guard);
        }
        self.core.tables.lock_pte(self.addr, Gfp::USER).map_err(|error| match error {
            NoPte::OutOfMemory => Step::Oom,
            NoPte::Huge(_) => Step::Again,
        })
    }

    /// As [`Fault::lock_table`], if the entry is empty; if not, somebody else has served the fault.
    fn lock_empty(&self) -> Result<PteGuard<'a>, Step> {
        let guard = self.lock_table()?;
        if guard.get().is_none() {
            return Ok(guard);
        }
        drop(guard);
        self.core.tables.fence_spurious(self.addr);
        Err(Step::Done)
    }

    /// After an entry that allows execution was set: what is in the page may have come by the data cache.
    fn fence_if_executable(&self) {
        if self.vma.flags().contains(VmFlags::EXEC) {
            self.core.tables.fence_instructions();
        }
    }

    /// A and D as the access needs them.
    fn used(&self) -> Bits {
        if self.access == Access::Write { Bits::A | Bits::D } else { Bits::A }
    }
}

/// `?` for steps.
macro_rules! step {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(step) => return step,
        }
    };
}
use step;
