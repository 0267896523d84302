//! The numbers that are written to files of /proc/sys (Linux: `do_proc_dointvec`, `proc_get_long`).

use crate::errno::{Errno, Result};

/// A number with so many characters, its sign and `0x` among them, is too long.
const TOO_LONG: usize = 21;

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Reads as many numbers as `values` has room for, decimal, hexadecimal after `0x` and octal after `0`. Those that come
/// before an error are stored. Says how many bytes it took, with the white space around, and how it ended; all are
/// taken when not even the first is a number.
///
/// # Errors
/// `EINVAL`: there is none, or one is followed by something else or does not fit an `int`.
pub(super) fn integers(text: &[u8], values: &mut [i32]) -> (usize, Result<()>) {
    let mut bytes = past_spaces(text);
    let (mut left, mut end) = (0, Err(Errno::EINVAL));
    for value in values {
        if bytes.is_empty() {
            break;
        }
        end = integer(bytes).map(|(number, rest)| {
            *value = number;
            bytes = past_spaces(rest);
            left = bytes.len();
        });
        if end.is_err() {
            break;
        }
    }
    (text.len() - left, end)
}

/// Hands the first number of `text` to `to`; says how many bytes it took.
///
/// # Errors
/// As [`integers`].
pub(super) fn integer_of(text: &[u8], to: impl FnOnce(i32)) -> Result<usize> {
    let mut value = [0];
    let (taken, end) = integers(text, &mut value);
    end?;
    to(value[0]);
    Ok(taken)
}

fn past_spaces(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_space(byte)).unwrap_or(bytes.len());
    &bytes[start..]
}

/// The number that `bytes` start with, and what is after it.
fn integer(bytes: &[u8]) -> Result<(i32, &[u8])> {
    let (negative, unsigned) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let (radix, digits) = match unsigned {
        [b'0', b'x' | b'X', rest @ ..] if rest.first().is_some_and(u8::is_ascii_hexdigit) => (16, rest),
        [b'0', ..] => (8, unsigned),
        _ => (10, unsigned),
    };
    let end = digits.iter().position(|&byte| !(byte as char).is_digit(radix)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let follows = rest.first().is_none_or(|byte| b" \t\n".contains(byte));
    if digits.is_empty() || bytes.len() - rest.len() >= TOO_LONG || !follows {
        return Err(Errno::EINVAL);
    }
    let digits = core::str::from_utf8(digits).map_err(|_| Errno::EINVAL)?;
    let size = i64::from_str_radix(digits, radix).map_err(|_| Errno::EINVAL)?;
    let number = i32::try_from(if negative { -size } else { size }).map_err(|_| Errno::EINVAL)?;
    Ok((number, rest))
}
