//! System calls: one table from number to handler, and the way in from the trap.
//!
//! A handler takes the six argument registers as they are and says what goes into `a0`. What else it
//! needs it finds at the running task. Numbers are asm-generic's (Linux: `arch/riscv/kernel/
//! syscall_table.c`); a number without a handler is `ENOSYS`, and named in the log once.
//!
//! Files, places and waiting for files are in `file`, `fs` and `poll`; the rest is by subject.

pub mod cred;
pub mod file;
pub mod fs;
pub mod limits;
pub mod misc;
pub mod mm;
pub mod policy;
pub mod poll;
pub mod prctl;
pub mod process;
pub mod rw;
pub mod sched;
pub mod signal;
pub mod storage;
pub mod syslog;
pub mod time;
pub mod uts;
pub mod xattr;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rux_mm::addr::VirtAddr;

use crate::errno::{Errno, Result};
use crate::task;
use crate::trap::{Registers, TrapFrame};

/// The argument registers `a0` to `a5`, where the trap entry stored them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Args {
    /// `a0` to `a5`.
    pub a: [usize; 6],
}

impl Args {
    /// The arguments in `frame`.
    #[inline(always)]
    fn of(frame: &TrapFrame) -> &Self {
        let registers: &[usize; 6] = frame.arguments();
        // SAFETY: the same layout, as the type is transparent.
        unsafe { &*core::ptr::from_ref(registers).cast() }
    }

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

    /// Argument `n`, 0 to 5, as the C type `unsigned long`.
    #[inline(always)]
    pub const fn ulong(&self, n: usize) -> u64 {
        self.a[n] as u64
    }

    /// Argument `n`, 0 to 5, as an address of the program's.
    #[inline(always)]
    pub const fn addr(&self, n: usize) -> VirtAddr {
        VirtAddr::new(self.a[n] as u64)
    }

    /// Argument `n`, 0 to 5, as an address of the program's that may be left out by being 0.
    #[inline(always)]
    pub const fn optional(&self, n: usize) -> Option<VirtAddr> {
        if self.a[n] == 0 { None } else { Some(self.addr(n)) }
    }
}

/// What serves one system call.
pub type Handler = fn(&Args) -> Result<usize>;

/// What serves a system call that reads or changes the program's registers: the arguments, and all of them.
type FrameHandler = fn(&Args, &mut TrapFrame) -> Result<usize>;

/// One past the largest number.
const NUMBERS: usize = 512;

static TABLE: [Option<Handler>; NUMBERS] = table();

const fn table() -> [Option<Handler>; NUMBERS] {
    let groups: &[&[(u32, Handler)]] = &[
        cred::HANDLERS,
        file::HANDLERS,
        fs::HANDLERS,
        limits::HANDLERS,
        misc::HANDLERS,
        mm::HANDLERS,
        policy::HANDLERS,
        poll::HANDLERS,
        prctl::HANDLERS,
        process::HANDLERS,
        rw::HANDLERS,
        sched::HANDLERS,
        signal::HANDLERS,
        storage::HANDLERS,
        syslog::HANDLERS,
        time::HANDLERS,
        uts::HANDLERS,
        xattr::HANDLERS,
    ];
    let mut table = [None; NUMBERS];
    let mut group = 0;
    while group < groups.len() {
        let mut i = 0;
        while i < groups[group].len() {
            let (number, handler) = groups[group][i];
            assert!(table[number as usize].is_none(), "two handlers for one number");
            table[number as usize] = Some(handler);
            i += 1;
        }
        group += 1;
    }
    table
}

/// Serves system call `number`, which is in `frame`: arguments in `a0`..`a5`, result to `a0`. `pc` is already past
/// the `ecall`, and `orig_a0` holds the first argument. Interrupts are on.
#[inline(always)]
pub fn dispatch(frame: &mut TrapFrame, number: usize) -> Registers {
    let (result, registers) = match TABLE.get(number) {
        Some(Some(handler)) => (handler(Args::of(frame)), Registers::Kept),
        _ => (unusual(frame, number), Registers::Changed),
    };
    let value = match result {
        Ok(value) => value,
        Err(errno) => failed(errno),
    };
    frame.set_a(0, value);
    registers
}

/// A call that reads or changes all registers, or one that is not there.
#[inline(never)]
fn unusual(frame: &mut TrapFrame, number: usize) -> Result<usize> {
    match process::FRAME_HANDLERS.iter().find(|handler| handler.0 as usize == number) {
        Some((_, handler)) => {
            let args = *Args::of(frame);
            handler(&args, frame)
        }
        None => missing(number),
    }
}

/// The register value of an error. One that asks for a restart is looked at on the way to user mode. Out of line, so
/// that a call that succeeds saves no registers for it.
#[inline(never)]
fn failed(errno: Errno) -> usize {
    if errno.asks_for_restart() {
        task::current().notify_signal(false);
    }
    errno.to_register()
}

#[cold]
fn missing(number: usize) -> Result<usize> {
    // Also for numbers past the table, as a newer Linux has: each is named once.
    static NAMED: [AtomicU64; 1024 / 64] = [const { AtomicU64::new(0) }; 1024 / 64];
    if let Some(word) = NAMED.get(number / 64) {
        let bit = 1 << (number % 64);
        if word.fetch_or(bit, Relaxed) & bit == 0 {
            log::info!("system call {number} is not there");
        }
    }
    Err(Errno::ENOSYS)
}
