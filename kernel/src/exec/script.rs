//! Programs that begin with `#!` (Linux: `fs/binfmt_script.c`).

use super::HEAD_SIZE;
use crate::errno::{Errno, Result};

/// The interpreter that a script names, and the one argument that may follow.
pub(super) struct Line<'a> {
    pub(super) interpreter: &'a [u8],
    pub(super) argument: Option<&'a [u8]>,
}

const fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Parses the first line; `None` when the file is no script.
///
/// # Errors
/// `ENOEXEC` when there is no interpreter, or its name may be cut off.
pub(super) fn parse(head: &[u8; HEAD_SIZE]) -> Result<Option<Line<'_>>> {
    let Some(rest) = head.strip_prefix(b"#!") else { return Ok(None) };
    let (line, cut) = match rest.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&rest[..end], false),
        None => {
            let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
            (&rest[..end], end == rest.len())
        }
    };
    let line = trim(line);
    let end = line.iter().position(|byte| is_blank(byte) || *byte == 0);
    // Without a blank after it the name may go on beyond what was read.
    if line.is_empty() || cut && end.is_none() {
        return Err(Errno::ENOEXEC);
    }
    let (interpreter, rest) = line.split_at(end.unwrap_or(line.len()));
    let argument = trim(rest.split(|&byte| byte == 0).next().unwrap_or_default());
    Ok(Some(Line { interpreter, argument: (!argument.is_empty()).then_some(argument) }))
}

fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}
