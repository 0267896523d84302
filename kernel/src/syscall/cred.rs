//! User and group ids, capabilities (Linux: `kernel/sys.c`, `kernel/capability.c`, `kernel/groups.c`).

use linux_raw_sys::general as linux;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};

use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::process::{self, Caps, Cred, Thread, User, pid};
use crate::uaccess;

pub const HANDLERS: &[(u32, Handler)] = &[
    (linux::__NR_getuid, |_| Ok(process::current()?.cred().uid as usize)),
    (linux::__NR_geteuid, |_| Ok(process::current()?.cred().euid as usize)),
    (linux::__NR_getgid, |_| Ok(process::current()?.cred().gid as usize)),
    (linux::__NR_getegid, |_| Ok(process::current()?.cred().egid as usize)),
    (linux::__NR_setuid, setuid),
    (linux::__NR_setgid, setgid),
    (linux::__NR_setreuid, setreuid),
    (linux::__NR_setregid, setregid),
    (linux::__NR_setresuid, setresuid),
    (linux::__NR_getresuid, getresuid),
    (linux::__NR_setresgid, setresgid),
    (linux::__NR_getresgid, getresgid),
    (linux::__NR_setfsuid, setfsuid),
    (linux::__NR_setfsgid, setfsgid),
    (linux::__NR_getgroups, getgroups),
    (linux::__NR_setgroups, setgroups),
    (linux::__NR_capget, capget),
    (linux::__NR_capset, capset),
];

/// "Leave it as it is", for an id.
const KEEP: u32 = u32::MAX;

fn wanted(id: u32) -> Option<u32> {
    (id != KEEP).then_some(id)
}

/// Puts changed credentials in place: the rights that follow from them, too.
pub(super) fn commit(thread: &Thread, mut new: Cred) -> Result<()> {
    let old = thread.cred();
    new.fit_caps(&old);
    new.fit_file_caps(&old);
    if new.uid != old.uid {
        new.user = User::find(new.uid)?;
    }
    if new.euid != old.euid || new.egid != old.egid || new.fsuid != old.fsuid || new.fsgid != old.fsgid {
        thread.process().dumpable.store(0, core::sync::atomic::Ordering::Relaxed);
        thread.parent_death_signal.store(0, core::sync::atomic::Ordering::Relaxed);
    }
    publish(thread, new)
}

/// Puts credentials in place as they are.
pub(super) fn publish(thread: &Thread, new: Cred) -> Result<()> {
    let new = KArc::new(new, Gfp::KERNEL)?;
    thread.process().change_memory_rights(&new);
    thread.set_cred(new);
    Ok(())
}

fn current() -> Result<(&'static Thread, KArc<Cred>, Cred)> {
    let thread = process::current()?;
    let old = thread.cred();
    let new = Cred::clone(&old);
    Ok((thread, old, new))
}

fn setuid(args: &Args) -> Result<usize> {
    let uid = args.uint(0);
    let (thread, old, mut new) = current()?;
    if uid == KEEP {
        return Err(Errno::EINVAL);
    }
    if old.capable(Caps::SETUID) {
        (new.uid, new.suid) = (uid, uid);
    } else if uid != old.uid && uid != old.suid {
        return Err(Errno::EPERM);
    }
    (new.euid, new.fsuid) = (uid, uid);
    commit(thread, new).map(|()| 0)
}

fn setgid(args: &Args) -> Result<usize> {
    let gid = args.uint(0);
    let (thread, old, mut new) = current()?;
    if gid == KEEP {
        return Err(Errno::EINVAL);
    }
    if old.capable(Caps::SETGID) {
        (new.gid, new.sgid) = (gid, gid);
    } else if gid != old.gid && gid != old.sgid {
        return Err(Errno::EPERM);
    }
    (new.egid, new.fsgid) = (gid, gid);
    commit(thread, new).map(|()| 0)
}

fn setreuid(args: &Args) -> Result<usize> {
    let (real, effective) = (wanted(args.uint(0)), wanted(args.uint(1)));
    let (thread, old, mut new) = current()?;
    let may = old.capable(Caps::SETUID);
    if let Some(uid) = real {
        if uid != old.uid && uid != old.euid && !may {
            return Err(Errno::EPERM);
        }
        new.uid = uid;
    }
    if let Some(uid) = effective {
        if uid != old.uid && uid != old.euid && uid != old.suid && !may {
            return Err(Errno::EPERM);
        }
        new.euid = uid;
    }
    if real.is_some() || effective.is_some_and(|uid| uid != old.uid) {
        new.suid = new.euid;
    }
    new.fsuid = new.euid;
    commit(thread, new).map(|()| 0)
}

