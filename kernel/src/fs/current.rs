//! What the file system asks of the running thread: who it acts for, its files, its limits.

use rux_mm::gfp::Gfp;
use rux_mm::slab::KArc;

use super::context::FsContext;
use super::namei::Caller;
use super::table::FileTable;
use crate::errno::Result;
use crate::process::{self, Caps, Cred, Resource};
use crate::signal::{self, SigInfo, Signal};
use crate::task;

/// Who the running thread is to the file system, held for the time of a system call.
pub struct Who {
    /// Root and working directory.
    pub fs: KArc<FsContext>,
    /// Descriptors.
    pub files: KArc<FileTable>,
    /// Permissions.
    pub cred: KArc<Cred>,
}

impl Who {
    /// As walks want it.
    pub fn get(&self) -> Caller<'_> {
        Caller { fs: &self.fs, files: &self.files, cred: &self.cred }
    }
}

/// Who the running thread is.
///
/// # Errors
/// `ESRCH` in a kernel thread, or on its way out.
pub fn caller() -> Result<Who> {
    Ok(Who { fs: fs()?, files: files()?, cred: cred()? })
}

/// Whom the thread acts for.
///
/// # Errors
/// As for [`caller`].
pub fn cred() -> Result<KArc<Cred>> {
    Ok(process::current()?.cred())
}

/// `cred` with the real ids in place of the effective ones (access(2)).
///
/// # Errors
/// `ENOMEM`.
pub fn real_cred(cred: &Cred) -> Result<KArc<Cred>> {
    let mut real = cred.clone();
    (real.fsuid, real.fsgid) = (real.uid, real.gid);
    real.effective = if real.uid == 0 { real.permitted } else { Caps::empty() };
    Ok(KArc::new(real, Gfp::KERNEL)?)
}

/// Its descriptors.
///
/// # Errors
/// As for [`caller`].
pub fn files() -> Result<KArc<FileTable>> {
    process::current()?.files()
}

/// Gives the thread other descriptors.
///
/// # Errors
/// As for [`caller`].
pub fn set_files(files: KArc<FileTable>) -> Result<()> {
    process::current()?.set_files(Some(files));
    Ok(())
}

/// Its place in the tree.
///
/// # Errors
/// As for [`caller`].
pub fn fs() -> Result<KArc<FsContext>> {
    process::current()?.fs()
}

/// The number of its process; 0 for a kernel thread.
pub fn pid() -> u32 {
    process::current().map_or(0, |thread| thread.process().pid())
}

/// Its own number; 0 for a kernel thread.
pub fn tid() -> u32 {
    process::current().map_or(0, |thread| thread.tid())
}

fn soft_limit(resource: Resource) -> u64 {
    process::current().map_or(u64::MAX, |thread| thread.process().limit(resource).soft)
}

/// One past the last byte that its process may write in a file (`RLIMIT_FSIZE`).
pub fn file_size_limit() -> u64 {
    soft_limit(Resource::FSIZE)
}

/// One past the largest descriptor that its process may have (`RLIMIT_NOFILE`).
pub fn descriptor_limit() -> u64 {
    soft_limit(Resource::NOFILE)
}

fn send(signal: Signal) {
    // A signal that is marked already is marked.
    let _marked = signal::send_thread(task::current(), SigInfo::from_kernel(signal));
}

/// A write to a pipe that nobody reads.
pub fn send_sigpipe() {
    send(Signal::PIPE);
}

/// A write beyond [`file_size_limit`].
pub fn send_sigxfsz() {
    send(Signal::XFSZ);
}

/// Whether a signal waits for the thread.
pub fn signal_pending() -> bool {
    task::current().signal_pending()
}

/// Whether the thread is to end: long work need not go on.
pub fn is_killed() -> bool {
    task::current().fatal_pending()
}

/// Whether the thread blocks `signal` or its process ignores it (Linux: `is_ignored`).
pub fn keeps_off(signal: Signal) -> bool {
    process::current().is_ok_and(|thread| {
        thread.signals.blocked().contains(signal)
            || thread.process().group().actions.get(signal).ignores(signal)
    })
}
