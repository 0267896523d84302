//! /proc/PID/fd, fdinfo and task: directories whose names are numbers (Linux: `fs/proc/fd.c`).

use super::{Node, Target, Text, parse_number};
use crate::errno::{Errno, Result};
use crate::fs::inode::DirEntry;
use crate::fs::types::FileKind;
use crate::process::Tasklist;
use crate::show;

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Listing {
    /// `fd`: links to what is open.
    Fd,
    /// `fdinfo`: positions and flags.
    FdInfo,
    /// `task`: threads.
    Tasks,
}

/// `number` in decimal.
pub(super) fn decimal(number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &digits[at..];
        }
    }
}

/// What `name` is in such a directory.
///
/// # Errors
/// `ESRCH`, `EACCES`.
pub(super) fn find(target: &Target, what: Listing, name: &[u8]) -> Result<Option<Node>> {
    let Some(number) = parse_number(name) else { return Ok(None) };
    if what == Listing::Tasks {
        return Ok(target.thread(number).map(Node::Process));
    }
    let Ok(fd) = i32::try_from(number) else { return Ok(None) };
    if target.files().map_err(|_| Errno::ENOENT)?.get_any(fd).is_err() {
        return Ok(None);
    }
    let target = target.clone();
    Ok(Some(if what == Listing::Fd { Node::Fd(target, fd) } else { Node::FdInfo(target, fd) }))
}

/// Hands the numbers from position `pos` on, 2 being number 0, to `emit`.
///
/// # Errors
/// `ENOENT` when the process is gone.
pub(super) fn read(
    target: &Target,
    what: Listing,
    pos: u64,
    emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
) -> Result<()> {
    let mut digits = [0; 10];
    let from = usize::try_from(pos.saturating_sub(2)).unwrap_or(usize::MAX);
    if what == Listing::Tasks {
        let mut tid = from as u32;
        while let Some(next) = next_thread(target, tid) {
            let thread = Target { process: target.process.clone(), tid: next, is_thread: true };
            let name = decimal(next, &mut digits);
            tid = next + 1;
            let next = u64::from(tid) + 2;
            if !emit(DirEntry { name, ino: thread.ino(0), kind: FileKind::Directory, next }) {
                break;
            }
        }
        return Ok(());
    }
    let files = target.files().map_err(|_| Errno::ENOENT)?;
    let mut at = from;
    while let Some((fd, _)) = files.next(at) {
        at = fd + 1;
        let slot = 0x1000 + 2 * fd as u64 + u64::from(what == Listing::FdInfo);
        let kind = if what == Listing::Fd { FileKind::Symlink } else { FileKind::Regular };
        let name = decimal(fd as u32, &mut digits);
        if !emit(DirEntry { name, ino: target.ino(slot), kind, next: at as u64 + 2 }) {
            break;
        }
    }
    Ok(())
}

/// The smallest number of a thread of the process that is at least `from`.
fn next_thread(target: &Target, from: u32) -> Option<u32> {
    let _tree = Tasklist::lock();
    let group = target.process.group();
    let numbers = group.threads.iter().filter_map(|task| task.user.as_ref().map(|thread| thread.tid()));
    numbers.filter(|&tid| tid >= from).min()
}

/// The permissions of a link in `fd`: how the file is open.
pub(super) fn link_mode(target: &Target, fd: i32) -> u32 {
    let Ok(file) = target.files().and_then(|files| files.get_any(fd)) else { return 0o500 };
    0o100 | if file.can_read() { 0o400 } else { 0 } | if file.can_write() { 0o200 } else { 0 }
}

/// The text of a file in `fdinfo`.
///
/// # Errors
/// `ENOENT` when it was closed.
pub(super) fn show_info(target: &Target, fd: i32, text: &mut Text) -> Result<()> {
    target.may_look()?;
    let files = target.files()?;
    let file = files.get_any(fd).map_err(|_| Errno::ENOENT)?;
    let cloexec = if files.cloexec(fd).unwrap_or(false) { crate::fs::types::oflag::O_CLOEXEC } else { 0 };
    let pos = file.pos.try_lock().map_or(0, |pos| *pos);
    show!(text, "pos:\t{pos}\nflags:\t0{:o}\n", file.flags() | cloexec);
    show!(text, "mnt_id:\t{}\nino:\t{}\n", file.path.mount.id, file.inode().ino);
    file.ops().show_fdinfo(text).map_err(|_| Errno::ENOMEM)
}
