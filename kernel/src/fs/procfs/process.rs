//! The directories of processes and threads, and who may look into them (Linux: `fs/proc/base.c`).

use rux_mm::slab::KArc;

use super::{FIRST_PROCESS, Text, fd, maps, status};
use crate::errno::{Errno, Result};
use crate::fs::context::FsContext;
use crate::fs::current;
use crate::fs::inode::DirEntry;
use crate::fs::mount::{Path, global_root};
use crate::fs::table::FileTable;
use crate::fs::types::FileKind;
use crate::process::{Caps, ExitState, Process, Tasklist, Thread, pid};
use crate::task::Task;

/// A process, or one of its threads.
#[derive(Clone)]
pub(super) struct Target {
    /// The process.
    pub(super) process: KArc<Process>,
    /// The number of the thread; the process' own for /proc/PID.
    pub(super) tid: u32,
    /// Below /proc/PID/task: what it tells is of the thread alone.
    pub(super) is_thread: bool,
}

/// What a write to a file of a process does.
type Write = fn(&Target, &[u8]) -> Result<()>;

/// A name in such a directory.
pub(super) enum TaskEntry {
    /// A file. `private`: to be opened only by who could trace the process.
    File {
        name: &'static str,
        mode: u32,
        private: bool,
        show: fn(&Target, &mut Text) -> Result<()>,
        write: Option<Write>,
    },
    /// A link to a place.
    Link { name: &'static str, place: fn(&Target) -> Result<Path> },
    /// A directory.
    Dir { name: &'static str, mode: u32, what: fd::Listing },
}

const fn file(name: &'static str, show: fn(&Target, &mut Text) -> Result<()>) -> TaskEntry {
    TaskEntry::File { name, mode: 0o444, private: false, show, write: None }
}

static ENTRIES: &[TaskEntry] = &[
    TaskEntry::Dir { name: "task", mode: 0o555, what: fd::Listing::Tasks },
    TaskEntry::Dir { name: "fd", mode: 0o500, what: fd::Listing::Fd },
    TaskEntry::Dir { name: "fdinfo", mode: 0o555, what: fd::Listing::FdInfo },
    TaskEntry::File { name: "environ", mode: 0o400, private: true, show: status::environ, write: None },
    file("status", status::status),
    file("limits", status::limits),
    TaskEntry::File {
        name: "comm",
        mode: 0o644,
        private: false,
        show: status::comm,
        write: Some(status::set_comm),
    },
    file("cmdline", status::cmdline),
    file("stat", status::stat),
    file("statm", status::statm),
    file("maps", maps::maps),
    file("smaps", maps::smaps),
    file("smaps_rollup", maps::smaps_rollup),
    TaskEntry::Link { name: "cwd", place: |target| Ok(target.fs()?.cwd()) },
    TaskEntry::Link { name: "root", place: |target| Ok(target.fs()?.root()) },
    TaskEntry::Link { name: "exe", place: exe },
    file("mounts", status::mounts),
    file("mountinfo", status::mountinfo),
    file("oom_score", status::oom_score),
    TaskEntry::File {
        name: "oom_score_adj",
        mode: 0o644,
        private: false,
        show: status::oom_score_adj,
        write: Some(status::set_oom_score_adj),
    },
];

fn exe(target: &Target) -> Result<Path> {
    Ok(target.process.exe().ok_or(Errno::ENOENT)?.path.clone())
}

impl TaskEntry {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::File { name, .. } | Self::Link { name, .. } | Self::Dir { name, .. } => name,
        }
    }

    pub(super) const fn kind(&self) -> FileKind {
        match self {
            Self::File { .. } => FileKind::Regular,
            Self::Link { .. } => FileKind::Symlink,
            Self::Dir { .. } => FileKind::Directory,
        }
    }

    pub(super) const fn mode(&self) -> u32 {
        match self {
            Self::File { mode, .. } | Self::Dir { mode, .. } => *mode,
            Self::Link { .. } => 0o777,
        }
    }

    /// Its place in the table, from 1 on.
    pub(super) fn number(&self) -> u64 {
        let at = ENTRIES.iter().position(|entry| core::ptr::eq(entry, self));
        at.map_or(0, |at| at as u64 + 1)
    }
}

impl Target {
    /// The process with number `nr`, or the one whose thread has it: not listed, but found, as on Linux.
    pub(super) fn process(nr: u32) -> Option<Self> {
        if let Some(process) = pid::find_process(nr) {
            return Some(Self { process, tid: nr, is_thread: false });
        }
        let task = pid::find_task(nr)?;
        let process = task.user.as_ref()?.process().clone();
        Some(Self { process, tid: nr, is_thread: false })
    }

    /// The thread `tid` of this process.
    pub(super) fn thread(&self, tid: u32) -> Option<Self> {
        let target = Self { process: self.process.clone(), tid, is_thread: true };
        let task = pid::find_task(tid)?;
        let ours = task.user.as_ref().is_some_and(|thread| KArc::ptr_eq(thread.process(), &self.process));
        ours.then_some(target)
    }

    /// An inode number for what is at `slot` of its directory.
    pub(super) fn ino(&self, slot: u64) -> u64 {
        1 << 48 | u64::from(self.is_thread) << 47 | u64::from(self.tid) << 24 | slot & 0xff_ffff
    }

