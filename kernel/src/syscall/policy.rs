//! `sched_setscheduler` and its family (Linux: `kernel/sched/syscalls.c`).

use linux_raw_sys::general as linux;

use super::sched::{check_owner, with_task};
use super::time::Timespec;
use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::process::{self, Caps, Resource};
use crate::task::{Policy, Task};
use crate::{sched, uaccess};

pub const HANDLERS: &[(u32, Handler)] = &[
    (linux::__NR_sched_getparam, sched_getparam),
    (linux::__NR_sched_setparam, sched_setparam),
    (linux::__NR_sched_getscheduler, sched_getscheduler),
    (linux::__NR_sched_setscheduler, sched_setscheduler),
    (linux::__NR_sched_get_priority_max, sched_get_priority_max),
    (linux::__NR_sched_get_priority_min, sched_get_priority_min),
    (linux::__NR_sched_rr_get_interval, sched_rr_get_interval),
];

/// The policies that there are: all of them share time; those that promise more need what Rux does not have.
fn policy_of(number: u32, priority: i32) -> Result<Policy> {
    match number {
        linux::SCHED_NORMAL if priority == 0 => Ok(Policy::Normal),
        linux::SCHED_BATCH if priority == 0 => Ok(Policy::Batch),
        linux::SCHED_IDLE if priority == 0 => Ok(Policy::Idle),
        linux::SCHED_FIFO | linux::SCHED_RR if (1..=99).contains(&priority) => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

/// Whether the caller may give `task` that policy (Linux: `user_check_sched_setscheduler`).
fn check_change(task: &Task, policy: Policy, reset_on_fork: bool) -> Result<()> {
    check_owner(task)?;
    let thread = task.user.as_ref().ok_or(Errno::EPERM)?;
    // Out of idleness is as a lower nice value.
    let wakes = task.policy() == Policy::Idle && policy != Policy::Idle;
    let limit = thread.process().limit(Resource::NICE).soft;
    let raises = wakes && (20 - task.nice()) as u64 > limit;
    if raises || task.resets_on_fork() && !reset_on_fork {
        process::current()?.cred().require(Caps::SYS_NICE)?;
    }
    Ok(())
}

fn sched_getparam(args: &Args) -> Result<usize> {
    if args.a[1] == 0 {
        return Err(Errno::EINVAL);
    }
    with_task(args.int(0), |_| Ok(()))?;
    uaccess::write_user(args.addr(1), 0i32)?;
    Ok(0)
}

fn sched_setparam(args: &Args) -> Result<usize> {
    if args.a[1] == 0 {
        return Err(Errno::EINVAL);
    }
    let priority: i32 = uaccess::read_user(args.addr(1))?;
    with_task(args.int(0), |task| {
        let policy = policy_of(task.policy() as u32, priority)?;
        check_change(task, policy, task.resets_on_fork())
    })?;
    Ok(0)
}

fn sched_getscheduler(args: &Args) -> Result<usize> {
    with_task(args.int(0), |task| {
        let reset = if task.resets_on_fork() { linux::SCHED_RESET_ON_FORK } else { 0 };
        Ok((task.policy() as u32 | reset) as usize)
    })
}

fn sched_setscheduler(args: &Args) -> Result<usize> {
    if args.a[2] == 0 || args.int(1) < 0 {
        return Err(Errno::EINVAL);
    }
    let priority: i32 = uaccess::read_user(args.addr(2))?;
    let reset = args.uint(1) & linux::SCHED_RESET_ON_FORK != 0;
    with_task(args.int(0), |task| {
        let policy = policy_of(args.uint(1) & !linux::SCHED_RESET_ON_FORK, priority)?;
        check_change(task, policy, reset)?;
        task.set_policy(policy, reset);
        Ok(())
    })?;
    Ok(0)
}

fn sched_get_priority_max(args: &Args) -> Result<usize> {
    match args.uint(0) {
        linux::SCHED_FIFO | linux::SCHED_RR => Ok(99),
        linux::SCHED_NORMAL | linux::SCHED_BATCH | linux::SCHED_IDLE | linux::SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

fn sched_get_priority_min(args: &Args) -> Result<usize> {
    match args.uint(0) {
        linux::SCHED_FIFO | linux::SCHED_RR => Ok(1),
        linux::SCHED_NORMAL | linux::SCHED_BATCH | linux::SCHED_IDLE | linux::SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

fn sched_rr_get_interval(args: &Args) -> Result<usize> {
    with_task(args.int(0), |_| Ok(()))?;
    uaccess::write_user(args.addr(1), Timespec::of(sched::SLICE))?;
    Ok(0)
}
