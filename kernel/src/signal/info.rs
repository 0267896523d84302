//! What comes with a signal: `siginfo_t` (Linux: `include/uapi/asm-generic/siginfo.h`).
//!
//! The kernel keeps the 48 bytes that carry something; the rest of the 128 is zero in a program's eyes.

use rux_mm::addr::VirtAddr;

use super::set::Signal;
use crate::uaccess::{self, Efault, Plain};

/// `si_code`: sent by `kill`.
pub const SI_USER: i32 = 0;
/// `si_code`: sent by the kernel.
pub const SI_KERNEL: i32 = 0x80;
/// `si_code`: sent by `sigqueue`.
pub const SI_QUEUE: i32 = -1;
/// `si_code`: a timer of `timer_create` ran out.
pub const SI_TIMER: i32 = -2;
/// `si_code`: sent by `tkill` or `tgkill`.
pub const SI_TKILL: i32 = -6;
/// `si_code` of `SIGCHLD`: ended by `exit`.
pub const CLD_EXITED: i32 = 1;
/// `si_code` of `SIGCHLD`: ended by a signal.
pub const CLD_KILLED: i32 = 2;
/// `si_code` of `SIGCHLD`: ended by a signal, with a core.
pub const CLD_DUMPED: i32 = 3;
/// `si_code` of `SIGCHLD`: stopped.
pub const CLD_STOPPED: i32 = 5;
/// `si_code` of `SIGCHLD`: goes on after a stop.
pub const CLD_CONTINUED: i32 = 6;

/// Bytes of a program's `siginfo_t`.
pub const SIGINFO_SIZE: usize = 128;

/// The part of `siginfo_t` that carries something (Linux: `kernel_siginfo_t`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SigInfo {
    /// `si_signo`.
    pub signo: i32,
    /// `si_errno`.
    pub errno: i32,
    /// `si_code`.
    pub code: i32,
    /// Zero; or what a program gave to `rt_sigqueueinfo`.
    pub padding: i32,
    /// `_sifields`, as the words that they are made of.
    pub fields: [u64; 4],
}

// SAFETY: integers without padding, 48 bytes.
unsafe impl Plain for SigInfo {}

const _: () = assert!(size_of::<SigInfo>() == 48);

/// Two `int`s as they lie in one word.
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl SigInfo {
    /// Sent by a process: `si_pid` and `si_uid`.
    pub const fn from_user(signal: Signal, code: i32, pid: u32, uid: u32) -> Self {
        Self { signo: signal.get() as i32, errno: 0, code, padding: 0, fields: [pair(pid, uid), 0, 0, 0] }
    }

    /// Sent by the kernel, for no process's sake (Linux: `SEND_SIG_PRIV`).
    pub const fn from_kernel(signal: Signal) -> Self {
        Self::from_user(signal, SI_KERNEL, 0, 0)
    }

    /// A fault at `addr`.
    pub const fn fault(signal: Signal, code: i32, addr: VirtAddr) -> Self {
        Self { signo: signal.get() as i32, errno: 0, code, padding: 0, fields: [addr.get(), 0, 0, 0] }
    }

    /// A child's change of state; times in clock ticks (1/100 s).
    pub const fn child(code: i32, pid: u32, uid: u32, status: i32, utime: u64, stime: u64) -> Self {
        Self {
            signo: Signal::CHLD.get() as i32,
            errno: 0,
            code,
            padding: 0,
            fields: [pair(pid, uid), pair(status as u32, 0), utime, stime],
        }
    }

    /// An interval timer's signal: `si_tid`, `si_overrun`, `si_value`.
    pub const fn timer(signal: Signal, id: i32, overrun: i32, value: u64) -> Self {
        Self {
            signo: signal.get() as i32,
            errno: 0,
            code: SI_TIMER,
            padding: 0,
            fields: [pair(id as u32, overrun as u32), value, 0, 0],
        }
    }

    /// Whether a process sent it, in whatever way (Linux: `SI_FROMUSER`).
    pub const fn is_from_user(&self) -> bool {
        self.code <= 0
    }

    /// `si_pid`, where there is one.
    pub const fn pid(&self) -> u32 {
        self.fields[0] as u32
    }

    /// Writes all 128 bytes of a program's `siginfo_t`.
    pub fn write(&self, to: VirtAddr) -> Result<(), Efault> {
        uaccess::write_user(to, *self)?;
        let rest = to.checked_add(size_of::<Self>() as u64).ok_or(Efault)?;
        uaccess::clear_user(rest, SIGINFO_SIZE - size_of::<Self>())
    }
}
