//! Page faults: what a load, a store or a fetch that the hardware refused is to become (Linux:
//! `handle_mm_fault`, `mm/memory.c`; the look-up of the mapping is `lock_mm_and_find_vma`).

use crate::addr::VirtAddr;
use crate::space::Space;

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

/// Serves the fault that `access` at `addr` took in `space`, the running one. May sleep: called with
/// interrupts and pre-emption on, and with no lock held that ranks below `mmap_lock`. A user copy of the
/// kernel calls it, too, and turns a signal into `EFAULT`.
pub fn handle_mm_fault(_space: &Space, _addr: VirtAddr, _access: Access) -> Outcome {
    unimplemented!()
}
