//! The names of the kernel's functions, for backtraces (Linux: kallsyms).
//!
//! `cargo xtask` writes the table into the finished image: it fills `TABLE`, which is otherwise empty, from
//! the image's own symbols. Format: `u32` count; then for each symbol, sorted, `u32` distance from the image's
//! start and `u32` place of its name, from the table's start; then the names, each a `u16` length
//! and demangled text. All little-endian.

use core::fmt;

/// Room for the table; the last functions are left out if they do not fit.
const SIZE: usize = 512 << 10;

/// Found by `cargo xtask` through its section's name.
#[repr(align(8))]
struct Table([u8; SIZE]);

#[used]
#[unsafe(link_section = ".symbols")]
static TABLE: Table = Table([0; SIZE]);

unsafe extern "C" {
    static _image_start: u8;
    static _text_end: u8;
}

fn image() -> core::ops::Range<usize> {
    (&raw const _image_start).addr()..(&raw const _text_end).addr()
}

fn byte_range(at: usize, len: usize) -> Option<&'static [u8]> {
    // Volatile, since the compiler knows the table as zeroes.
    let table = core::hint::black_box(&TABLE);
    table.0.get(at..at.checked_add(len)?)
}

fn number(at: usize) -> Option<usize> {
    let bytes = byte_range(at, 4)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
}

/// The name of the function that `pc` is in, and how far it is into it.
pub fn lookup(pc: usize) -> Option<(&'static str, usize)> {
    let image = image();
    if !image.contains(&pc) {
        return None;
    }
    let offset = pc - image.start;
    let count = number(0)?;
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = (low + high) / 2;
        if number(4 + 8 * middle)? <= offset {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let entry = 4 + 8 * low.checked_sub(1)?;
    let name = number(entry + 4)?;
    let len = byte_range(name, 2)?;
    let len = usize::from(u16::from_le_bytes([len[0], len[1]]));
    let text = core::str::from_utf8(byte_range(name + 2, len)?).ok()?;
    Some((text, offset - number(entry)?))
}

/// Whether `value` is the address behind a call.
pub(crate) fn is_return_address(value: usize) -> bool {
    let image = image();
    if !value.is_multiple_of(2) || value < image.start + 4 || value >= image.end {
        return false;
    }
    // SAFETY: within the image's text.
    let half = |at: usize| unsafe { (at as *const u16).read() };
    let long = u32::from(half(value - 4)) | u32::from(half(value - 2)) << 16;
    // `jal ra` and `jalr ra`.
    let call = long & 0xfff == 0x0ef || long & 0xf_ffff & 0x7fff == 0x00e7;
    // `c.jalr`.
    let short = half(value - 2);
    call || short & 0xf07f == 0x9002 && short & 0x0f80 != 0
}

/// Fills `callers` with where the running function's callers go on, innermost first, as far as the frame pointers
/// lead; says how many.
#[inline(never)]
pub(crate) fn callers(callers: &mut [usize]) -> usize {
    let (low, high) = crate::task::current().stack_bounds();
    let mut fp: usize;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mv {}, fp", out(reg) fp, options(nomem, nostack, preserves_flags)) };
    let mut count = 0;
    while count < callers.len() && (low + 16..=high).contains(&fp) && fp.is_multiple_of(16) {
        let word = |at: usize| {
            // SAFETY: on the running thread's stack, in the part that is in use.
            unsafe { (at as *const usize).read_volatile() }
        };
        // A frame record: the return address below the frame pointer, and the caller's below that.
        let (caller, next) = (word(fp - 8), word(fp - 16));
        if !image().contains(&caller) {
            break;
        }
        callers[count] = caller;
        count += 1;
        if next <= fp {
            break;
        }
        fp = next;
    }
    count
}

/// Shows where a return address returns to: the call before it tells the function, as one that never returns
/// may be the last of its function.
pub(crate) struct Caller(pub(crate) usize);

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match lookup(self.0.wrapping_sub(1)) {
            Some((name, offset)) => write!(f, "{:#x} {name}+{:#x}", self.0, offset + 1),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// Shows an address of the kernel's text with its function.
pub struct Symbol(pub usize);

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match lookup(self.0) {
            Some((name, offset)) => write!(f, "{:#x} {name}+{offset:#x}", self.0),
            None => write!(f, "{:#x}", self.0),
        }
    }
}
