//! What this room keeps in [`crate::Memory`]: one of each a machine.

use core::sync::atomic::{AtomicU8, AtomicU64};

use super::asid::Asids;
use super::level::Mode;
use crate::addr::{VirtAddr, VirtRange};
use crate::sync::{Rank, SpinLock};

/// The machine's paging.
#[derive(Debug)]
pub(crate) struct Paging {
    /// [`Mode`] as a number.
    pub(super) mode: AtomicU8,
    /// Frame of the kernel's root; 0 until it is published.
    pub(super) kernel_root: AtomicU64,
    /// What is left of the addresses for [`super::ioremap`]. Whoever has the lock may change the kernel's tables.
    pub(super) ioremap: SpinLock<VirtRange>,
    pub(super) asids: Asids,
}

impl Paging {
    pub(crate) const fn new() -> Self {
        let nowhere = VirtRange::new(VirtAddr::ZERO, VirtAddr::ZERO);
        Self {
            mode: AtomicU8::new(Mode::Sv48 as u8),
            kernel_root: AtomicU64::new(0),
            ioremap: SpinLock::new(Rank::Kernel, nowhere),
            asids: Asids::new(),
        }
    }
}
