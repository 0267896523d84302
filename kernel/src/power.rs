//! Turning the machine off (Linux: `drivers/power/reset`).

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use spin::Once;

use crate::boot::Registers;
use crate::dt::Platform;
use crate::{ipi, sbi};

/// The status of a machine that ended by a panic of the kernel.
pub const PANIC_STATUS: u8 = 101;

/// How long the other harts are given to stop, in nanoseconds.
#[cfg(debug_assertions)]
const STOP_LIMIT: u64 = 100_000_000;

const PASS: u32 = 0x5555;
const FAIL: u32 = 0x3333;

/// QEMU's `sifive,test1`: a write ends QEMU, with a status.
static TEST: Once<Registers> = Once::new();
static ENDING: AtomicBool = AtomicBool::new(false);

/// Maps the device.
pub(crate) fn init(platform: &Platform) {
    if let Some(device) = platform.test {
        match Registers::map(device.regs) {
            Ok(regs) => {
                TEST.call_once(|| regs);
            }
            Err(error) => log::warn!("the power-off device is not to be had: {error}"),
        }
    }
}

/// Turns the machine off; QEMU's exit status becomes `status` by way of the device `sifive,test1`. No lock is held.
/// With `slab_debug=U` the log says who has objects still: what should have gone with the last program, and has not,
/// leaked.
///
/// # Panics
/// In debug builds, when the memory manager's books are wrong.
pub fn power_off(status: u8) -> ! {
    crate::boot::stat::report();
    rux_mm::slab::check_objects();
    rux_mm::slab::report_owners();
    #[cfg(debug_assertions)]
    check_memory();
    end(status)
}

/// Stops the other harts and looks at every page, slab and free list; a fault is a panic, so that the machine's
/// status tells of it. The first hart that comes goes on.
#[cfg(debug_assertions)]
fn check_memory() {
    static CHECKING: AtomicBool = AtomicBool::new(false);
    if CHECKING.swap(true, Relaxed) {
        ipi::stop_here();
    }
    let _irqs = rux_machine::IrqGuard::new();
    let still = ipi::stop_others_within(STOP_LIMIT) && crate::sched::is_quiet();
    let mut checked = rux_mm::page_alloc::validate();
    if still {
        rux_mm::slab::validate();
        checked = checked.and_then(|()| rux_mm::page::validate());
    } else {
        // A thread that was stopped or pre-empted anywhere may have done half of what the checks want whole.
        log::info!("power: threads still run, so that only the free lists are checked");
    }
    if let Err(corrupt) = checked {
        panic!("the books of memory are wrong: {corrupt}");
    }
}

/// As [`power_off`], after a panic: nothing is reported.
pub(crate) fn end(status: u8) -> ! {
    if !ENDING.swap(true, Relaxed) {
        ipi::stop_others();
        match TEST.get() {
            // QEMU ends a moment later. The firmware, which would write to the same device, must not
            // replace the status.
            Some(test) => test.write32(0, if status == 0 { PASS } else { u32::from(status) << 16 | FAIL }),
            None => sbi::shutdown(status != 0),
        }
    }
    ipi::halt()
}

/// Resets the machine.
pub fn reset() -> ! {
    ipi::stop_others();
    sbi::reboot();
    power_off(0)
}
