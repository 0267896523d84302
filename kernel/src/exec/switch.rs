//! The running process becomes the new program (Linux: `begin_new_exec`).

use core::sync::atomic::Ordering::Relaxed;

use rux_mm::addr::VirtAddr;
use rux_mm::gfp::Gfp;
use rux_mm::slab::KArc;

use super::strings::{self, Strings};
use super::{ExecError, Program, Request, prepare};
use crate::errno::{Errno, Result};
use crate::fpu;
use crate::fs::Caller;
use crate::fs::namei::Lookup;
use crate::process::{self, Process, Resource, Tasklist, Thread};
use crate::signal::{self, AltStack, SigInfo, Signal};
use crate::task::{self, Task};
use crate::trap::TrapFrame;

/// `execve` and `execveat`. On success `regs`, the running thread's, are the new program's.
///
/// # Errors
/// As the manual page says.
pub fn execve(
    regs: &mut TrapFrame,
    dirfd: i32,
    path: &[u8],
    lookup: Lookup,
    argv: VirtAddr,
    envp: VirtAddr,
) -> Result<()> {
    let task = task::current();
    let thread = process::current()?;
    let process = thread.process();
    let limits = process.limits();
    let room = strings::room(limits.get(Resource::STACK).soft);
    let (mut args, mut env) = (Strings::new(room), Strings::new(room));
    args.push_user_array(argv)?;
    env.push_user_array(envp)?;
    if args.len() + env.len() + (args.count() + env.count()) * size_of::<u64>() > room {
        return Err(Errno::E2BIG);
    }
    let (fs, files, cred) = (thread.fs()?, thread.files()?, thread.cred());
    let request = Request {
        caller: Caller { fs: &fs, files: &files, cred: &cred },
        cred: &cred,
        limits: &limits,
        dirfd,
        path,
        lookup,
        personality: thread.personality.load(Relaxed),
        no_new_privs: thread.no_new_privs.load(Relaxed),
    };
    let program = match prepare(&request, args, &env) {
        Ok(program) => program,
        Err(ExecError::Refused(errno)) => return Err(errno),
        Err(ExecError::Failed) => {
            end_others(thread, process)?;
            signal::force(SigInfo::from_kernel(Signal::SEGV));
            process.group().kill_all(Signal::SEGV.get() as i32);
            return Err(Errno::ENOMEM);
        }
    };
    drop(env);
    let new_cred = KArc::new(program.cred.clone(), Gfp::KERNEL)?;
    // A table that another process shares would lose files that the other still wants.
    let own_files = if KArc::strong_count(&files) > 2 { Some(files.fork()?) } else { None };
    let own_actions = process.group().actions.clone();
    let own_actions = if KArc::strong_count(&own_actions) > 2 { Some(own_actions.copy()?) } else { None };
    drop((files, fs));
    end_others(thread, process)?;
    if let Some(files) = own_files {
        thread.set_files(Some(files));
    }
    if let Some(actions) = own_actions {
        let old = core::mem::replace(&mut process.group().actions, actions);
        drop(old);
    }
    *regs = TrapFrame::user(program.entry, program.stack);
    become_program(task, thread, process, program, new_cred);
    Ok(())
}

fn become_program(
    task: &Task,
    thread: &Thread,
    process: &KArc<Process>,
    program: Program,
    cred: KArc<crate::process::Cred>,
) {
    process::release_promises(thread);
    thread.personality.store(program.personality, Relaxed);
    process.change_program(program.space.clone(), program.file, program.vdso);
    let old = task::replace_current_space(program.space);
    drop(old);
    process::finish_vfork(thread);

    process.group().actions.drop_handlers();
    thread.signals.set_alt_stack(AltStack::NONE);
    *thread.signals.restart.lock() = signal::Restart::None;
    thread.robust_list.store(0, Relaxed);
    thread.clear_child_tid.store(0, Relaxed);
    // Before descriptors close: by their end a parent sees that its child has executed.
    process.has_executed.store(true, Relaxed);
    if let Ok(files) = thread.files() {
        files.close_on_exec();
    }
    let old = thread.cred();
    let gained = cred.euid != old.euid || cred.egid != old.egid;
    process.dumpable.store(u32::from(!gained), Relaxed);
    if gained || cred.permitted != old.permitted {
        thread.parent_death_signal.store(0, Relaxed);
    }
    process.change_memory_rights(&cred);
    thread.set_cred(cred);
    task.set_comm(&program.comm);
    {
        let mut tasklist = Tasklist::lock();
        let tree = process.tree.get_mut(&mut tasklist);
        tree.exit_signal = Some(Signal::CHLD);
        tree.exec_id += 1;
    }
    fpu::reset_current();
    crate::boot::stat::program_starts();
}

/// Ends all other threads of the process, and takes its number (Linux: `de_thread`).
///
/// # Errors
/// `EAGAIN` when another thread execs or the process ends.
fn end_others(thread: &Thread, process: &Process) -> Result<()> {
    {
        let mut group = process.group();
        if group.exit.is_some() || group.exec.is_some() {
            return Err(Errno::EAGAIN);
        }
        if group.threads.len() > 1 {
            group.exec = Some(thread.tid());
            group.kill_others(thread.tid());
        }
    }
    let alone = || process.group().threads.len() == 1;
    if !alone() {
        let waited = process.resumed.wait_killable(alone);
        if waited.is_err() {
            process.group().exec = None;
            return Err(Errno::EAGAIN);
        }
    }
    if !thread.is_leader() {
        thread.become_leader();
    }
    process.group().exec = None;
    Ok(())
}
