//! Who is whose parent; process groups and sessions (Linux: the lists in `task_struct`, `kernel/sys.c`).

use rux_mm::slab::KArc;

use super::list::{Link, Linked, List};
use super::{Pid, Process, Tasklist, ThreadCount};
use crate::errno::{Errno, Result};
use crate::signal::Signal;

/// The lists of children.
pub struct ChildTag;
/// The lists of members of process groups.
pub struct PgrpTag;

/// How far a process is from its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitState {
    /// It has threads that run.
    Alive,
    /// All threads are gone; the parent has not asked.
    Zombie,
    /// It has been reaped.
    Dead,
}

/// A process' relations; under the [`Tasklist`].
pub struct Tree {
    /// The parent; `None` for the first process, and for one that was reaped.
    pub parent: Option<KArc<Process>>,
    /// The children, oldest first.
    pub children: List<Process, ChildTag>,
    /// The process group.
    pub pgrp: KArc<Pid>,
    /// The session.
    pub session: KArc<Pid>,
    /// How far from the end.
    pub exit_state: ExitState,
    /// What the parent gets at the end; `None` for nothing.
    pub exit_signal: Option<Signal>,
    /// How often it has executed a program (Linux: `self_exec_id`).
    pub exec_id: u64,
    /// The parent's `exec_id` when it asked for `exit_signal` (Linux: `parent_exec_id`).
    pub parent_exec_id: u64,
    /// How it ended, as `wait` reports it.
    pub exit_code: i32,
    /// The count of its last thread: a process that has not been reaped counts as one.
    pub(super) count: Option<ThreadCount>,
}

/// A process' places on the lists of others.
pub struct TreeLinks {
    child: Link<Process>,
    pgrp: Link<Process>,
}

// SAFETY: the links are only touched through lists that the tasklist lock guards.
unsafe impl Sync for TreeLinks {}
// SAFETY: as above.
unsafe impl Send for TreeLinks {}

impl TreeLinks {
    pub(super) const fn new() -> Self {
        Self { child: Link::new(), pgrp: Link::new() }
    }
}

// SAFETY: always the process' own link; all lists of children are guarded by the tasklist lock.
unsafe impl Linked<ChildTag> for Process {
    fn link(&self) -> &Link<Self> {
        &self.links.child
    }
}

// SAFETY: always the process' own link; all lists of group members are guarded by the tasklist lock.
unsafe impl Linked<PgrpTag> for Process {
    fn link(&self) -> &Link<Self> {
        &self.links.pgrp
    }
}

impl Tree {
    /// What `parent` gets at the end. A program that it has become since did not ask for the signal, and may have
    /// rights that whoever did has not: it gets `SIGCHLD` (Linux: `do_notify_parent`).
    pub(super) fn signal_for(&self, parent: &Self) -> Option<Signal> {
        let asked = self.parent_exec_id == parent.exec_id;
        self.exit_signal.map(|signal| if asked { signal } else { Signal::CHLD })
    }
}

impl Pid {
    /// Whether no member of the group has a parent outside of the group and in the same session: no shell looks
    /// after it. `leaving` is left out (Linux: `will_become_orphaned_pgrp`).
    pub fn is_orphaned(&self, tasklist: &Tasklist, leaving: Option<&Process>) -> bool {
        !self.named(tasklist).group.iter().any(|member| {
            let tree = member.tree.get(tasklist);
            let left_out = leaving.is_some_and(|leaving| core::ptr::eq(leaving, member));
            !left_out
                && tree.exit_state == ExitState::Alive
                && tree.parent.as_ref().is_some_and(|parent| {
                    let parent = parent.tree.get(tasklist);
                    parent.parent.is_some()
                        && parent.pgrp.nr() != self.nr()
                        && parent.session.nr() == tree.session.nr()
                })
        })
    }

    /// Whether a member of the group stands stopped (Linux: `has_stopped_jobs`).
    pub fn has_stopped(&self, tasklist: &Tasklist) -> bool {
        self.named(tasklist).group.iter().any(|member| member.group().is_stopped())
    }
}

