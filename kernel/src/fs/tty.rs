//! Terminals.

use rux_mm::slab::KBox;

use super::file::FileOps;
use super::types::Dev;
use crate::errno::Result;

/// What serves an open terminal.
///
/// # Errors
/// `ENXIO`, `EIO`.
pub fn open(_dev: Dev, _flags: u32) -> Result<KBox<dyn FileOps>> {
    unimplemented!()
}

/// The session `sid` loses its leader: its terminal is nobody's any more, and its foreground group gets
/// SIGHUP and SIGCONT (Linux: `disassociate_ctty`).
pub fn session_ends(_sid: u32) {
    unimplemented!()
}

/// The device number of the session's terminal, as /proc/PID/stat shows it, and its foreground group;
/// `None` without a terminal.
pub fn of_session(_sid: u32) -> Option<(u32, u32)> {
    unimplemented!()
}
