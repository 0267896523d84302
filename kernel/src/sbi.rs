//! Calls to the firmware (the SBI specification), each with the failure that Rux can meet.

use rux_machine::HartMask;
use rux_mm::addr::PhysAddr;

/// Starts hart `id` at `entry`, with `arg` in `a1` (Hart State Management).
pub fn start_hart(id: u64, entry: PhysAddr, arg: PhysAddr) -> bool {
    sbi_rt::hart_start(id as usize, entry.get() as usize, arg.get() as usize).is_ok()
}

/// Has a timer interrupt come once `time` reaches `ticks`.
pub fn set_timer(ticks: u64) {
    sbi_rt::set_timer(ticks);
}

/// Calls `f` with sets of at most 64 hart ids that hold the harts of `mask`.
fn by_ids(mask: HartMask, mut f: impl FnMut(sbi_rt::HartMask)) {
    let mut left = mask;
    while let Some(first) = left.iter().next() {
        let base = crate::hart::hart(first).id() & !63;
        let mut bits = 0u64;
        for hart in left.iter() {
            let id = crate::hart::hart(hart).id();
            if id & !63 == base {
                bits |= 1 << (id & 63);
                left = left.without(hart);
            }
        }
        f(sbi_rt::HartMask::from_mask_base(bits as usize, base as usize));
    }
}

/// Raises the supervisor's software interrupt on `harts`.
pub fn send_ipi(harts: HartMask) {
    by_ids(harts, |ids| {
        sbi_rt::send_ipi(ids);
    });
}

/// `fence.i` on `harts`.
pub fn remote_fence_i(harts: HartMask) {
    by_ids(harts, |ids| {
        sbi_rt::remote_fence_i(ids);
    });
}

/// `sfence.vma` on `harts` for `bytes` from `start` on, in all address spaces; all addresses when `bytes` is
/// `usize::MAX`.
pub fn remote_sfence(harts: HartMask, start: usize, bytes: usize) {
    by_ids(harts, |ids| {
        sbi_rt::remote_sfence_vma(ids, start, bytes);
    });
}

/// As [`remote_sfence`], in one address space.
pub fn remote_sfence_asid(harts: HartMask, start: usize, bytes: usize, asid: u16) {
    by_ids(harts, |ids| {
        sbi_rt::remote_sfence_vma_asid(ids, start, bytes, asid.into());
    });
}

/// Asks the firmware to end the machine; returns if it cannot.
pub fn shutdown(failure: bool) {
    if failure {
        sbi_rt::system_reset(sbi_rt::Shutdown, sbi_rt::SystemFailure);
    } else {
        sbi_rt::system_reset(sbi_rt::Shutdown, sbi_rt::NoReason);
    }
}

/// Asks the firmware to start the machine anew; returns if it cannot.
pub fn reboot() {
    sbi_rt::system_reset(sbi_rt::ColdReboot, sbi_rt::NoReason);
}

/// `mvendorid` of the harts.
pub fn vendor_id() -> usize {
    sbi_rt::get_mvendorid()
}

/// `marchid` of the harts.
pub fn arch_id() -> usize {
    sbi_rt::get_marchid()
}

/// `mimpid` of the harts.
pub fn implementation_id() -> usize {
    sbi_rt::get_mimpid()
}

/// Writes one byte to the firmware's console, before there is a UART of our own.
pub fn debug_byte(byte: u8) {
    sbi_rt::console_write_byte(byte);
}
