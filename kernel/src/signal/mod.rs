//! Signals (Linux: `kernel/signal.c`, `arch/riscv/kernel/signal.c`).

pub mod action;
pub mod info;
mod pending;
mod set;

pub use action::{Actions, SigAction};
pub use info::SigInfo;
pub use pending::{Flushed, Pending, QueueFull};
pub use set::{DefaultAction, SigSet, Signal};

use rux_mm::addr::VirtAddr;

use crate::trap::TrapFrame;

/// A fault of the running program that no handler of the kernel could repair.
#[derive(Clone, Copy, Debug)]
pub struct UserFault {
    /// The signal's number (`SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGTRAP`, `SIGFPE`, `SIGKILL`).
    pub signal: u32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub addr: VirtAddr,
}

/// Acts upon the signals that wait for the running thread: builds handler frames, restarts system
/// calls, ends the process. Called on the way to user mode with interrupts on, whenever
/// [`Task::signal_pending`](crate::task::Task::signal_pending) says so.
pub fn deliver(_frame: &mut TrapFrame) {
    unimplemented!()
}

/// Sends the running thread the signal of a fault, past blocking and ignoring
/// (Linux: `force_sig_fault`). Interrupts are on.
pub fn force_fault(_fault: UserFault) {
    unimplemented!()
}
