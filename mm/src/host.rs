//! A machine on the host: RAM and descriptors from the host's allocator, for tests and for `rux-sim`.

use crate::addr::PhysAddr;
use crate::memory::Memory;

/// Where a [`HostMachine`]'s RAM starts, as on QEMU's `virt` board.
pub const RAM_BASE: PhysAddr = PhysAddr::new(0x8000_0000);

/// RAM, descriptors and a [`Memory`]; booted. Drop it when no thread works on it any more and nothing
/// that was allocated on it is left.
#[derive(Debug)]
pub struct HostMachine {}

impl HostMachine {
    /// A machine with `ram_bytes` from [`RAM_BASE`] on, and `harts` harts; this thread is its hart 0.
    pub fn new(_ram_bytes: usize, _harts: usize) -> Self {
        unimplemented!()
    }

    /// Makes this thread hart `hart` of the machine.
    pub fn enter(&self, _hart: usize) {
        unimplemented!()
    }
}

#[inline(always)]
pub(crate) fn memory() -> &'static Memory {
    unimplemented!()
}
