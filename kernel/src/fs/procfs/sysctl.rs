//! The numbers that are written to files of /proc/sys (Linux: `do_proc_dointvec`, `proc_get_long`).

use crate::errno::{Errno, Result};

/// The longest number, with its sign.
const LONGEST: usize = 21;

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Reads as many numbers as `values` has room for, decimal, hexadecimal after `0x` and octal after `0`. Those that come
/// before an error are stored.
///
/// # Errors
/// `EINVAL`: there is none, or one is followed by something else or does not fit an `int`.
pub(super) fn integers(mut bytes: &[u8], values: &mut [i32]) -> Result<()> {
    let mut found = false;
    for value in values {
        let start = bytes.iter().position(|byte| !is_space(byte)).unwrap_or(bytes.len());
        bytes = &bytes[start..];
        if bytes.is_empty() {
            break;
        }
        *value = integer(&mut bytes)?;
        found = true;
    }
    if found { Ok(()) } else { Err(Errno::EINVAL) }
}

fn integer(bytes: &mut &[u8]) -> Result<i32> {
    let all = *bytes;
    let (negative, unsigned) = match all {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, all),
    };
    let (radix, digits) = match unsigned {
        [b'0', b'x' | b'X', rest @ ..] if rest.first().is_some_and(u8::is_ascii_hexdigit) => (16, rest),
        [b'0', ..] => (8, unsigned),
        _ => (10, unsigned),
    };
    let end = digits.iter().position(|&byte| !(byte as char).is_digit(radix)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if digits.is_empty()
        || digits.len() > LONGEST
        || rest.first().is_some_and(|byte| !b" \t\n".contains(byte))
    {
        return Err(Errno::EINVAL);
    }
    let digits = core::str::from_utf8(digits).map_err(|_| Errno::EINVAL)?;
    let size = i64::from_str_radix(digits, radix).map_err(|_| Errno::EINVAL)?;
    *bytes = rest;
    i32::try_from(if negative { -size } else { size }).map_err(|_| Errno::EINVAL)
}
