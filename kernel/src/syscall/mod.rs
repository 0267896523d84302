//! System calls: one table from number to handler, and the way in from the trap.
//!
//! A handler takes the six argument registers as they are and says what goes into `a0`. What else it
//! needs it finds at the running task. Numbers are asm-generic's (Linux: `arch/riscv/kernel/
//! syscall_table.c`); a number without a handler is `ENOSYS`, and named in the log once.

use crate::errno::Result;
use crate::trap::TrapFrame;

/// The argument registers `a0` to `a5`, where the trap entry stored them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Args {
    /// `a0` to `a5`.
    pub a: [usize; 6],
}

impl Args {
    /// Argument `n`, 0 to 5, as the C type `int`: the upper half of the register is ignored.
    #[inline(always)]
    pub const fn int(&self, n: usize) -> i32 {
        self.a[n] as i32
    }

    /// Argument `n`, 0 to 5, as the C type `unsigned int`.
    #[inline(always)]
    pub const fn uint(&self, n: usize) -> u32 {
        self.a[n] as u32
    }

    /// Argument `n`, 0 to 5, as the C type `long`.
    #[inline(always)]
    pub const fn long(&self, n: usize) -> i64 {
        self.a[n] as i64
    }
}

/// What serves one system call.
pub type Handler = fn(&Args) -> Result<usize>;

/// Serves the system call in `frame`: number in `a7`, arguments in `a0`..`a5`, result to `a0`.
/// `pc` is already past the `ecall`, and `orig_a0` holds the first argument. Interrupts are on.
pub fn dispatch(_frame: &mut TrapFrame) {
    unimplemented!()
}