fn setregid(args: &Args) -> Result<usize> {
    let (real, effective) = (wanted(args.uint(0)), wanted(args.uint(1)));
    let (thread, old, mut new) = current()?;
    let may = old.capable(Caps::SETGID);
    if let Some(gid) = real {
        if gid != old.gid && gid != old.egid && !may {
            return Err(Errno::EPERM);
        }
        new.gid = gid;
    }
    if let Some(gid) = effective {
        if gid != old.gid && gid != old.egid && gid != old.sgid && !may {
            return Err(Errno::EPERM);
        }
        new.egid = gid;
    }
    if real.is_some() || effective.is_some_and(|gid| gid != old.gid) {
        new.sgid = new.egid;
    }
    new.fsgid = new.egid;
    commit(thread, new).map(|()| 0)
}

fn setresuid(args: &Args) -> Result<usize> {
    let ids = [0, 1, 2].map(|n| wanted(args.uint(n)));
    let (thread, old, mut new) = current()?;
    let own = |uid: u32| uid == old.uid || uid == old.euid || uid == old.suid;
    if !ids.iter().flatten().all(|&uid| own(uid)) && !old.capable(Caps::SETUID) {
        return Err(Errno::EPERM);
    }
    new.uid = ids[0].unwrap_or(old.uid);
    new.euid = ids[1].unwrap_or(old.euid);
    new.suid = ids[2].unwrap_or(old.suid);
    new.fsuid = new.euid;
    commit(thread, new).map(|()| 0)
}

fn setresgid(args: &Args) -> Result<usize> {
    let ids = [0, 1, 2].map(|n| wanted(args.uint(n)));
    let (thread, old, mut new) = current()?;
    let own = |gid: u32| gid == old.gid || gid == old.egid || gid == old.sgid;
    if !ids.iter().flatten().all(|&gid| own(gid)) && !old.capable(Caps::SETGID) {
        return Err(Errno::EPERM);
    }
    new.gid = ids[0].unwrap_or(old.gid);
    new.egid = ids[1].unwrap_or(old.egid);
    new.sgid = ids[2].unwrap_or(old.sgid);
    new.fsgid = new.egid;
    commit(thread, new).map(|()| 0)
}

fn write_three(args: &Args, ids: [u32; 3]) -> Result<usize> {
    for (n, id) in ids.into_iter().enumerate() {
        uaccess::write_user(args.addr(n), id)?;
    }
    Ok(0)
}

fn getresuid(args: &Args) -> Result<usize> {
    let cred = process::current()?.cred();
    write_three(args, [cred.uid, cred.euid, cred.suid])
}

fn getresgid(args: &Args) -> Result<usize> {
    let cred = process::current()?.cred();
    write_three(args, [cred.gid, cred.egid, cred.sgid])
}

fn setfsuid(args: &Args) -> Result<usize> {
    let uid = args.uint(0);
    let (thread, old, mut new) = current()?;
    let own = uid == old.uid || uid == old.euid || uid == old.suid || uid == old.fsuid;
    if uid != KEEP && uid != old.fsuid && (own || old.capable(Caps::SETUID)) {
        new.fsuid = uid;
        // It has no way to tell of a failure.
        let _kept = commit(thread, new);
    }
    Ok(old.fsuid as usize)
}

fn setfsgid(args: &Args) -> Result<usize> {
    let gid = args.uint(0);
    let (thread, old, mut new) = current()?;
    let own = gid == old.gid || gid == old.egid || gid == old.sgid || gid == old.fsgid;
    if gid != KEEP && gid != old.fsgid && (own || old.capable(Caps::SETGID)) {
        new.fsgid = gid;
        let _kept = commit(thread, new);
    }
    Ok(old.fsgid as usize)
}

/// The most supplementary groups (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;

fn getgroups(args: &Args) -> Result<usize> {
    let room = args.int(0);
    let cred = process::current()?.cred();
    let groups: &[u32] = cred.groups.as_ref().map_or(&[], |groups| groups);
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    if room == 0 {
        return Ok(groups.len());
    }
    if groups.len() > room {
        return Err(Errno::EINVAL);
    }
    for (n, group) in groups.iter().enumerate() {
        let to = args.addr(1).checked_add(n as u64 * 4).ok_or(Errno::EFAULT)?;
        uaccess::write_user(to, *group)?;
    }
    Ok(groups.len())
}

