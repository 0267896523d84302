//! Reading and writing the running program's memory (Linux: `include/linux/uaccess.h`).
//!
//! Every range is checked against the end of user space, and a fault at any byte ends the copy with
//! [`Efault`]. The copy may sleep (the page may have to be brought in): never call with a spinlock
//! held or pre-emption off, but for the `nofault` form.

use rux_mm::addr::VirtAddr;

/// A user address that cannot be read or written (`EFAULT`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Efault;

/// Types that any bytes make a valid value of, and whose bytes may all be shown to a program.
///
/// # Safety
/// No padding, no invalid bit pattern, no pointer that the kernel would follow.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($t:ty),*) => { $(
        // SAFETY: integers have neither padding nor invalid values.
        unsafe impl Plain for $t {}
    )* };
}
plain!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);
// SAFETY: an array of plain values is plain.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Copies user memory at `src` to all of `dst`.
pub fn copy_from_user(_dst: &mut [u8], _src: VirtAddr) -> Result<(), Efault> {
    unimplemented!()
}

/// Copies all of `src` to user memory at `dst`.
pub fn copy_to_user(_dst: VirtAddr, _src: &[u8]) -> Result<(), Efault> {
    unimplemented!()
}

/// As [`copy_from_user`], and says how many bytes were copied before a fault; `read` and `write` return
/// that much.
pub fn copy_from_user_partial(_dst: &mut [u8], _src: VirtAddr) -> usize {
    unimplemented!()
}

/// As [`copy_to_user`], and says how many bytes were copied before a fault.
pub fn copy_to_user_partial(_dst: VirtAddr, _src: &[u8]) -> usize {
    unimplemented!()
}

/// Reads one value at `src`, which need not be aligned.
pub fn read_user<T: Plain>(_src: VirtAddr) -> Result<T, Efault> {
    unimplemented!()
}

/// Writes one value to `dst`, which need not be aligned.
pub fn write_user<T: Plain>(_dst: VirtAddr, _value: T) -> Result<(), Efault> {
    unimplemented!()
}

/// Zeroes `bytes` of user memory from `dst` on.
pub fn clear_user(_dst: VirtAddr, _bytes: usize) -> Result<(), Efault> {
    unimplemented!()
}

/// Copies the string at `src` up to its NUL, which is not copied, into `dst`; says how long it is.
/// A string that does not fit fills `dst` and returns `dst.len()`.
pub fn strncpy_from_user(_dst: &mut [u8], _src: VirtAddr) -> Result<usize, Efault> {
    unimplemented!()
}

/// Reads one value without faulting a page in: for callers that hold a spinlock
/// (Linux: `get_user` under `pagefault_disable`).
pub fn read_user_nofault<T: Plain>(_src: VirtAddr) -> Result<T, Efault> {
    unimplemented!()
}

/// Compares and exchanges the aligned word at `addr` without faulting a page in; returns what was there
/// (Linux: `futex_cmpxchg_value_locked`).
pub fn cmpxchg_user_nofault(_addr: VirtAddr, _old: u32, _new: u32) -> Result<u32, Efault> {
    unimplemented!()
}

/// Brings in the page at `addr`, for a write if `write`, after a `nofault` form failed
/// (Linux: `fault_in_user_writeable`).
pub fn fault_in(_addr: VirtAddr, _write: bool) -> Result<(), Efault> {
    unimplemented!()
}
