//! New threads and processes: `clone`, `clone3`, and what libraries make of them, fork and vfork (Linux:
//! `copy_process`).
//!
//! Everything that can fail is made first and is owned by values that undo themselves; then, under the tree's
//! lock, the new one is put into all lists at once.

use core::sync::atomic::Ordering::Relaxed;

use linux_raw_sys::general as abi;
use rux_mm::addr::VirtAddr;
use rux_mm::gfp::Gfp;
use rux_mm::slab::KArc;
use rux_mm::space::Space;

use super::pid::PidError;
use super::{
    Caps, Pid, Process, ProcessParts, Tasklist, Thread, ThreadCount, ThreadParts, VforkDone, pid, tree,
};
use crate::errno::{Errno, Result};
use crate::signal::{AltStack, Signal, ThreadSignals};
use crate::task::{self, Task};
use crate::trap::TrapFrame;
use crate::uaccess;

/// What `clone` and `clone3` ask for (`struct clone_args`).
#[derive(Clone, Copy, Default, Debug)]
pub struct CloneArgs {
    /// `CLONE_*`, without the signal.
    pub flags: u64,
    /// The signal that the parent gets at the end; 0 for none.
    pub exit_signal: u64,
    /// The child's stack pointer; 0 for the parent's.
    pub stack: u64,
    /// The child's thread pointer, with `CLONE_SETTLS`.
    pub tls: u64,
    /// Where the number goes in the parent's memory, with `CLONE_PARENT_SETTID`.
    pub parent_tid: u64,
    /// Where it goes in the child's, and is cleared at the end.
    pub child_tid: u64,
}

const VM: u64 = abi::CLONE_VM as u64;
const FS: u64 = abi::CLONE_FS as u64;
const FILES: u64 = abi::CLONE_FILES as u64;
const SIGHAND: u64 = abi::CLONE_SIGHAND as u64;
const VFORK: u64 = abi::CLONE_VFORK as u64;
const PARENT: u64 = abi::CLONE_PARENT as u64;
const THREAD: u64 = abi::CLONE_THREAD as u64;
const NEWNS: u64 = abi::CLONE_NEWNS as u64;
const SETTLS: u64 = abi::CLONE_SETTLS as u64;
const PARENT_SETTID: u64 = abi::CLONE_PARENT_SETTID as u64;
const CHILD_CLEARTID: u64 = abi::CLONE_CHILD_CLEARTID as u64;
const CHILD_SETTID: u64 = abi::CLONE_CHILD_SETTID as u64;
const PIDFD: u64 = abi::CLONE_PIDFD as u64;
const CLEAR_SIGHAND: u64 = abi::CLONE_CLEAR_SIGHAND;
const INTO_CGROUP: u64 = abi::CLONE_INTO_CGROUP;
/// Namespaces, which Rux has one of each.
const NAMESPACES: u64 = NEWNS
    | (abi::CLONE_NEWCGROUP
        | abi::CLONE_NEWUTS
        | abi::CLONE_NEWIPC
        | abi::CLONE_NEWUSER
        | abi::CLONE_NEWPID
        | abi::CLONE_NEWNET
        | abi::CLONE_NEWTIME) as u64;

