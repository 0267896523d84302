//! What is promised to programs, against what there is (Linux: `__vm_enough_memory`, `vm_acct_memory`
//! with `vm.overcommit_memory` = 0).
//!
//! Private writable memory and shared anonymous memory count when they are mapped, touched or not. The
//! heuristic refuses only what alone exceeds the machine.

use core::sync::atomic::Ordering::Relaxed;

use crate::error::AllocError;
use crate::page_alloc::total_pages;
use crate::vma::VmFlags;

/// Pages promised to programs (`Committed_AS`).
pub fn committed_pages() -> u64 {
    crate::memory().committed.load(Relaxed).max(0) as u64
}

/// Pages that could be promised if overcommit were off, at `vm.overcommit_ratio` = 50
/// (`CommitLimit`).
pub fn commit_limit() -> u64 {
    total_pages() / 2
}

/// Promises `pages` (Linux: `security_vm_enough_memory_mm`).
///
/// # Errors
/// More than the machine has.
pub(crate) fn charge(pages: u64) -> Result<(), AllocError> {
    if pages > total_pages() {
        return Err(AllocError);
    }
    crate::memory().committed.fetch_add(pages as i64, Relaxed);
    Ok(())
}

/// Promises `pages` again that are promised already and are about to be taken back elsewhere.
pub(crate) fn recharge(pages: u64) {
    crate::memory().committed.fetch_add(pages as i64, Relaxed);
}

/// Takes a promise of `pages` back.
pub(crate) fn uncharge(pages: u64) {
    crate::memory().committed.fetch_sub(pages as i64, Relaxed);
}

/// Whether a mapping with these flags is a promise (Linux: `accountable_mapping`).
pub(crate) const fn accountable(flags: VmFlags) -> bool {
    let asked = VmFlags::NORESERVE.union(VmFlags::SHARED).union(VmFlags::WRITE);
    flags.intersection(asked).bits() == VmFlags::WRITE.bits()
}

/// A promise that is taken back unless it is kept.
#[must_use]
pub(crate) struct Charge(u64);

impl Charge {
    /// Promises `pages`.
    ///
    /// # Errors
    /// As [`charge`].
    pub(crate) fn new(pages: u64) -> Result<Self, AllocError> {
        charge(pages)?;
        Ok(Self(pages))
    }

    /// The promise stands.
    pub(crate) fn keep(self) {
        core::mem::forget(self);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        uncharge(self.0);
    }
}
