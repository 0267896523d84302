//! The floating-point registers, which only user mode touches (Linux: `arch/riscv/kernel/fpu.S`).
//!
//! The kernel is built without them, so they stay in the hart until another thread needs it: the
//! switch saves them when `sstatus.FS` says dirty.

/// f0 to f31 and fcsr; the layout of Linux's `__riscv_d_ext_state`.
#[repr(C)]
#[derive(Clone, Debug, Default)]
pub struct FpState {
    /// f0 to f31.
    pub f: [u64; 32],
    /// Rounding mode and accrued exceptions.
    pub fcsr: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
}

/// The running thread's floating-point registers as they are now.
pub fn current_state() -> FpState {
    unimplemented!()
}

/// Gives the running thread these floating-point registers.
pub fn set_current_state(_state: &FpState) {
    unimplemented!()
}
