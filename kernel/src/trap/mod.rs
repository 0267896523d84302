//! Traps: from user mode and from the kernel (Linux: `arch/riscv/kernel/traps.c`, `arch/riscv/mm/fault.c`).
//!
//! Interrupts are served with interrupts off. Faults and system calls run with interrupts on, and may
//! sleep. A fault of the kernel is the end, but in a user copy.

mod entry;
mod frame;

pub use frame::TrapFrame;

use core::arch::asm;
use core::sync::atomic::Ordering::Relaxed;

use linux_raw_sys::general::{BUS_ADRALN, ILL_ILLOPC, SIGBUS, SIGILL, SIGKILL, SIGSEGV, SIGTRAP, TRAP_BRKPT};
use rux_machine::{Hot, Hw, IrqGuard, Scope};
use rux_mm::addr::VirtAddr;
use rux_mm::fault::{Access, Outcome, handle_mm_fault};
use rux_mm::space::Space;

use crate::signal::UserFault;
use crate::task::{current, current_space};
use crate::uaccess::Efault;
use crate::{hart, ipi, plic, sched, signal, syscall, time, uaccess};

/// Bytes of the stack that a used-up kernel stack is reported from.
pub(super) const SPARE_BYTES: usize = 8192;

/// See [`SPARE_BYTES`].
#[repr(align(16))]
pub(super) struct SpareStack {
    _bytes: core::cell::UnsafeCell<[u8; SPARE_BYTES]>,
}

// SAFETY: the entry code alone uses it, on the way to a panic.
unsafe impl Sync for SpareStack {}

pub(super) static SPARE_STACK: SpareStack =
    SpareStack { _bytes: core::cell::UnsafeCell::new([0; SPARE_BYTES]) };

const SSTATUS_SPIE: usize = 1 << 5;
const SSTATUS_SUM: usize = 1 << 18;
const INTERRUPT: usize = 1 << 63;

/// What `scause` says; Privileged specification, table of `scause` values.
mod cause {
    pub(super) const INSN_MISALIGNED: usize = 0;
    pub(super) const INSN_ACCESS: usize = 1;
    pub(super) const ILLEGAL_INSN: usize = 2;
    pub(super) const BREAKPOINT: usize = 3;
    pub(super) const LOAD_MISALIGNED: usize = 4;
    pub(super) const LOAD_ACCESS: usize = 5;
    pub(super) const STORE_MISALIGNED: usize = 6;
    pub(super) const STORE_ACCESS: usize = 7;
    pub(super) const USER_CALL: usize = 8;
    pub(super) const INSN_PAGE: usize = 12;
    pub(super) const LOAD_PAGE: usize = 13;
    pub(super) const STORE_PAGE: usize = 15;
    pub(super) const SOFT: usize = super::INTERRUPT | 1;
    pub(super) const TIMER: usize = super::INTERRUPT | 5;
    pub(super) const EXTERNAL: usize = super::INTERRUPT | 9;
}

unsafe extern "C" {
    fn _trap_entry();
}

/// Makes this hart's traps come here, and takes interrupts. `time`, `cycle` and `instret` may be read in
/// user mode.
pub(crate) fn init_hart() {
    let entry = _trap_entry as *const () as usize;
    // SAFETY: the entry code is made for this; software, timer and external interrupts have their handlers.
    unsafe {
        asm!("csrw sscratch, zero", "csrw stvec, {}", in(reg) entry, options(nostack));
        asm!("csrw scounteren, {}", in(reg) 7, options(nostack));
        asm!("csrw sie, {}", in(reg) 1 << 1 | 1 << 5 | 1 << 9, options(nostack));
    }
}

/// What a handler of traps from user mode tells the entry code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Registers {
    /// Those that functions keep are as the program left them.
    Kept = 0,
    /// All are to be loaded from the frame.
    Changed = 1,
}

/// System call `number`, which the frame has, too. Interrupts are off, on return too.
extern "C" fn user_call(frame: &mut TrapFrame, number: usize) -> Registers {
    Hw::irq_enable();
    let registers = syscall::dispatch(frame, number);
    Hw::irq_disable();
    leave(frame, registers)
}

