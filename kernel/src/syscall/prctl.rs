//! `prctl` and `personality`: what a thread or process can have otherwise than usual (Linux: `kernel/sys.c`).

use core::sync::atomic::Ordering::Relaxed;

use linux_raw_sys::general as linux;
use linux_raw_sys::prctl;

use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::process::{self, Caps};
use crate::signal::Signal;
use crate::{task, uaccess};

pub const HANDLERS: &[(u32, Handler)] =
    &[(linux::__NR_prctl, prctl_call), (linux::__NR_personality, personality)];

/// Bytes of a thread's name.
const COMM: usize = 16;

fn prctl_call(args: &Args) -> Result<usize> {
    let thread = process::current()?;
    let process = thread.process();
    let rest_is_zero = |from: usize| args.a[from..5].iter().all(|&arg| arg == 0);
    let value = args.ulong(1);
    match args.uint(0) {
        prctl::PR_SET_NAME => {
            let mut name = [0; COMM];
            let len = uaccess::strncpy_from_user(&mut name[..COMM - 1], args.addr(1))?;
            task::current().set_comm(&name[..len]);
        }
        prctl::PR_GET_NAME => uaccess::copy_to_user(args.addr(1), &task::current().comm())?,
        prctl::PR_SET_PDEATHSIG => {
            if value > Signal::MAX as u64 {
                return Err(Errno::EINVAL);
            }
            thread.parent_death_signal.store(value as u32, Relaxed);
        }
        prctl::PR_GET_PDEATHSIG => {
            uaccess::write_user(args.addr(1), thread.parent_death_signal.load(Relaxed))?;
        }
        prctl::PR_GET_DUMPABLE => return Ok(process.dumpable.load(Relaxed) as usize),
        prctl::PR_SET_DUMPABLE if value <= 1 => process.dumpable.store(value as u32, Relaxed),
        prctl::PR_GET_KEEPCAPS => return Ok(thread.cred().keep_caps.into()),
        prctl::PR_SET_KEEPCAPS if value <= 1 => {
            let mut cred = process::Cred::clone(&thread.cred());
            cred.keep_caps = value == 1;
            super::cred::publish(thread, cred)?;
        }
        prctl::PR_SET_NO_NEW_PRIVS if value == 1 && rest_is_zero(2) => {
            thread.no_new_privs.store(true, Relaxed)
        }
        prctl::PR_GET_NO_NEW_PRIVS if rest_is_zero(1) => return Ok(thread.no_new_privs.load(Relaxed).into()),
        prctl::PR_SET_CHILD_SUBREAPER => process.is_subreaper.store(value != 0, Relaxed),
        prctl::PR_GET_CHILD_SUBREAPER => {
            uaccess::write_user(args.addr(1), i32::from(process.is_subreaper.load(Relaxed)))?;
        }
        prctl::PR_SET_TIMERSLACK => {
            let slack = if value == 0 { 50_000 } else { value };
            thread.timer_slack.store(slack, Relaxed);
        }
        prctl::PR_GET_TIMERSLACK => return Ok(thread.timer_slack.load(Relaxed) as usize),
        prctl::PR_CAPBSET_READ => {
            let cap = capability(value)?;
            return Ok(thread.cred().bounding.contains(cap).into());
        }
        prctl::PR_CAPBSET_DROP => {
            let mut cred = process::Cred::clone(&thread.cred());
            cred.require(Caps::SETPCAP)?;
            cred.bounding.remove(capability(value)?);
            super::cred::publish(thread, cred)?;
        }
        prctl::PR_GET_TID_ADDRESS => {
            uaccess::write_user(args.addr(1), thread.clear_child_tid.load(Relaxed))?;
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

fn capability(number: u64) -> Result<Caps> {
    u32::try_from(number)
        .ok()
        .and_then(|number| 1u64.checked_shl(number))
        .and_then(Caps::from_bits)
        .filter(|cap| !cap.is_empty())
        .ok_or(Errno::EINVAL)
}

/// "Only ask", for `personality`.
const ASK: u32 = u32::MAX;

fn personality(args: &Args) -> Result<usize> {
    let thread = process::current()?;
    let old = thread.personality.load(Relaxed);
    if args.uint(0) != ASK {
        thread.personality.store(args.uint(0), Relaxed);
    }
    Ok(old as usize)
}
