//! Turning the machine off (Linux: `drivers/power/reset`).

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use spin::Once;

use crate::boot::Registers;
use crate::dt::Platform;
use crate::{ipi, sbi};

/// The status of a machine that ended by a panic of the kernel.
pub const PANIC_STATUS: u8 = 101;

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

/// Turns the machine off; QEMU's exit status becomes `status` by way of the device `sifive,test1`.
pub fn power_off(status: u8) -> ! {
    crate::boot::stat::report();
    end(status)
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