/// Puts `process` into a group and a session, out of those that it is in.
pub(super) fn join(tasklist: &mut Tasklist, process: &KArc<Process>, pgrp: KArc<Pid>, session: KArc<Pid>) {
    leave(tasklist, process);
    let tree = process.tree.get_mut(tasklist);
    tree.pgrp = pgrp.clone();
    tree.session = session.clone();
    // It is on no such list: it just left the one that it was on.
    let _joined = pgrp.named_mut(tasklist).group.push_back(process.clone());
    session.named_mut(tasklist).session += 1;
    process.session_nr.store(session.nr(), core::sync::atomic::Ordering::Relaxed);
}

/// Takes `process` out of its group and its session.
pub(super) fn leave(tasklist: &mut Tasklist, process: &Process) {
    let tree = process.tree.get(tasklist);
    let (pgrp, session) = (tree.pgrp.clone(), tree.session.clone());
    if pgrp.named_mut(tasklist).group.remove(process).is_some() {
        session.named_mut(tasklist).session -= 1;
        pgrp.release(tasklist);
        session.release(tasklist);
    }
}

/// Makes `child` the last child of `parent`.
pub(super) fn adopt(tasklist: &mut Tasklist, parent: &KArc<Process>, child: KArc<Process>) {
    let tree = child.tree.get_mut(tasklist);
    tree.parent = Some(parent.clone());
    child.parent_pid.store(parent.pid(), core::sync::atomic::Ordering::Relaxed);
    // It is on no list of children: whoever calls has just made it, or taken it off.
    let _adopted = parent.tree.get_mut(tasklist).children.push_back(child);
}

/// `setpgid(2)`: 0 stands for the caller, and for the number of the process itself.
///
/// # Errors
/// `EINVAL`, `ESRCH`, `EPERM`, `EACCES` as the manual page says.
pub fn set_pgid(pid: i32, pgid: i32) -> Result<()> {
    if pid < 0 || pgid < 0 {
        return Err(if pgid < 0 { Errno::EINVAL } else { Errno::ESRCH });
    }
    let caller = super::current()?.process();
    let target = match pid as u32 {
        0 => caller.clone(),
        nr => super::pid::find_process(nr).ok_or(Errno::ESRCH)?,
    };
    let pgid = if pgid == 0 { target.pid() } else { pgid as u32 };
    let mut tasklist = Tasklist::lock();
    let (own, tree) = (caller.tree.get(&tasklist), target.tree.get(&tasklist));
    let is_child = tree.parent.as_ref().is_some_and(|parent| KArc::ptr_eq(parent, caller));
    if is_child {
        if tree.session.nr() != own.session.nr() {
            return Err(Errno::EPERM);
        }
        if target.has_executed.load(core::sync::atomic::Ordering::Relaxed) {
            return Err(Errno::EACCES);
        }
    } else if !KArc::ptr_eq(&target, caller) {
        return Err(Errno::ESRCH);
    }
    if tree.session.nr() == target.pid() {
        return Err(Errno::EPERM);
    }
    let session = tree.session.clone();
    let pgrp = if pgid == target.pid() {
        target.pid_ref().clone()
    } else {
        let pgrp = super::pid::find(pgid).ok_or(Errno::EPERM)?;
        let in_session = |member: &Process| member.tree.get(&tasklist).session.nr() == own.session.nr();
        if !pgrp.named(&tasklist).group.first().is_some_and(in_session) {
            return Err(Errno::EPERM);
        }
        pgrp
    };
    if tree.pgrp.nr() != pgid {
        join(&mut tasklist, &target, pgrp, session);
    }
    Ok(())
}

/// `setsid(2)`: a new session and a new group, both of the caller alone.
///
/// # Errors
/// `EPERM` when the caller's number names a group already.
pub fn set_sid() -> Result<u32> {
    let caller = super::current()?.process();
    let pid = caller.pid_ref().clone();
    let mut tasklist = Tasklist::lock();
    if !pid.named(&tasklist).group.is_empty() {
        return Err(Errno::EPERM);
    }
    join(&mut tasklist, caller, pid.clone(), pid);
    Ok(caller.pid())
}
