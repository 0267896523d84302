//! Processes and their threads (Linux: `kernel/fork.c`, `kernel/exit.c`).
//!
//! | room | what |
//! |---|---|
//! | `thread` | what a user thread has beyond its [`Task`](crate::task::Task) |
//! | `group` | what the threads of a process share about signals, stops and the end |
//! | `tree`, `tasklist` | parents, children, process groups, sessions, and their lock |
//! | `pid`, `list` | numbers, and lists through elements |
//! | `fork`, `exit`, `wait`, `init` | how processes come and go |
//! | `cred`, `user`, `rlimit`, `usage` | for whom, how much, how long |
//!
//! A [`Process`] is a thread group: Linux's `signal_struct` with the process half of its leader's
//! `task_struct`. It outlives its threads until its parent has seen how it ended.

mod count;
pub mod cred;
mod exit;
mod fork;
mod group;
mod init;
mod list;
pub mod pid;
pub mod rlimit;
mod tasklist;
mod thread;
mod tree;
pub mod usage;
mod user;
pub mod wait;

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};

pub use count::{
    ThreadCount, max as max_threads, set_max as set_max_threads, started as threads_started, threads,
};
pub use cred::{Caps, Cred};
pub use exit::{exit_group, exit_thread, wait_status};
pub(crate) use exit::{finish_vfork, release_promises};
pub use fork::{CloneArgs, clone};
pub use group::{Group, Stop, StopNews};
pub use init::start_init;
pub use list::{Link, Linked, List};
pub use pid::Pid;
pub use rlimit::{Resource, Rlimit, Rlimits};
pub use tasklist::{Tasklist, UnderTasklist};
pub use thread::{Thread, ThreadParts, ThreadTag, VforkDone, current};
pub use tree::{ChildTag, ExitState, PgrpTag, Tree, TreeLinks, set_pgid, set_sid};
pub use user::User;

use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::slab::KArc;
use rux_mm::space::{KeptLimits, Limits, Space};
use rux_mm::sync::{IrqSpinGuard, IrqSpinLock, Rank};

use crate::fs::File;
use crate::signal::Actions;
use crate::timers::ProcessTimers;
use crate::wait::WaitQueue;

/// A process: threads that share a number, an address space and signal actions.
pub struct Process {
    pid: KArc<Pid>,
    /// Parent, children, group, session.
    pub tree: UnderTasklist<Tree>,
    links: TreeLinks,
    /// Threads, signals, stop and end.
    group: IrqSpinLock<Group>,
    /// The address space; `None` once the last thread is on its way out.
    space: IrqSpinLock<Option<KArc<Space>>>,
    /// The program file (`/proc/PID/exe`).
    exe: IrqSpinLock<Option<KArc<File>>>,
    limits: IrqSpinLock<Rlimits>,
    /// Those of them that the memory manager asks for often.
    memory_limits: KeptLimits,
    /// The credentials that others judge the process by: those of the thread that changed them last.
    cred: IrqSpinLock<KArc<Cred>>,
    /// Parents wait here for children.
    pub child_changed: WaitQueue,
    /// A thread waits here in exec for the others to be gone.
    pub resumed: WaitQueue,
    /// What ended threads and waited-for children used.
    pub usage: usage::Totals,
    /// Where the vDSO is in the address space; 0 for nowhere.
    pub vdso: AtomicU64,
    /// `setitimer` and `timer_create`.
    pub timers: ProcessTimers,
    /// Since boot, in nanoseconds.
    pub start_time: u64,
    /// The name of the thread that was the last, for as long as the process is a zombie.
    last_comm: IrqSpinLock<[u8; 16]>,
    parent_pid: AtomicU32,
    session_nr: AtomicU32,
    /// Adjustment of the OOM score, -1000 to 1000 (`/proc/PID/oom_score_adj`).
    pub oom_score_adj: AtomicI32,
    /// `PR_SET_DUMPABLE`.
    pub dumpable: AtomicU32,
    /// Set by exec: the parent may not change the process group any more.
    pub has_executed: AtomicBool,
    /// `PR_SET_CHILD_SUBREAPER`.
    pub is_subreaper: AtomicBool,
}

/// What a new process is made of.
struct ProcessParts<'a> {
    pid: KArc<Pid>,
    pgrp: KArc<Pid>,
    session: KArc<Pid>,
    exit_signal: Option<crate::signal::Signal>,
    actions: KArc<Actions>,
    space: KArc<Space>,
    exe: Option<KArc<File>>,
    limits: Rlimits,
    cred: KArc<Cred>,
    /// Whom it is like otherwise.
    like: Option<&'a Process>,
}

