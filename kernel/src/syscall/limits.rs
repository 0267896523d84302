//! Resource limits and usage.

use linux_raw_sys::general as linux;

use super::process::Rusage;
use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::fs::table::NR_OPEN;
use crate::process::usage::{self, Usage};
use crate::process::{self, Caps, Process, Resource, Rlimit, pid};
use crate::{task, uaccess};

pub const HANDLERS: &[(u32, Handler)] = &[
    (linux::__NR_getrlimit, getrlimit),
    (linux::__NR_setrlimit, setrlimit),
    (linux::__NR_prlimit64, prlimit64),
    (linux::__NR_getrusage, getrusage),
];

fn resource(number: u32) -> Result<Resource> {
    Resource::new(number).ok_or(Errno::EINVAL)
}

fn getrlimit(args: &Args) -> Result<usize> {
    let limit = process::current()?.process().limit(resource(args.uint(0))?);
    uaccess::write_user(args.addr(1), limit)?;
    Ok(0)
}

fn setrlimit(args: &Args) -> Result<usize> {
    let new = uaccess::read_user(args.addr(1))?;
    change(process::current()?.process(), resource(args.uint(0))?, new).map(|_| 0)
}

/// Sets a limit; returns what it was (Linux: `do_prlimit`).
fn change(process: &Process, resource: Resource, new: Rlimit) -> Result<Rlimit> {
    if new.soft > new.hard {
        return Err(Errno::EINVAL);
    }
    if resource == Resource::NOFILE && new.hard > NR_OPEN {
        return Err(Errno::EPERM);
    }
    let cred = process::current()?.cred();
    let may_raise = cred.capable(Caps::SYS_RESOURCE);
    process.change_limits(|limits| {
        let old = limits.get(resource);
        if new.hard > old.hard && !may_raise {
            return Err(Errno::EPERM);
        }
        limits.set(resource, new);
        Ok(old)
    })
}

fn prlimit64(args: &Args) -> Result<usize> {
    let resource = resource(args.uint(1))?;
    let new: Option<Rlimit> = match args.optional(2) {
        Some(at) => Some(uaccess::read_user(at)?),
        None => None,
    };
    let caller = process::current()?;
    let target = match args.int(0) {
        0 => caller.process().clone(),
        pid => {
            let task = u32::try_from(pid).ok().and_then(pid::find_task).ok_or(Errno::ESRCH)?;
            task.user.as_ref().ok_or(Errno::ESRCH)?.process().clone()
        }
    };
    let (cred, theirs) = (caller.cred(), target.cred());
    let same_uid = cred.uid == theirs.uid && cred.uid == theirs.euid && cred.uid == theirs.suid;
    let same_gid = cred.gid == theirs.gid && cred.gid == theirs.egid && cred.gid == theirs.sgid;
    let own = core::ptr::eq(&*target, &**caller.process());
    if !(own || same_uid && same_gid || cred.capable(Caps::SYS_RESOURCE)) {
        return Err(Errno::EPERM);
    }
    let old = match new {
        Some(new) => change(&target, resource, new)?,
        None => target.limit(resource),
    };
    if let Some(to) = args.optional(3) {
        uaccess::write_user(to, old)?;
    }
    Ok(0)
}

fn getrusage(args: &Args) -> Result<usize> {
    let thread = process::current()?;
    let process = thread.process();
    let usage = match args.int(0) {
        who if who == linux::RUSAGE_SELF as i32 => usage::of_living(process),
        linux::RUSAGE_CHILDREN => process.usage.children(),
        who if who == linux::RUSAGE_THREAD as i32 => Usage::of_thread(task::current(), thread),
        _ => return Err(Errno::EINVAL),
    };
    uaccess::write_user(args.addr(1), Rusage::of(&usage))?;
    Ok(0)
}
