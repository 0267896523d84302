//! Which harts run an address space, and under which ASID their TLBs keep it.
//!
//! Linux: `arch/riscv/mm/context.c`.

use core::sync::atomic::AtomicU64;

use rux_machine::AtomicHartMask;

use super::tables::PageTables;

/// What the TLBs may hold of one address space.
#[derive(Debug)]
pub(super) struct Context {
    /// Generation and ASID.
    id: AtomicU64,
    /// Harts whose `satp` has the root.
    running: AtomicHartMask,
    /// Harts that fence the ASID before they run it.
    stale: AtomicHartMask,
    /// Harts that fetch instructions anew before they run it.
    stale_instructions: AtomicHartMask,
}

impl PageTables {
    /// Makes this hart translate with these tables, and no longer with `previous`' (`None`: the kernel's own). Pre-emption
    /// is off. The tables outlive it: they are dropped only once no hart runs them.
    pub fn switch_to(&self, _previous: Option<&PageTables>) {
        unimplemented!()
    }

    /// Makes this hart translate with the kernel's own tables, and no longer with these. Pre-emption is off.
    pub fn leave(&self) {
        unimplemented!()
    }
}

/// Finds out how many bits of ASID this hart keeps, once at boot, for `harts` harts: too few for them are as none.
/// The hart runs on the kernel's tables.
pub fn probe_asids(_harts: usize) -> u32 {
    unimplemented!()
}
