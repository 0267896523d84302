//! The floating-point registers, which only user mode touches (Linux: `arch/riscv/kernel/fpu.S`).
//!
//! The kernel is built without them, so they stay in the hart until another thread needs it. The frame's
//! `sstatus.FS` says how they relate to what is kept in the task: initial (all zero), clean (the
//! same) or dirty (newer); the switch saves dirty ones.

use core::arch::global_asm;

use rux_machine::IrqGuard;

use crate::task::{Task, current};
use crate::trap::TrapFrame;

const FS: usize = 3 << 13;
const INITIAL: usize = 1 << 13;
const CLEAN: usize = 2 << 13;
const DIRTY: usize = 3 << 13;

/// f0 to f31 and fcsr; the layout of Linux's `__riscv_d_ext_state`.
#[repr(C)]
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FpState {
    /// f0 to f31.
    pub f: [u64; 32],
    /// Rounding mode and accrued exceptions.
    pub fcsr: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
}

impl FpState {
    /// What a program starts with.
    pub const ZERO: Self = Self { f: [0; 32], fcsr: 0, reserved: 0 };
}

unsafe extern "C" {
    /// Stores the registers. `sstatus.FS` is not off.
    ///
    /// # Safety
    /// `state` is valid.
    fn _fp_save(state: *mut FpState);
    /// Loads the registers. `sstatus.FS` is not off.
    ///
    /// # Safety
    /// `state` is valid.
    fn _fp_load(state: *const FpState);
}

fn present() -> bool {
    crate::dt::platform().isa.double
}

/// The status of a user thread whose registers are initial; off when the harts have none.
fn initial() -> usize {
    if present() { INITIAL } else { 0 }
}

/// Saves what the running user thread has newer in the registers. Interrupts are off.
fn save(task: &Task, frame: &mut TrapFrame) {
    if frame.status & FS == DIRTY {
        // SAFETY: the state is the running thread's own; dirty means that the registers are on.
        unsafe {
            enable();
            _fp_save(task.fp.get());
        }
        frame.status = frame.status & !FS | CLEAN;
    }
}

/// Loads what `task`, which is about to run in user mode, has. Interrupts are off.
fn load(task: &Task, frame: &TrapFrame) {
    let state = match frame.status & FS {
        0 => return,
        INITIAL => &raw const ZERO,
        _ => task.fp.get(),
    };
    // SAFETY: the state is the thread's own, or constant; the harts have the registers.
    unsafe {
        enable();
        _fp_load(state);
    }
}

static ZERO: FpState = FpState::ZERO;

/// Turns the registers on for the kernel.
///
/// # Safety
/// The harts have them.
unsafe fn enable() {
    // SAFETY: the caller vouches for it. The next return to user mode sets the frame's own status.
    unsafe { core::arch::asm!("csrs sstatus, {}", in(reg) CLEAN, options(nomem, nostack)) };
}

/// Changes from one thread's registers to another's. Interrupts are off.
pub(crate) fn switch(prev: &Task, next: &Task) {
    if prev.user.is_some() {
        // SAFETY: the frame at the top of a user thread's stack is its own, and it runs here.
        save(prev, unsafe { &mut *prev.user_frame() });
    }
    if next.user.is_some() {
        // SAFETY: as above; the thread is about to run here.
        load(next, unsafe { &*next.user_frame() });
    }
}

/// Gives a new thread, with `frame`, the running thread's registers, unless `frame` has its own idea.
pub(crate) fn inherit(child: &Task, frame: &mut TrapFrame) {
    if frame.status & FS == DIRTY || frame.status & FS == CLEAN {
        let state = current_state();
        // SAFETY: nobody else has the child yet.
        unsafe { *child.fp.get() = state };
        frame.status = frame.status & !FS | CLEAN;
    } else {
        frame.status = frame.status & !FS | initial();
    }
}

/// The running user thread's floating-point registers as they are now.
pub fn current_state() -> FpState {
    let _irqs = IrqGuard::new();
    let task = current();
    // SAFETY: the frame is the running thread's own.
    let frame = unsafe { &mut *task.user_frame() };
    save(task, frame);
    if frame.status & FS == CLEAN {
        // SAFETY: the state is the running thread's own, and no switch comes between.
        unsafe { (*task.fp.get()).clone() }
    } else {
        FpState::ZERO
    }
}

/// Gives the running user thread these floating-point registers.
pub fn set_current_state(state: &FpState) {
    if !present() {
        return;
    }
    let _irqs = IrqGuard::new();
    let task = current();
    // SAFETY: state and frame are the running thread's own, and no switch comes between.
    unsafe {
        *task.fp.get() = state.clone();
        let frame = &mut *task.user_frame();
        frame.status = frame.status & !FS | CLEAN;
        load(task, frame);
    }
}

/// Gives the running user thread zeroed registers: `execve`. After it built its new frame.
pub fn reset_current() {
    let _irqs = IrqGuard::new();
    let task = current();
    // SAFETY: the frame is the running thread's own.
    let frame = unsafe { &mut *task.user_frame() };
    frame.status = frame.status & !FS | initial();
    load(task, frame);
}

global_asm!(
    r#"
    .macro fp_each op
    \op f0, 0(a0)
    \op f1, 8(a0)
    \op f2, 16(a0)
    \op f3, 24(a0)
    \op f4, 32(a0)
    \op f5, 40(a0)
    \op f6, 48(a0)
    \op f7, 56(a0)
    \op f8, 64(a0)
    \op f9, 72(a0)
    \op f10, 80(a0)
    \op f11, 88(a0)
    \op f12, 96(a0)
    \op f13, 104(a0)
    \op f14, 112(a0)
    \op f15, 120(a0)
    \op f16, 128(a0)
    \op f17, 136(a0)
    \op f18, 144(a0)
    \op f19, 152(a0)
    \op f20, 160(a0)
    \op f21, 168(a0)
    \op f22, 176(a0)
    \op f23, 184(a0)
    \op f24, 192(a0)
    \op f25, 200(a0)
    \op f26, 208(a0)
    \op f27, 216(a0)
    \op f28, 224(a0)
    \op f29, 232(a0)
    \op f30, 240(a0)
    \op f31, 248(a0)
    .endm
    .text
    .option push
    .option arch, +d
    .balign 4
    .globl _fp_save
_fp_save:
    fp_each fsd
    frcsr t0
    sw t0, 256(a0)
    ret
    .globl _fp_load
_fp_load:
    fp_each fld
    lw t0, 256(a0)
    fscsr t0
    ret
    .option pop
    "#
);