/// Any other trap from user mode. Interrupts are off, on return too.
extern "C" fn user_trap(frame: &mut TrapFrame) -> Registers {
    let cause = frame.cause;
    frame.syscall = TrapFrame::NO_SYSCALL;
    if cause & INTERRUPT != 0 {
        interrupt(cause, true);
    } else {
        Hw::irq_enable();
        match page_access(cause) {
            Some(access) => user_page_fault(VirtAddr::new(frame.tval as u64), access),
            None => user_exception(frame, cause),
        }
        Hw::irq_disable();
    }
    leave(frame, Registers::Kept)
}

/// The last things before user mode; passes on what is known of the registers. Interrupts are off, on return too.
#[inline(always)]
fn leave(frame: &mut TrapFrame, mut registers: Registers) -> Registers {
    let task = current();
    if sched::need_resched() || task.signal_pending() {
        work(frame);
        registers = Registers::Changed;
    }
    debug_assert_eq!(task.info().preempt.load(Relaxed), 0, "pre-emption is off on the way to user mode");
    debug_assert_eq!(task.info().held_count.load(Relaxed), 0, "a lock is held on the way to user mode");
    registers
}

/// Reschedules and delivers signals until nothing of either is left. Interrupts are off, on return too.
#[cold]
fn work(frame: &mut TrapFrame) {
    let task = current();
    while sched::need_resched() || task.signal_pending() {
        Hw::irq_enable();
        if sched::need_resched() {
            sched::preempt();
        }
        if task.signal_pending() {
            signal::deliver(frame);
        }
        Hw::irq_disable();
    }
}

/// A new thread's way to user mode. Interrupts are off, on return too.
pub(crate) extern "C" fn first_return(frame: &mut TrapFrame) {
    leave(frame, Registers::Changed);
}

/// What was tried, if the exception is a page fault.
#[inline(always)]
fn page_access(cause: usize) -> Option<Access> {
    match cause {
        cause::STORE_PAGE => Some(Access::Write),
        cause::LOAD_PAGE => Some(Access::Read),
        cause::INSN_PAGE => Some(Access::Execute),
        _ => None,
    }
}

/// An exception of a program that is no page fault.
#[cold]
fn user_exception(frame: &mut TrapFrame, cause: usize) {
    let fault = |signal: u32, code: u32, addr: usize| UserFault {
        signal,
        code: code as i32,
        addr: VirtAddr::new(addr as u64),
    };
    let raised = match cause {
        cause::BREAKPOINT => fault(SIGTRAP, TRAP_BRKPT, frame.pc),
        cause::ILLEGAL_INSN => fault(SIGILL, ILL_ILLOPC, frame.pc),
        cause::INSN_MISALIGNED | cause::LOAD_MISALIGNED | cause::STORE_MISALIGNED => {
            fault(SIGBUS, BUS_ADRALN, frame.tval)
        }
        // Linux: SEGV_ACCERR, as the address has no memory behind it.
        cause::INSN_ACCESS | cause::LOAD_ACCESS | cause::STORE_ACCESS => {
            fault(SIGSEGV, linux_raw_sys::general::SEGV_ACCERR, frame.tval)
        }
        _ => fault(SIGILL, linux_raw_sys::general::ILL_ILLTRP, frame.pc),
    };
    signal::force_fault(raised);
}

#[inline(always)]
fn user_page_fault(addr: VirtAddr, access: Access) {
    let Some(space) = current_space() else {
        unreachable!("a thread without an address space is in user mode")
    };
    match handle_mm_fault(space, addr, access) {
        outcome @ (Outcome::Done | Outcome::Major) => count_fault(&outcome),
        outcome => user_page_fault_again(space, addr, access, outcome),
    }
}

/// A page fault of a program that was not served at once.
#[cold]
fn user_page_fault_again(space: &Space, addr: VirtAddr, access: Access, mut outcome: Outcome) {
    let raised = loop {
        match outcome {
            Outcome::Done | Outcome::Major => return count_fault(&outcome),
            Outcome::Retry if current().signal_pending() => return,
            Outcome::Retry => {}
            Outcome::Oom => break UserFault { signal: SIGKILL, code: 0, addr },
            Outcome::Sigbus { code, addr } => break UserFault { signal: SIGBUS, code, addr },
            Outcome::Sigsegv { code, addr } => break UserFault { signal: SIGSEGV, code, addr },
        }
        outcome = handle_mm_fault(space, addr, access);
    };
    signal::force_fault(raised);
}

