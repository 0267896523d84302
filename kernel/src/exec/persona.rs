//! `personality`: what a thread wants otherwise than usual of the address spaces that it makes (Linux:
//! `include/uapi/linux/personality.h`).

use core::sync::atomic::{AtomicI32, Ordering::Relaxed};

use rux_mm::space::{Randomize, Reads};

use crate::process;

/// `ADDR_NO_RANDOMIZE`: nothing is placed at random.
const NO_RANDOMIZE: u32 = 0x004_0000;
/// `MMAP_PAGE_ZERO`: a program has a page at address 0.
pub(super) const PAGE_ZERO: u32 = 0x010_0000;
/// `ADDR_COMPAT_LAYOUT`: mappings are placed from the bottom up.
pub(super) const COMPAT_LAYOUT: u32 = 0x020_0000;
/// `READ_IMPLIES_EXEC`: what can be read can be run.
const READ_IMPLIES_EXEC: u32 = 0x040_0000;
/// The part that says whose system calls are made; a program begins with Linux's (`PER_MASK`).
const DOMAIN: u32 = 0xff;
/// What a program that acts for somebody else does not take over (`PER_CLEAR_ON_SETID`).
const UNSAFE: u32 = READ_IMPLIES_EXEC | NO_RANDOMIZE | COMPAT_LAYOUT | PAGE_ZERO;

/// /proc/sys/kernel/randomize_va_space.
static RANDOMIZE_VA_SPACE: AtomicI32 = AtomicI32::new(2);

/// What is placed at random: 0 for nothing, 1 for all but the heap, 2 for all.
pub(crate) fn randomize_va_space() -> i32 {
    RANDOMIZE_VA_SPACE.load(Relaxed)
}

/// Changes [`randomize_va_space`] for programs that are executed from now on.
pub(crate) fn set_randomize_va_space(value: i32) {
    RANDOMIZE_VA_SPACE.store(value, Relaxed);
}

/// What a program with this personality has at random places (Linux: `PF_RANDOMIZE`).
pub(super) fn randomize(personality: u32) -> Randomize {
    match randomize_va_space() {
        0 => Randomize::Nothing,
        _ if personality & NO_RANDOMIZE != 0 => Randomize::Nothing,
        ..=1 => Randomize::AllButHeap,
        _ => Randomize::All,
    }
}

/// What a program begins with whose caller had `personality`; `set_id`: the file has a set-id bit that counts.
pub(super) fn for_program(personality: u32, set_id: bool) -> u32 {
    let kept = if set_id { !UNSAFE } else { !0 };
    personality & kept & !DOMAIN
}

/// What a right to read is worth to a thread with this personality.
pub(super) fn reads(personality: u32) -> Reads {
    if personality & READ_IMPLIES_EXEC != 0 { Reads::Code } else { Reads::Data }
}

/// What a right to read is worth to the running thread.
pub(crate) fn reads_of_caller() -> Reads {
    process::current().map_or(Reads::Data, |thread| reads(thread.personality.load(Relaxed)))
}
