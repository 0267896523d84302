//! Scheduling and futexes.

use linux_raw_sys::general as linux;
use rux_machine::HartMask;
use rux_mm::addr::VirtAddr;
use rux_mm::slab::KArc;

use super::time::Timespec;
use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::futex::{self, Sharing, Waited};
use crate::process::{self, Caps, Cred, Process, Resource, Tasklist, pid};
use crate::signal::Restart;
use crate::task::{self, Task};
use crate::uaccess;
use crate::{hart, sched, time};

pub const HANDLERS: &[(u32, Handler)] = &[
    (linux::__NR_futex, futex_call),
    (linux::__NR_sched_yield, sched_yield),
    (linux::__NR_sched_getaffinity, sched_getaffinity),
    (linux::__NR_sched_setaffinity, sched_setaffinity),
    (linux::__NR_getpriority, getpriority),
    (linux::__NR_setpriority, setpriority),
    (linux::__NR_getcpu, getcpu),
];

/// `FUTEX_WAIT` waits for any wake-up.
const ANY: u32 = linux::FUTEX_BITSET_MATCH_ANY;

fn futex_call(args: &Args) -> Result<usize> {
    let (addr, op, value) = (args.addr(0), args.uint(1), args.uint(2));
    let sharing = if op & linux::FUTEX_PRIVATE_FLAG != 0 { Sharing::Private } else { Sharing::Shared };
    let by_realtime = op & linux::FUTEX_CLOCK_REALTIME != 0;
    let command = op & linux::FUTEX_CMD_MASK as u32;
    if by_realtime && command != linux::FUTEX_WAIT_BITSET {
        return Err(Errno::ENOSYS);
    }
    let second = args.addr(4);
    // Where it is no time, the fourth argument is a count.
    let count = args.uint(3);
    match command {
        linux::FUTEX_WAIT => {
            let deadline = read_span(args.optional(3))?.map(|span| time::now().saturating_add(span));
            futex_wait(addr, value, ANY, deadline, sharing, false)
        }
        linux::FUTEX_WAIT_BITSET => {
            let bits = args.uint(5);
            if bits == 0 {
                return Err(Errno::EINVAL);
            }
            let offset = if by_realtime { time::realtime_offset() } else { 0 };
            let deadline = read_span(args.optional(3))?.map(|until| until.saturating_sub(offset));
            futex_wait(addr, value, bits, deadline, sharing, true)
        }
        linux::FUTEX_WAKE => Ok(futex::wake(addr, at_least_one(value), ANY, sharing)? as usize),
        linux::FUTEX_WAKE_BITSET => match args.uint(5) {
            0 => Err(Errno::EINVAL),
            bits => Ok(futex::wake(addr, at_least_one(value), bits, sharing)? as usize),
        },
        linux::FUTEX_REQUEUE | linux::FUTEX_CMP_REQUEUE => {
            if (value as i32) < 0 || (count as i32) < 0 {
                return Err(Errno::EINVAL);
            }
            let expected = (command == linux::FUTEX_CMP_REQUEUE).then(|| args.uint(5));
            let (woken, moved) = futex::requeue(addr, second, value, count, expected, sharing)?;
            Ok((woken + moved) as usize)
        }
        linux::FUTEX_WAKE_OP => {
            let woken = futex::wake_op(
                addr,
                second,
                at_least_one(value),
                at_least_one(count),
                args.uint(5),
                sharing,
            )?;
            Ok(woken as usize)
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// Linux wakes one when it is to wake none or fewer.
const fn at_least_one(count: u32) -> u32 {
    if count as i32 <= 0 { 1 } else { count }
}

fn read_span(at: Option<VirtAddr>) -> Result<Option<u64>> {
    match at {
        Some(at) => Ok(Some(Timespec::read(at)?.nanos()?)),
        None => Ok(None),
    }
}

/// `FUTEX_WAIT` until `deadline`; also by `restart_syscall`. `absolute`: the program named a time, so it can simply
/// call again.
pub(super) fn futex_wait(
    addr: VirtAddr,
    value: u32,
    bits: u32,
    deadline: Option<u64>,
    sharing: Sharing,
    absolute: bool,
) -> Result<usize> {
    match futex::wait(addr, value, bits, deadline, sharing)? {
        Waited::Woken => Ok(0),
        Waited::TimedOut => Err(Errno::ETIMEDOUT),
        Waited::Interrupted if deadline.is_none() || absolute => Err(Errno::ERESTARTSYS),
        Waited::Interrupted => {
            *process::current()?.signals.restart.lock() =
                Restart::Futex { addr, value, bits, deadline, sharing };
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
    }
}

fn sched_yield(_: &Args) -> Result<usize> {
    sched::yield_now();
    Ok(0)
}

/// Does `act` with the thread that `tid` names; 0 is the caller.
pub(super) fn with_task<R>(tid: i32, act: impl FnOnce(&Task) -> Result<R>) -> Result<R> {
    match u32::try_from(tid) {
        Ok(0) => act(task::current()),
        Ok(tid) => act(&*pid::find_task(tid).ok_or(Errno::ESRCH)?),
        Err(_) => Err(Errno::EINVAL),
    }
}

/// Whether the caller may change how `task` is scheduled.
pub(super) fn check_owner(task: &Task) -> Result<()> {
    let cred = process::current()?.cred();
    let theirs = task.user.as_ref().map(process::Thread::cred).ok_or(Errno::EPERM)?;
    if cred.euid == theirs.uid || cred.euid == theirs.euid { Ok(()) } else { cred.require(Caps::SYS_NICE) }
}

fn sched_getaffinity(args: &Args) -> Result<usize> {
    let len = args.uint(1) as usize;
    if len < size_of::<u64>() || !len.is_multiple_of(size_of::<u64>()) {
        return Err(Errno::EINVAL);
    }
    let mask = with_task(args.int(0), |task| Ok(task.affinity().and(hart::online())))?;
    uaccess::write_user(args.addr(2), mask.bits())?;
    Ok(size_of::<u64>())
}

fn sched_setaffinity(args: &Args) -> Result<usize> {
    let mut bytes = [0; size_of::<u64>()];
    let len = (args.uint(1) as usize).min(bytes.len());
    uaccess::copy_from_user(&mut bytes[..len], args.addr(2))?;
    let mask = HartMask::from_bits(u64::from_le_bytes(bytes)).and(hart::online());
    with_task(args.int(0), |task| {
        check_owner(task)?;
        if mask.is_empty() {
            return Err(Errno::EINVAL);
        }
        task.set_affinity(mask);
        Ok(())
    })?;
    // It takes effect as the thread is queued anew.
    sched::yield_now();
    Ok(0)
}

/// Shows the threads that `which` and `who` mean to `each`.
fn for_each_meant(args: &Args, mut each: impl FnMut(&Task)) -> Result<()> {
    let (which, who) = (args.uint(0), args.uint(1));
    let caller = process::current()?;
    let all_threads = |process: &Process, each: &mut dyn FnMut(&Task)| {
        process.group().threads.iter().for_each(each);
    };
    match which {
        linux::PRIO_PROCESS if who == 0 => each(task::current()),
        linux::PRIO_PROCESS => {
            if let Some(task) = pid::find_task(who) {
                each(&task);
            }
        }
        linux::PRIO_PGRP => {
            let tasklist = Tasklist::lock();
            let pgrp = match who {
                0 => Some(caller.process().tree.get(&tasklist).pgrp.clone()),
                _ => pid::find(who),
            };
            if let Some(pgrp) = pgrp {
                for process in pgrp.named(&tasklist).group.iter() {
                    all_threads(process, &mut each);
                }
            }
        }
        linux::PRIO_USER => {
            let uid = if who == 0 { caller.cred().uid } else { who };
            let mut next = 1;
            while let Some(pid) = pid::next(next) {
                next = pid.nr() + 1;
                let process = pid.named(&Tasklist::lock()).process.clone();
                if let Some(process) = process.filter(|process| process.cred().uid == uid) {
                    all_threads(&process, &mut each);
                }
            }
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

/// The nice value, so that it is never negative: 20 less it.
fn getpriority(args: &Args) -> Result<usize> {
    let mut best: Option<i32> = None;
    for_each_meant(args, |task| {
        let nice = task.nice();
        best = Some(best.map_or(nice, |best| best.min(nice)));
    })?;
    best.map(|nice| (20 - nice) as usize).ok_or(Errno::ESRCH)
}

fn setpriority(args: &Args) -> Result<usize> {
    let nice = args.int(2).clamp(-20, 19);
    let caller = process::current()?;
    let cred: KArc<Cred> = caller.cred();
    let limit = caller.process().limit(Resource::NICE).soft;
    let mut outcome = Err(Errno::ESRCH);
    for_each_meant(args, |task| {
        let owner = task.user.as_ref().map(process::Thread::cred);
        let owned = owner.is_some_and(|owner| cred.euid == owner.uid || cred.euid == owner.euid);
        let may_raise = nice >= task.nice() || (20 - nice) as u64 <= limit || cred.capable(Caps::SYS_NICE);
        if !owned && !cred.capable(Caps::SYS_NICE) {
            outcome = Err(Errno::EPERM);
        } else if !may_raise {
            outcome = Err(Errno::EACCES);
        } else {
            task.set_nice(nice);
            if outcome == Err(Errno::ESRCH) {
                outcome = Ok(0);
            }
        }
    })?;
    outcome
}

fn getcpu(args: &Args) -> Result<usize> {
    let hart = task::current().hart() as u32;
    if let Some(to) = args.optional(0) {
        uaccess::write_user(to, hart)?;
    }
    if let Some(to) = args.optional(1) {
        uaccess::write_user(to, 0u32)?;
    }
    Ok(0)
}
