//! What the file system asks of the running thread: who it acts for, its files, its limits.

use rux_mm::slab::KArc;

use super::context::FsContext;
use super::table::FileTable;
use crate::process::cred::Cred;

/// Whom the thread acts for.
pub fn cred() -> KArc<Cred> {
    unimplemented!()
}

/// Its descriptors.
pub fn files() -> KArc<FileTable> {
    unimplemented!()
}

/// Its place in the tree.
pub fn fs() -> KArc<FsContext> {
    unimplemented!()
}

/// One past the last byte that its process may write in a file (`RLIMIT_FSIZE`).
pub fn file_size_limit() -> u64 {
    unimplemented!()
}

/// One past the largest descriptor that its process may have (`RLIMIT_NOFILE`).
pub fn descriptor_limit() -> u64 {
    unimplemented!()
}

/// A write to a pipe that nobody reads.
pub fn send_sigpipe() {
    unimplemented!()
}

/// A write beyond [`file_size_limit`].
pub fn send_sigxfsz() {
    unimplemented!()
}

/// Whether a signal waits for the thread.
pub fn signal_pending() -> bool {
    crate::task::current().signal_pending()
}
