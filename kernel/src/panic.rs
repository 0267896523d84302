//! What happens when the kernel finds itself broken: it says where, and turns the machine off.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rux_machine::{Hot, HotExt, Hw};

use crate::symbols::{self, Caller, Symbol};
use crate::task::current;
use crate::trap::TrapFrame;
use crate::{ipi, klog, power};

/// The hart that panics, plus 1.
static PANICKED: AtomicUsize = AtomicUsize::new(0);
/// The most lines of a backtrace.
const DEPTH: usize = 48;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    begin();
    say(format_args!("kernel panic: {}", info.message()));
    if let Some(location) = info.location() {
        say(format_args!("at {}:{}", location.file(), location.line()));
    }
    who();
    let fp: usize;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mv {}, fp", out(reg) fp, options(nomem, nostack)) };
    backtrace(fp, (&raw const fp).addr());
    power::end(power::PANIC_STATUS)
}

/// A trap in the kernel that is not to be.
pub(crate) fn trap(frame: &TrapFrame) -> ! {
    begin();
    say(format_args!("kernel panic: {} at {:#x}", cause(frame.cause), frame.tval));
    who();
    say(format_args!("pc {}", Symbol(frame.pc)));
    say(format_args!("status {:016x} cause {:016x} tval {:016x}", frame.status, frame.cause, frame.tval));
    const NAMES: [&str; 31] = [
        "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7",
        "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
    ];
    for (names, values) in NAMES.chunks(4).zip(frame.x.chunks(4)) {
        struct Row<'a>(&'a [&'a str], &'a [usize]);
        impl fmt::Display for Row<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().zip(self.1).try_for_each(|(name, value)| write!(f, "{name:>4} {value:016x}"))
            }
        }
        say(format_args!("{}", Row(names, values)));
    }
    say(format_args!("  0: {}", Symbol(frame.pc)));
    backtrace(frame.x[7], frame.sp());
    power::end(power::PANIC_STATUS)
}

fn say(args: fmt::Arguments<'_>) {
    klog::message(0, args);
}

/// One hart tells; the others stop. A panic while panicking ends at once.
fn begin() {
    Hw::irq_disable();
    let me = Hw::hart() + 1;
    match PANICKED.compare_exchange(0, me, SeqCst, SeqCst) {
        Ok(_) => {}
        Err(other) if other == me => power::end(power::PANIC_STATUS),
        Err(_) => ipi::halt(),
    }
    klog::break_locks();
    ipi::stop_others();
}

fn who() {
    let task = current();
    let comm = task.comm();
    let len = comm.iter().position(|&byte| byte == 0).unwrap_or(comm.len());
    say(format_args!(
        "hart {}, thread {} ({}), pre-emption off {} times",
        Hw::hart(),
        task.tid,
        comm[..len].escape_ascii(),
        task.info().preempt.load(SeqCst),
    ));
}

fn cause(cause: usize) -> &'static str {
    match cause {
        0 | 4 | 6 => "misaligned access",
        1 | 5 | 7 => "access fault",
        2 => "illegal instruction",
        3 => "breakpoint",
        12 => "page fault (fetch)",
        13 => "page fault (load)",
        15 => "page fault (store)",
        _ => "unknown trap",
    }
}

/// Names the callers: along the frame pointers, and where these end (`core` is built without), what on the stack
/// looks like a return address, with a question mark.
fn backtrace(fp: usize, sp: usize) {
    let (low, high) = current().stack_bounds();
    if !(low..high).contains(&sp) {
        return say(format_args!("  the stack pointer {sp:#x} is not on the thread's stack"));
    }
    let word = |at: usize| {
        // SAFETY: only addresses on the running thread's stack are asked for.
        unsafe { (at as *const usize).read_volatile() }
    };
    let mut line = 0;
    let mut at = sp.next_multiple_of(8);
    let mut fp = fp;
    while at + 8 <= high && line < DEPTH {
        if at + 8 == fp {
            // A frame record: the return address below the frame pointer, and the caller's below that.
            line += 1;
            say(format_args!("  {line}: {}", Caller(word(at))));
            let caller = word(at - 8);
            if caller > fp && caller <= high && caller % 16 == 0 {
                fp = caller;
            }
        } else if !(low + 16..=high).contains(&fp) || fp <= at {
            // No chain (any more): guess.
            if symbols::is_return_address(word(at)) {
                line += 1;
                say(format_args!("  {line}: ? {}", Caller(word(at))));
            }
        }
        at += 8;
    }
}

/// A panic before the log is there: by the firmware's console.
pub(crate) fn early(error: &str) -> ! {
    for byte in b"Rux: ".iter().chain(error.as_bytes()).chain(b"\r\n") {
        crate::sbi::debug_byte(*byte);
    }
    crate::sbi::shutdown(true);
    ipi::halt()
}
