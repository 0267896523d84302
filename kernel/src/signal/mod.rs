//! Signals (Linux: `kernel/signal.c`, `arch/riscv/kernel/signal.c`).
//!
//! | room | what |
//! |---|---|
//! | `set`, `info`, `action` | numbers and sets, what comes with a signal, what is to be done |
//! | `pending`, `thread`, `mask` | what waits, for the process or one thread, and what is blocked |
//! | `send` | giving a signal to a process, a group, a thread |
//! | `deliver`, `frame`, `altstack`, `restart` | acting upon it on the way to user mode |
//! | `stop` | job control |
//!
//! Locks: [`Tasklist`](crate::process::Tasklist), then one process' [`Group`](crate::process::Group),
//! then a thread's queue or the actions. All of them are taken with interrupts off, as a signal may come
//! from an interrupt.

pub mod action;
pub(crate) mod altstack;
mod deliver;
pub mod frame;
pub mod info;
mod mask;
mod pending;
mod restart;
pub mod send;
mod set;
pub(crate) mod stop;
mod thread;
pub mod wait;

pub use action::{Actions, SigAction};
pub use deliver::{deliver, force, force_fault};
pub use frame::FRAME_SIZE;
pub use info::SigInfo;
pub use mask::{restore_mask, set_blocked, set_temporary_mask};
pub use pending::{Flushed, Pending, QueueFull};
pub use restart::Restart;
pub use send::{send_pgrp, send_pgrp_locked, send_process, send_thread};
pub use set::{DefaultAction, SigSet, Signal};
pub use thread::{AltStack, ThreadSignals};

use rux_mm::addr::VirtAddr;

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

/// Takes `signals` out of all queues of the process whose group is given, as its program ignores them now.
pub(crate) fn discard_pending(
    mut group: rux_mm::sync::IrqSpinGuard<'_, crate::process::Group>,
    signals: SigSet,
) {
    send::discard(&mut group, signals);
}

/// Whether the running thread is to end as soon as it can: killable waits give up
/// ([`rux_machine::cold::Cold::fatal_signal`]).
pub fn fatal_pending() -> bool {
    crate::task::current().user.as_ref().is_some_and(|thread| thread.signals.is_killed())
}
