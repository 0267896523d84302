//! Reading and writing the running program's memory (Linux: `include/linux/uaccess.h`).
//!
//! Every range is checked against the end of user space, and a fault at any byte ends the copy with
//! [`Efault`]. The copy may sleep (the page may have to be brought in): never call with a spinlock
//! held or pre-emption off, but for the `nofault` form.

mod copy;

use core::mem::MaybeUninit;

use rux_machine::PreemptGuard;
use rux_mm::addr::{PAGE_SIZE, VirtAddr};
pub use rux_mm::fault::Access;

pub(crate) use copy::fixup;

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

/// Whether `bytes` from `addr` on are all below the end of user space, whether mapped or not
/// (Linux: `access_ok`).
#[inline]
pub fn access_ok(addr: VirtAddr, bytes: usize) -> bool {
    let end = rux_mm::paging::mode().user_end().get();
    bytes as u64 <= end && addr.get() <= end - bytes as u64
}

/// Copies user memory at `src` to all of `dst`.
///
/// # Errors
/// A byte cannot be read; `dst` may be written in part.
#[inline]
pub fn copy_from_user(dst: &mut [u8], src: VirtAddr) -> Result<(), Efault> {
    if copy_from_user_partial(dst, src) == dst.len() { Ok(()) } else { Err(Efault) }
}

/// Copies all of `src` to user memory at `dst`.
///
/// # Errors
/// A byte cannot be written; those before it may be.
#[inline]
pub fn copy_to_user(dst: VirtAddr, src: &[u8]) -> Result<(), Efault> {
    if copy_to_user_partial(dst, src) == src.len() { Ok(()) } else { Err(Efault) }
}

/// As [`copy_from_user`], and says how many bytes were copied before a fault; `read` and `write` return
/// that much.
pub fn copy_from_user_partial(dst: &mut [u8], src: VirtAddr) -> usize {
    if !access_ok(src, dst.len()) {
        return 0;
    }
    // SAFETY: `dst` is ours and the rest is in user space.
    dst.len() - unsafe { copy::_user_copy(dst.as_mut_ptr(), src.get() as *const u8, dst.len()) }
}

/// As [`copy_to_user`], and says how many bytes were copied before a fault.
pub fn copy_to_user_partial(dst: VirtAddr, src: &[u8]) -> usize {
    if !access_ok(dst, src.len()) {
        return 0;
    }
    // SAFETY: `src` is ours and the rest is in user space.
    src.len() - unsafe { copy::_user_copy(dst.get() as *mut u8, src.as_ptr(), src.len()) }
}

/// Reads one value at `src`, which need not be aligned.
///
/// # Errors
/// A byte cannot be read.
pub fn read_user<T: Plain>(src: VirtAddr) -> Result<T, Efault> {
    if !access_ok(src, size_of::<T>()) {
        return Err(Efault);
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: there is room for the value, and the rest is in user space.
    let left = unsafe { copy::_user_copy(value.as_mut_ptr().cast(), src.get() as *const u8, size_of::<T>()) };
    if left != 0 {
        return Err(Efault);
    }
    // SAFETY: all bytes were written, and any bytes make a value.
    Ok(unsafe { value.assume_init() })
}

/// Writes one value to `dst`, which need not be aligned.
///
/// # Errors
/// A byte cannot be written; those before it may be.
pub fn write_user<T: Plain>(dst: VirtAddr, value: T) -> Result<(), Efault> {
    // SAFETY: a plain value has no padding, so all of its bytes are initialised.
    let bytes = unsafe { core::slice::from_raw_parts((&raw const value).cast::<u8>(), size_of::<T>()) };
    copy_to_user(dst, bytes)
}

/// Zeroes `bytes` of user memory from `dst` on.
///
/// # Errors
/// A byte cannot be written; those before it may be.
pub fn clear_user(dst: VirtAddr, bytes: usize) -> Result<(), Efault> {
    if !access_ok(dst, bytes) {
        return Err(Efault);
    }
    // SAFETY: the range is in user space.
    if unsafe { copy::_user_clear(dst.get() as *mut u8, bytes) } == 0 { Ok(()) } else { Err(Efault) }
}

/// Copies the string at `src` up to its NUL, which is not copied, into `dst`; says how long it is.
/// A string that does not fit fills `dst` and returns `dst.len()`.
///
/// # Errors
/// A byte before the NUL cannot be read.
pub fn strncpy_from_user(dst: &mut [u8], src: VirtAddr) -> Result<usize, Efault> {
    let mut done = 0;
    while done < dst.len() {
        let at = src.checked_add(done as u64).ok_or(Efault)?;
        // Up to the page's end: what is beyond the NUL need not be readable.
        let part = (PAGE_SIZE - at.page_offset()).min(dst.len() - done).min(256);
        let got = copy_from_user_partial(&mut dst[done..done + part], at);
        if let Some(end) = dst[done..done + got].iter().position(|&byte| byte == 0) {
            return Ok(done + end);
        }
        if got < part {
            return Err(Efault);
        }
        done += part;
    }
    Ok(done)
}

/// Reads one value without faulting a page in: for callers that hold a spinlock
/// (Linux: `get_user` under `pagefault_disable`).
///
/// # Errors
/// A byte cannot be read as things are.
pub fn read_user_nofault<T: Plain>(src: VirtAddr) -> Result<T, Efault> {
    // With pre-emption off the fault handler goes to the fix-up at once.
    let _off = PreemptGuard::new();
    read_user(src)
}

/// Compares and exchanges the aligned word at `addr` without faulting a page in; returns what was there
/// (Linux: `futex_cmpxchg_value_locked`).
///
/// # Errors
/// The word cannot be written as things are.
pub fn cmpxchg_user_nofault(addr: VirtAddr, old: u32, new: u32) -> Result<u32, Efault> {
    if !addr.is_aligned(4) || !access_ok(addr, 4) {
        return Err(Efault);
    }
    let _off = PreemptGuard::new();
    let mut found = 0;
    // SAFETY: the word is aligned and in user space.
    match unsafe { copy::_user_cmpxchg(addr.get() as *mut u32, old, new, &raw mut found) } {
        0 => Ok(found),
        _ => Err(Efault),
    }
}

/// Brings in the page at `addr`, for `access`, after a `nofault` form failed
/// (Linux: `fault_in_user_writeable`).
///
/// # Errors
/// The page cannot be had.
pub fn fault_in(addr: VirtAddr, access: Access) -> Result<(), Efault> {
    if !access_ok(addr, 1) {
        return Err(Efault);
    }
    crate::trap::fault_in(addr, access)
}
