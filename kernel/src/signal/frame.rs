//! The frame of a handler on the user's stack, and the way back (Linux: `arch/riscv/kernel/signal.c`).
//!
//! The layout is the ABI's `struct rt_sigframe`: `siginfo_t`, then `ucontext_t` with the registers and the
//! floating-point state. RISC-V has no `SA_RESTORER`: the handler returns into the vDSO.

use core::mem::offset_of;

use linux_raw_sys::general as abi;
use rux_mm::addr::VirtAddr;

use super::action::SigAction;
use super::info::{SIGINFO_SIZE, SigInfo};
use super::set::{SigSet, Signal};
use super::thread::AltStack;
use super::{deliver, mask};
use crate::errno::Errno;
use crate::fpu::{self, FpState};
use crate::process::Thread;
use crate::trap::TrapFrame;
use crate::uaccess::{self, Efault, Plain};
use crate::vdso;

/// `stack_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct StackT {
    pub(super) sp: u64,
    pub(super) flags: i32,
    pub(super) padding: u32,
    pub(super) size: u64,
}

// SAFETY: integers; the padding is a field.
unsafe impl Plain for StackT {}

/// `ucontext_t` up to the registers, and these.
#[derive(Clone, Copy)]
#[repr(C)]
struct Context {
    flags: u64,
    link: u64,
    stack: StackT,
    mask: u64,
    /// Room for a larger `sigset_t`; and what aligns the registers to 16 bytes.
    unused: [u64; 16],
    /// `pc`, x1 to x31.
    regs: [usize; 32],
}

// SAFETY: integers without padding.
unsafe impl Plain for Context {}

const _: () = assert!(offset_of!(Context, mask) == 40 && offset_of!(Context, regs) == 176);

/// `union __riscv_fp_state`: the doubles, then room for quads, and the end of a list of extensions.
#[derive(Clone, Copy)]
#[repr(C)]
struct FpContext {
    f: [u64; 32],
    fcsr: u32,
    unused: [u32; 64],
    /// `sc_extdesc.reserved`: must be 0.
    reserved: u32,
    /// `sc_extdesc.hdr`: magic number and size of the next extension, (0, 0) at the end.
    extension: [u32; 2],
}

// SAFETY: integers without padding: 256 + 4 + 256 + 12 bytes.
unsafe impl Plain for FpContext {}

const _: () = assert!(size_of::<FpContext>() == 528 && offset_of!(FpContext, reserved) == 516);

const CONTEXT: u64 = SIGINFO_SIZE as u64;
const FP: u64 = CONTEXT + size_of::<Context>() as u64;

/// Bytes of the whole frame: what a signal stack needs at least (`AT_MINSIGSTKSZ`).
pub const FRAME_SIZE: u64 = FP + size_of::<FpContext>() as u64;

const _: () = assert!(FRAME_SIZE == 1088 && FRAME_SIZE.is_multiple_of(16));

/// Builds the frame and makes `regs` enter the handler.
pub(super) fn set_up(
    thread: &Thread,
    signal: Signal,
    info: &SigInfo,
    action: &SigAction,
    regs: &mut TrapFrame,
) -> Result<(), Efault> {
    let handler = action.handler().ok_or(Efault)?;
    let restorer = vdso::sigreturn_address().ok_or(Efault)?;
    let sp = regs.sp() as u64;
    let stack = thread.signals.alt_stack();
    let top = thread.signals.frame_top(sp, action.has(abi::SA_ONSTACK));
    let at = VirtAddr::new(top.get().wrapping_sub(FRAME_SIZE) & !15);
    // A handler that overran the signal stack would overwrite what is below it.
    if stack.holds(sp) && !stack.spans(at.get()) {
        return Err(Efault);
    }
    info.write(at)?;
    let saved = thread.signals.mask_to_save();
    uaccess::write_user(
        at.checked_add(CONTEXT).ok_or(Efault)?,
        Context {
            flags: 0,
            link: 0,
            stack: stack_t(stack, sp),
            mask: saved.0,
            unused: [0; 16],
            regs: regs.user_regs(),
        },
    )?;
    let fp = fpu::current_state();
    uaccess::write_user(
        at.checked_add(FP).ok_or(Efault)?,
        FpContext { f: fp.f, fcsr: fp.fcsr, unused: [0; 64], reserved: 0, extension: [0; 2] },
    )?;
    regs.set_ra(restorer.get() as usize);
    regs.pc = handler.get() as usize;
    regs.set_sp(at.get() as usize);
    regs.set_a(0, signal.get() as usize);
    regs.set_a(1, at.get() as usize);
    regs.set_a(2, (at.get() + CONTEXT) as usize);
    Ok(())
}

/// A signal stack as `sigaltstack` and a frame show it to a program whose stack pointer is `sp`.
pub(crate) fn stack_t(stack: AltStack, sp: u64) -> StackT {
    let used = match stack {
        AltStack { size: 0, .. } => abi::SS_DISABLE,
        _ if stack.holds(sp) => abi::SS_ONSTACK,
        _ => 0,
    };
    let flags = used | stack.flags & abi::SS_AUTODISARM;
    StackT { sp: stack.base, flags: flags as i32, padding: 0, size: stack.size }
}

/// `rt_sigreturn`: goes back to where the signal came. A frame that makes no sense ends in SIGSEGV.
pub fn sigreturn(thread: &Thread, regs: &mut TrapFrame) {
    if restore(thread, regs).is_err() {
        deliver::force(SigInfo::from_kernel(Signal::SEGV));
    }
}

fn restore(thread: &Thread, regs: &mut TrapFrame) -> Result<(), Errno> {
    let at = VirtAddr::new(regs.sp() as u64);
    let context: Context = uaccess::read_user(at.checked_add(CONTEXT).ok_or(Errno::EFAULT)?)?;
    let fp: FpContext = uaccess::read_user(at.checked_add(FP).ok_or(Errno::EFAULT)?)?;
    mask::set_blocked(SigSet(context.mask));
    if fp.reserved != 0 || fp.extension != [0; 2] {
        return Err(Errno::EINVAL);
    }
    regs.set_user_regs(&context.regs);
    fpu::set_current_state(&FpState { f: fp.f, fcsr: fp.fcsr, reserved: 0 });
    // Linux takes no notice either of a signal stack that cannot be had.
    let _kept = super::altstack::change(thread, context.stack, context.regs[2] as u64);
    // Restarting the interrupted call is over and done with.
    regs.syscall = TrapFrame::NO_SYSCALL;
    *thread.signals.restart.lock() = super::Restart::None;
    Ok(())
}