fn setgroups(args: &Args) -> Result<usize> {
    let (thread, old, mut new) = current()?;
    old.require(Caps::SETGID)?;
    let count = args.uint(0) as usize;
    if count > MAX_GROUPS {
        return Err(Errno::EINVAL);
    }
    let mut groups = KVec::with_capacity(count, Gfp::KERNEL)?;
    for n in 0..count {
        let from = args.addr(1).checked_add(n as u64 * 4).ok_or(Errno::EFAULT)?;
        let group: u32 = uaccess::read_user(from)?;
        if group == KEEP {
            return Err(Errno::EINVAL);
        }
        groups.push(group, Gfp::KERNEL)?;
    }
    groups.sort_unstable();
    new.groups = if groups.is_empty() { None } else { Some(KArc::new(groups, Gfp::KERNEL)?) };
    publish(thread, new).map(|()| 0)
}

/// The version of the capability interface with 64 capabilities.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const CAPABILITY_VERSION_2: u32 = 0x2007_1026;
const CAPABILITY_VERSION_1: u32 = 0x1998_0330;

/// How many words each set has in the version that the header at argument 0 names; an unknown one is answered with
/// the one that is preferred.
fn capability_words(args: &Args) -> Result<usize> {
    let version: u32 = uaccess::read_user(args.addr(0))?;
    match version {
        CAPABILITY_VERSION_1 => Ok(1),
        CAPABILITY_VERSION_2 | CAPABILITY_VERSION_3 => Ok(2),
        _ => {
            uaccess::write_user(args.addr(0), CAPABILITY_VERSION_3)?;
            Err(Errno::EINVAL)
        }
    }
}

fn header_pid(args: &Args) -> Result<i32> {
    Ok(uaccess::read_user(args.addr(0).checked_add(4).ok_or(Errno::EFAULT)?)?)
}

fn capget(args: &Args) -> Result<usize> {
    let words = match capability_words(args) {
        Ok(words) => words,
        // Who only asks for the version gets it.
        Err(Errno::EINVAL) if args.a[1] == 0 => return Ok(0),
        Err(errno) => return Err(errno),
    };
    let cred = match header_pid(args)? {
        ..0 => return Err(Errno::EINVAL),
        0 => process::current()?.cred(),
        tid => {
            let task = pid::find_task(tid as u32).ok_or(Errno::ESRCH)?;
            task.user.as_ref().ok_or(Errno::ESRCH)?.cred()
        }
    };
    if args.a[1] == 0 {
        return Ok(0);
    }
    for word in 0..words {
        let half = |caps: Caps| (caps.bits() >> (32 * word)) as u32;
        let to = args.addr(1).checked_add(word as u64 * 12).ok_or(Errno::EFAULT)?;
        uaccess::write_user(to, [half(cred.effective), half(cred.permitted), half(cred.inheritable)])?;
    }
    Ok(0)
}

fn capset(args: &Args) -> Result<usize> {
    let words = capability_words(args)?;
    let own = process::current()?.tid() as i32;
    if !matches!(header_pid(args)?, pid if pid == 0 || pid == own) {
        return Err(Errno::EPERM);
    }
    let mut sets = [0u64; 3];
    for word in 0..words {
        let from = args.addr(1).checked_add(word as u64 * 12).ok_or(Errno::EFAULT)?;
        let halves: [u32; 3] = uaccess::read_user(from)?;
        for (set, half) in sets.iter_mut().zip(halves) {
            *set |= u64::from(half) << (32 * word);
        }
    }
    let [effective, permitted, inheritable] = sets.map(Caps::from_bits_truncate);
    let (thread, old, mut new) = current()?;
    let may_inherit = if old.capable(Caps::SETPCAP) { old.bounding } else { old.permitted };
    if !(old.inheritable | may_inherit).contains(inheritable)
        || !(old.inheritable | old.bounding).contains(inheritable)
        || !old.permitted.contains(permitted)
        || !permitted.contains(effective)
    {
        return Err(Errno::EPERM);
    }
    (new.effective, new.permitted, new.inheritable) = (effective, permitted, inheritable);
    new.ambient &= permitted & inheritable;
    publish(thread, new).map(|()| 0)
}