impl core::fmt::Debug for Process {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Process").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl Process {
    /// A process without threads, in nobody's list.
    fn new(parts: ProcessParts<'_>) -> core::result::Result<KArc<Self>, AllocError> {
        let like = parts.like;
        KArc::new_with(Gfp::KERNEL, || Self {
            pid: parts.pid,
            tree: UnderTasklist::new(Tree {
                parent: None,
                children: List::new(),
                session: parts.session,
                pgrp: parts.pgrp,
                exit_state: ExitState::Alive,
                exit_signal: parts.exit_signal,
                exec_id: 0,
                parent_exec_id: 0,
                exit_code: 0,
                count: None,
            }),
            links: TreeLinks::new(),
            group: IrqSpinLock::new(Rank::Signal, Group::new(parts.actions)),
            space: IrqSpinLock::new(Rank::ThreadField, Some(parts.space)),
            exe: IrqSpinLock::new(Rank::ThreadField, parts.exe),
            memory_limits: KeptLimits::new(parts.limits.of_memory(&parts.cred)),
            limits: IrqSpinLock::new(Rank::ThreadField, parts.limits),
            cred: IrqSpinLock::new(Rank::ThreadField, parts.cred),
            vdso: AtomicU64::new(like.map_or(0, |like| like.vdso.load(Relaxed))),
            child_changed: WaitQueue::new(),
            resumed: WaitQueue::new(),
            usage: usage::Totals::default(),
            timers: ProcessTimers::new(),
            start_time: crate::time::now(),
            last_comm: IrqSpinLock::new(Rank::ThreadField, [0; 16]),
            parent_pid: AtomicU32::new(0),
            session_nr: AtomicU32::new(0),
            oom_score_adj: AtomicI32::new(like.map_or(0, |like| like.oom_score_adj.load(Relaxed))),
            dumpable: AtomicU32::new(like.map_or(1, |like| like.dumpable.load(Relaxed))),
            has_executed: AtomicBool::new(false),
            is_subreaper: AtomicBool::new(false),
        })
    }

    /// The number (`getpid`).
    #[inline]
    pub fn pid(&self) -> u32 {
        self.pid.nr()
    }

    /// The number, to be kept.
    pub fn pid_ref(&self) -> &KArc<Pid> {
        &self.pid
    }

    /// The name that a zombie is shown with.
    pub fn last_comm(&self) -> [u8; 16] {
        *self.last_comm.lock()
    }

    /// The parent's number (`getppid`).
    #[inline]
    pub fn parent_pid(&self) -> u32 {
        self.parent_pid.load(Relaxed)
    }

    /// Threads, signals, stop and end, locked: interrupts are off.
    #[inline]
    pub fn group(&self) -> IrqSpinGuard<'_, Group> {
        self.group.lock()
    }

    /// The address space; `None` when the process is ending.
    pub fn space(&self) -> Option<KArc<Space>> {
        self.space.lock().clone()
    }

    /// The program file.
    pub fn exe(&self) -> Option<KArc<File>> {
        self.exe.lock().clone()
    }

    /// Takes the memory, the file and the vDSO of a new program.
    pub(crate) fn change_program(&self, space: KArc<Space>, exe: KArc<File>, vdso: rux_mm::addr::VirtAddr) {
        let old = self.space.lock().replace(space);
        let old_exe = self.exe.lock().replace(exe);
        self.vdso.store(vdso.get(), Relaxed);
        drop((old, old_exe));
    }

    /// One limit.
    pub fn limit(&self, resource: Resource) -> Rlimit {
        self.limits.lock().get(resource)
    }

    /// All limits.
    pub fn limits(&self) -> Rlimits {
        *self.limits.lock()
    }

    /// Changes the limits.
    pub fn change_limits<R>(&self, change: impl FnOnce(&mut Rlimits) -> R) -> R {
        let cred = self.cred();
        let mut limits = self.limits.lock();
        let result = change(&mut limits);
        self.memory_limits.set(limits.of_memory(&cred));
        result
    }

    /// Has the memory manager go by what `cred` may.
    pub fn change_memory_rights(&self, cred: &Cred) {
        let limits = self.limits.lock();
        self.memory_limits.set(limits.of_memory(cred));
    }

    /// What the memory manager is to grant.
    pub fn memory_limits(&self) -> Limits {
        self.memory_limits.get()
    }

    /// The credentials that others judge the process by.
    pub fn cred(&self) -> KArc<Cred> {
        self.cred.lock().clone()
    }

    /// The number of the process group and of the session.
    pub fn pgrp_and_session(&self) -> (u32, u32) {
        let tasklist = Tasklist::lock();
        let tree = self.tree.get(&tasklist);
        (tree.pgrp.nr(), tree.session.nr())
    }
}
