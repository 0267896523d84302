//! What the start cost: `rux.bootstat` on the command line, which `cargo xtask run --icount` sets.
//!
//! Under QEMU's `-icount shift=0` an instruction takes a nanosecond, so that the `time` register counts
//! instructions, a hundred a tick.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rux_mm::addr::PAGE_SIZE;
use rux_mm::page_alloc::free_pages_count;

use crate::{cmdline, dt, time};

static ENTRY: AtomicU64 = AtomicU64::new(0);
static FIRST_USER: AtomicU64 = AtomicU64::new(0);
static TAKEN_KB: AtomicU64 = AtomicU64::new(0);

/// Notes when the kernel was entered, in ticks of `time`.
pub(super) fn entry(ticks: u64) {
    ENTRY.store(ticks, Relaxed);
}

/// Notes when the first program starts that init runs, and what memory is taken then: all that is not free,
/// descriptors and image included.
pub(crate) fn program_starts() {
    if FIRST_USER.load(Relaxed) == 0
        && FIRST_USER.compare_exchange(0, time::ticks(), Relaxed, Relaxed).is_ok()
    {
        let ram: u64 = dt::platform().memory.iter().map(|range| range.len() / 1024).sum();
        let free = free_pages_count() * (PAGE_SIZE as u64 / 1024);
        TAKEN_KB.store(ram.saturating_sub(free), Relaxed);
    }
}

/// Instructions, as the clock counts them.
fn instructions(ticks: u64) -> u64 {
    time::ticks_to_nanos(ticks)
}

/// Writes the one line to the log, at power-off.
pub(crate) fn report() {
    if cmdline::flag("rux.bootstat") {
        log::info!(
            "rux.bootstat: entry={} first_user={} poweroff={} taken_kb={}",
            instructions(ENTRY.load(Relaxed)),
            instructions(FIRST_USER.load(Relaxed)),
            instructions(time::ticks()),
            TAKEN_KB.load(Relaxed),
        );
    }
}
