//! How far a write may go: `RLIMIT_FSIZE` and the largest file (Linux: `generic_write_checks`).

use super::current;
use super::iobuf::IoBuf;
use crate::errno::{Errno, Result};

/// Cuts a write at `pos` to what is allowed.
///
/// # Errors
/// `EFBIG` when that is nothing; past the limit of the process it gets a SIGXFSZ too.
pub fn clip_write(buf: &mut IoBuf<'_>, pos: u64, largest: u64) -> Result<()> {
    let limit = current::file_size_limit();
    if pos >= limit {
        current::send_sigxfsz();
        return Err(Errno::EFBIG);
    }
    if pos >= largest {
        return Err(Errno::EFBIG);
    }
    buf.truncate(usize::try_from(limit.min(largest) - pos).unwrap_or(usize::MAX));
    Ok(())
}

/// Whether a file may be made `size` bytes long (Linux: `inode_newsize_ok`).
///
/// # Errors
/// As for [`clip_write`].
pub fn check_size(size: u64, old: u64) -> Result<()> {
    if size > old && size > current::file_size_limit() {
        current::send_sigxfsz();
        return Err(Errno::EFBIG);
    }
    Ok(())
}