    /// Calls `f` with the thread; that of the process is its leader, or another if the leader is gone.
    ///
    /// # Errors
    /// `ESRCH`.
    pub(super) fn with_thread<R>(&self, f: impl FnOnce(&Task, &Thread) -> Result<R>) -> Result<R> {
        let task = match pid::find_task(self.tid) {
            Some(task) => task,
            None if self.is_thread => return Err(Errno::ESRCH),
            None => {
                let group = self.process.group();
                let first = group.threads.first().ok_or(Errno::ESRCH)?;
                group.threads.hold(first).ok_or(Errno::ESRCH)?
            }
        };
        let thread = task.user.as_ref().ok_or(Errno::ESRCH)?;
        f(&task, thread)
    }

    /// Its descriptors.
    ///
    /// # Errors
    /// `ESRCH` when it is ending.
    pub(super) fn files(&self) -> Result<KArc<FileTable>> {
        self.with_thread(|_, thread| thread.files())
    }

    /// Its place in the tree.
    ///
    /// # Errors
    /// `ESRCH` when it is ending.
    pub(super) fn fs(&self) -> Result<KArc<FsContext>> {
        self.with_thread(|_, thread| thread.fs())
    }

    /// Whether it was reaped.
    pub(super) fn is_gone(&self) -> bool {
        let tasklist = Tasklist::lock();
        self.process.tree.get(&tasklist).exit_state == ExitState::Dead
    }

    /// Whose its files are: the process' effective user's; the directories' that, too. Root's if others may
    /// not look into the process (Linux: `task_dump_owner`).
    pub(super) fn owner(&self, kind: FileKind) -> (u32, u32) {
        let dumpable = self.process.dumpable.load(core::sync::atomic::Ordering::Relaxed) == 1;
        if !dumpable && kind != FileKind::Directory {
            return (0, 0);
        }
        let cred = self.process.cred();
        (cred.euid, cred.egid)
    }

    /// Whether the caller may look into the process: it is its own, it acts for the same user, or it has
    /// the right to trace (Linux: `ptrace_may_access`).
    ///
    /// # Errors
    /// `EACCES`.
    pub(super) fn may_look(&self) -> Result<()> {
        if current::pid() == self.process.pid() {
            return Ok(());
        }
        let (own, other) = (current::cred()?, self.process.cred());
        let same = [other.uid, other.euid, other.suid].iter().all(|&uid| uid == own.fsuid)
            && [other.gid, other.egid, other.sgid].iter().all(|&gid| gid == own.fsgid);
        let dumpable = self.process.dumpable.load(core::sync::atomic::Ordering::Relaxed) == 1;
        let allowed = same && dumpable && own.permitted.contains(other.permitted);
        if allowed || own.capable(Caps::SYS_PTRACE) { Ok(()) } else { Err(Errno::EACCES) }
    }
}

/// The entry `name` of a directory of a process or thread.
pub(super) fn find(target: &Target, name: &[u8]) -> Option<&'static TaskEntry> {
    if target.is_gone() {
        return None;
    }
    let entry = ENTRIES.iter().find(|entry| entry.name().as_bytes() == name)?;
    // Threads of threads there are none.
    let nested = target.is_thread && matches!(entry, TaskEntry::Dir { what: fd::Listing::Tasks, .. });
    (!nested).then_some(entry)
}

/// Hands the names of such a directory to `emit`.
pub(super) fn read_entries(target: &Target, pos: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) {
    for (n, entry) in ENTRIES.iter().enumerate().skip(pos.saturating_sub(2) as usize) {
        if find(target, entry.name().as_bytes()).is_none() {
            continue;
        }
        let name = entry.name().as_bytes();
        let ino = target.ino(n as u64 + 1);
        if !emit(DirEntry { name, ino, kind: entry.kind(), next: n as u64 + 3 }) {
            return;
        }
    }
}

/// Hands the processes from number `from` on to `emit`.
pub(super) fn read_processes(from: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
    let mut nr = u32::try_from(from).unwrap_or(u32::MAX);
    while let Some(next) = pid::next(nr) {
        nr = next.nr() + 1;
        let process = next.named(&Tasklist::lock()).process.clone();
        let Some(process) = process else { continue };
        let target = Target { process, tid: next.nr(), is_thread: false };
        let mut digits = [0; 10];
        let name = fd::decimal(next.nr(), &mut digits);
        let entry = DirEntry {
            name,
            ino: target.ino(0),
            kind: FileKind::Directory,
            next: FIRST_PROCESS + u64::from(nr),
        };
        if !emit(entry) {
            break;
        }
    }
    Ok(())
}

/// The root directory that paths of a process are shown from.
pub(super) fn root_of(target: &Target) -> Path {
    target.fs().map_or_else(|_| global_root().clone(), |fs| fs.root())
}

/// How many threads a process has.
pub(super) fn thread_count(process: &Process) -> usize {
    process.group().threads.iter().count()
}

/// The terminal and the foreground group of a process, as its `stat` shows them.
pub(super) fn terminal(process: &Process) -> (i64, i64) {
    let (_, session) = process.pgrp_and_session();
    crate::fs::tty::of_session(session).map_or((0, -1), |(dev, pgrp)| (i64::from(dev), i64::from(pgrp)))
}

/// Parent, group, session.
pub(super) fn relations(process: &Process) -> (u32, u32, u32) {
    let (pgrp, session) = process.pgrp_and_session();
    (process.parent_pid(), pgrp, session)
}