impl CloneArgs {
    const fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    fn check(&self, caller: &Thread) -> Result<()> {
        let bad = self.has(NEWNS) && self.has(FS)
            || self.has(THREAD) && !self.has(SIGHAND)
            || self.has(SIGHAND) && !self.has(VM)
            || self.has(SIGHAND) && self.has(CLEAR_SIGHAND)
            || self.has(PARENT) && caller.process().pid() == 1
            || self.exit_signal > Signal::MAX as u64
            || self.has(PIDFD | INTO_CGROUP);
        if bad {
            return Err(Errno::EINVAL);
        }
        if self.has(NAMESPACES) {
            // As a Linux without namespaces: who may not ask is told so, the others that there are none.
            caller.cred().require(Caps::SYS_ADMIN)?;
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

/// A number that names nothing yet; it is given back unless it is used.
struct FreshPid(Option<KArc<Pid>>);

impl FreshPid {
    fn new() -> Result<(Self, KArc<Pid>)> {
        let pid = pid::allocate().map_err(|error| match error {
            PidError::Exhausted => Errno::EAGAIN,
            PidError::NoMemory => Errno::ENOMEM,
        })?;
        Ok((Self(Some(pid.clone())), pid))
    }
}

impl Drop for FreshPid {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take() {
            pid.release(&Tasklist::lock());
        }
    }
}

/// Makes a thread or a process like the running one, which is in a system call with `regs`; returns its number.
///
/// # Errors
/// `EINVAL` for flags that do not go together, `EAGAIN` at a limit, `ENOMEM`; then nothing has changed.
pub fn clone(args: &CloneArgs, regs: &TrapFrame) -> Result<u32> {
    let task = task::current();
    let caller = super::current()?;
    args.check(caller)?;
    if task.signal_pending() {
        return Err(Errno::ERESTARTNOINTR);
    }
    let process = caller.process();
    let cred = caller.cred();
    let count = ThreadCount::new(&cred, process)?;
    let files = caller.files()?;
    let files = if args.has(FILES) { files } else { files.fork()? };
    let fs = caller.fs()?;
    let fs = if args.has(FS) { fs } else { fs.fork()? };
    let space = task::current_space().ok_or(Errno::ESRCH)?;
    let space = if args.has(VM) { space.clone() } else { space.fork()? };
    let (mut fresh, pid) = FreshPid::new()?;
    let new_process = if args.has(THREAD) { None } else { Some(child_process(args, process, &pid, &space)?) };
    let vfork = if args.has(VFORK) { Some(KArc::new(VforkDone::new(), Gfp::KERNEL)?) } else { None };

    let signals = ThreadSignals::new(caller.signals.blocked());
    if args.flags & (VM | VFORK) != VM {
        signals.set_alt_stack(caller.signals.alt_stack());
    } else {
        signals.set_alt_stack(AltStack::NONE);
    }
    let thread = Thread::new(ThreadParts {
        process: new_process.as_ref().unwrap_or(process).clone(),
        pid: pid.clone(),
        cred,
        count,
        files,
        fs,
        signals,
    });
    thread.inherit(caller);
    if args.has(CHILD_CLEARTID) {
        thread.clear_child_tid.store(args.child_tid, Relaxed);
    }
    *thread.vfork.lock() = vfork.clone();
    let new = Task::new_user(pid.nr(), &frame(args, regs), space.clone(), thread)?;

    publish(args, process, new_process, &pid, &new)?;
    fresh.0 = None;
    // Nobody is told of an address that is bad.
    if args.has(PARENT_SETTID) {
        let _written = uaccess::write_user(VirtAddr::new(args.parent_tid), pid.nr());
    }
    if args.has(CHILD_SETTID) {
        write_child_tid(args, &space, pid.nr());
    }
    drop(space);
    Task::start(new);
    if let Some(vfork) = vfork {
        vfork.wait();
    }
    Ok(pid.nr())
}

fn write_child_tid(args: &CloneArgs, space: &Space, tid: u32) {
    let to = VirtAddr::new(args.child_tid);
    if args.has(VM) {
        let _written = uaccess::write_user(to, tid);
    } else {
        let _written = space.write_memory(to, &tid.to_ne_bytes());
    }
}

/// The registers that the child starts with: the parent's, but for the result, and what the caller named.
fn frame(args: &CloneArgs, regs: &TrapFrame) -> TrapFrame {
    let mut frame = regs.clone();
    frame.set_a(0, 0);
    frame.syscall = TrapFrame::NO_SYSCALL;
    if args.stack != 0 {
        frame.set_sp(args.stack as usize);
    }
    if args.has(SETTLS) {
        frame.set_tp(args.tls as usize);
    }
    frame
}

fn child_process(
    args: &CloneArgs,
    parent: &KArc<Process>,
    pid: &KArc<Pid>,
    space: &KArc<Space>,
) -> Result<KArc<Process>> {
    let actions = parent.group().actions.clone();
    let actions = if args.has(SIGHAND) { actions } else { actions.copy()? };
    if args.has(CLEAR_SIGHAND) {
        actions.drop_handlers();
    }
    // Group and session are taken anew when the child is published.
    let (pgrp, session) = {
        let tasklist = Tasklist::lock();
        let tree = parent.tree.get(&tasklist);
        (tree.pgrp.clone(), tree.session.clone())
    };
    let process = Process::new(ProcessParts {
        pid: pid.clone(),
        pgrp,
        session,
        exit_signal: Signal::new(args.exit_signal as u32),
        actions,
        space: space.clone(),
        exe: parent.exe(),
        limits: parent.limits(),
        cred: super::current()?.cred(),
        like: Some(parent),
    })?;
    Ok(process)
}

/// Puts the new one into all lists.
fn publish(
    args: &CloneArgs,
    process: &KArc<Process>,
    new_process: Option<KArc<Process>>,
    pid: &KArc<Pid>,
    new: &KArc<Task>,
) -> Result<()> {
    let mut tasklist = Tasklist::lock();
    let mut own = process.group();
    if own.exit.is_some() || own.exec.is_some() {
        return Err(Errno::ERESTARTNOINTR);
    }
    match new_process {
        None => {
            if own.stop.signal.is_some()
                && let Some(thread) = &new.user
            {
                thread.signals.must_stop.store(true, Relaxed);
                own.stop.left += 1;
                new.notify_signal(false);
            }
            // It is on no list yet, as nobody else has it.
            let _pushed = own.threads.push_back(new.clone());
            drop(own);
        }
        Some(child) => {
            drop(own);
            let tree = process.tree.get(&tasklist);
            let (pgrp, session) = (tree.pgrp.clone(), tree.session.clone());
            let parent = if args.has(PARENT) { tree.parent.clone() } else { None };
            let (exit_signal, own_id, parent_id) = (tree.exit_signal, tree.exec_id, tree.parent_exec_id);
            let _pushed = child.group().threads.push_back(new.clone());
            let relations = child.tree.get_mut(&mut tasklist);
            relations.parent_exec_id = own_id;
            if args.has(PARENT) {
                relations.exit_signal = exit_signal;
                relations.parent_exec_id = parent_id;
            }
            pid.named_mut(&mut tasklist).process = Some(child.clone());
            tree::join(&mut tasklist, &child, pgrp, session);
            tree::adopt(&mut tasklist, &parent.unwrap_or(process.clone()), child);
        }
    }
    pid.named_mut(&mut tasklist).task = Some(new.clone());
    Ok(())
}