/// Counts a fault that was served, for the running thread's account.
fn count_fault(outcome: &Outcome) {
    if let Some(thread) = &current().user {
        let count = if matches!(outcome, Outcome::Major) { &thread.faults.1 } else { &thread.faults.0 };
        // Nobody else writes it.
        count.store(count.load(Relaxed) + 1, Relaxed);
    }
}

/// A trap from the kernel. Interrupts are off, on return too.
extern "C" fn kernel_trap(frame: &mut TrapFrame) {
    let cause = frame.cause;
    if cause & INTERRUPT != 0 {
        interrupt(cause, false);
        let info = current().info();
        if info.preempt.load(Relaxed) == 0 && info.need_resched.load(Relaxed) != 0 {
            sched::preempt_from_interrupt();
        }
        return;
    }
    let access = match cause {
        cause::LOAD_PAGE => Access::Read,
        cause::STORE_PAGE => Access::Write,
        cause::LOAD_ACCESS | cause::STORE_ACCESS | cause::LOAD_MISALIGNED | cause::STORE_MISALIGNED => {
            if let Some(fixup) = uaccess::fixup(frame.pc) {
                frame.pc = fixup;
                return;
            }
            die(frame)
        }
        _ => die(frame),
    };
    if frame.status & SSTATUS_SUM == 0 || !uaccess::access_ok(VirtAddr::new(frame.tval as u64), 1) {
        die(frame);
    }
    let Some(fixup) = uaccess::fixup(frame.pc) else { die(frame) };
    let may_sleep = current().info().preempt.load(Relaxed) == 0 && frame.status & SSTATUS_SPIE != 0;
    if may_sleep {
        Hw::irq_enable();
        let served = fault_in(VirtAddr::new(frame.tval as u64), access);
        Hw::irq_disable();
        if served.is_ok() {
            return;
        }
    }
    frame.pc = fixup;
}

/// Brings a page of the running program in, for the kernel.
///
/// # Errors
/// It cannot be had: a program would get a signal.
pub(crate) fn fault_in(addr: VirtAddr, access: Access) -> Result<(), Efault> {
    let space = current_space().ok_or(Efault)?;
    loop {
        match handle_mm_fault(space, addr, access) {
            outcome @ (Outcome::Done | Outcome::Major) => {
                count_fault(&outcome);
                return Ok(());
            }
            Outcome::Retry if current().fatal_pending() => return Err(Efault),
            Outcome::Retry => {}
            Outcome::Oom | Outcome::Sigbus { .. } | Outcome::Sigsegv { .. } => return Err(Efault),
        }
    }
}

/// Interrupts are off.
fn interrupt(cause: usize, user: bool) {
    let hart = hart::this();
    hart.interrupts.store(hart.interrupts.load(Relaxed) + 1, Relaxed);
    let info = current().info();
    if info.preempt.load(Relaxed) == 0 {
        rux_mm::rcu::quiescent();
    }
    // Nothing in an interrupt may switch threads: that is for its end.
    info.preempt_disable();
    // What the thread may and may not do while it allocates is not the interrupt's.
    let scope = info.scope();
    info.set_scope(Scope(0));
    match cause {
        cause::TIMER => {
            if time::interrupt() {
                sched::tick(user);
            }
        }
        cause::SOFT => ipi::interrupt(),
        cause::EXTERNAL => plic::interrupt(),
        _ => log::warn!("unexpected interrupt {:#x}", cause & !INTERRUPT),
    }
    info.set_scope(scope);
    let _ = info.preempt_enable();
}

/// The kernel broke.
fn die(frame: &TrapFrame) -> ! {
    let _irqs = IrqGuard::new();
    crate::panic::trap(frame)
}

/// The kernel's stack was used up at `pc`. Runs on the spare stack.
extern "C" fn stack_overflow(sp: usize, pc: usize, cause: usize, tval: usize) -> ! {
    panic!("the kernel stack is used up: sp {sp:#x}, pc {pc:#x}, cause {cause:#x}, tval {tval:#x}");
}
