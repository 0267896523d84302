//! Job control: whose the terminal is, and which group is in front (Linux: `drivers/tty/tty_jobctrl.c`).
//!
//! The terminal knows its session; a process' controlling terminal is the one whose session is its own.
//! A group in the back that reads, or writes under `TOSTOP`, or changes settings, is stopped.

use rux_mm::slab::KArc;

use super::{OpenTty, TTY, Tty};
use crate::errno::{Errno, Result};
use crate::fs::current;
use crate::fs::device;
use crate::fs::file::File;
use crate::process::{self, Caps, Pid, Tasklist, pid};
use crate::signal::{self, SigInfo, Signal};

/// Whose the terminal is.
pub(super) struct Job {
    /// The session that it controls.
    session: Option<KArc<Pid>>,
    /// The group in front.
    foreground: Option<KArc<Pid>>,
}

impl Job {
    /// Nobody's.
    pub(super) const NONE: Self = Self { session: None, foreground: None };
}

/// What the running process is to job control.
struct Me {
    pid: u32,
    pgrp: KArc<Pid>,
    session: KArc<Pid>,
}

fn me() -> Result<Me> {
    let process = process::current()?.process();
    let tasklist = Tasklist::lock();
    let tree = process.tree.get(&tasklist);
    Ok(Me { pid: process.pid(), pgrp: tree.pgrp.clone(), session: tree.session.clone() })
}

impl Me {
    fn leads(&self) -> bool {
        self.pid == self.session.nr()
    }

    /// Whether the terminal is this session's.
    fn has_terminal(&self) -> bool {
        TTY.session_nr() == Some(self.session.nr())
    }
}

/// Whether the running process has a controlling terminal.
pub(super) fn has_terminal() -> bool {
    me().is_ok_and(|me| me.has_terminal())
}

/// Whether the caller may do to a terminal what only root does.
pub(super) fn is_privileged() -> bool {
    current::cred().is_ok_and(|cred| cred.capable(Caps::SYS_ADMIN))
}

/// The session `sid` loses its leader: the terminal is cut off from it, and its foreground group is told
/// (Linux: `disassociate_ctty`).
pub fn session_ends(sid: u32) {
    if TTY.session_nr() != Some(sid) {
        return;
    }
    let old = core::mem::replace(&mut *TTY.job.lock(), Job::NONE);
    TTY.hang_up();
    if let Some(foreground) = old.foreground {
        signal::send_pgrp(&foreground, SigInfo::from_kernel(Signal::HUP));
        signal::send_pgrp(&foreground, SigInfo::from_kernel(Signal::CONT));
    }
}

/// The terminal of session `sid` as /proc/PID/stat shows it: device number and foreground group.
pub fn of_session(sid: u32) -> Option<(u32, u32)> {
    let job = TTY.job.lock();
    if job.session.as_ref()?.nr() != sid {
        return None;
    }
    Some((device::SERIAL.encode(), job.foreground.as_ref().map_or(0, |pgrp| pgrp.nr())))
}

impl Tty {
    fn session_nr(&self) -> Option<u32> {
        self.job.lock().session.as_ref().map(|session| session.nr())
    }

    /// Sends a signal to the group in front; what was typed, or the window, is the reason.
    pub(super) fn signal_foreground(&self, signal: Signal) {
        let foreground = self.job.lock().foreground.clone();
        if let Some(foreground) = foreground {
            signal::send_pgrp(&foreground, SigInfo::from_kernel(signal));
        }
    }

    /// Whether the caller may do now what a group in the back may not: if not, `signal` goes to its group
    /// and the call starts anew when it is in front (Linux: `__tty_check_change`).
    ///
    /// # Errors
    /// `ERESTARTSYS`; `EIO` where nobody would ever bring the group to the front.
    pub(super) fn check_change(&self, _open: &OpenTty, signal: Signal) -> Result<()> {
        let Ok(me) = me() else { return Ok(()) };
        let foreground = {
            let job = self.job.lock();
            match (&job.session, &job.foreground) {
                (Some(session), Some(foreground)) if session.nr() == me.session.nr() => foreground.nr(),
                _ => return Ok(()),
            }
        };
        if foreground == me.pgrp.nr() {
            return Ok(());
        }
        if current::keeps_off(signal) {
            return if signal == Signal::TTIN { Err(Errno::EIO) } else { Ok(()) };
        }
        let orphaned = {
            let tasklist = Tasklist::lock();
            me.pgrp.is_orphaned(&tasklist, None)
        };
        if orphaned {
            return Err(Errno::EIO);
        }
        signal::send_pgrp(&me.pgrp, SigInfo::from_kernel(signal));
        Err(Errno::ERESTARTSYS)
    }

    /// As [`Tty::check_change`] for a read; /dev/console may always be read.
    pub(super) fn may_read(&self, open: &OpenTty) -> Result<()> {
        if open.console { Ok(()) } else { self.check_change(open, Signal::TTIN) }
    }

    /// Opened by the leader of a session without a terminal, a terminal without a session becomes its own.
    pub(super) fn become_controlling(&self) {
        if let Ok(me) = me()
            && me.leads()
        {
            let mut job = self.job.lock();
            if job.session.is_none() {
                *job = Job { session: Some(me.session), foreground: Some(me.pgrp) };
            }
        }
    }

    /// `TIOCSCTTY`.
    pub(super) fn set_controlling(&self, file: &File, steal: usize) -> Result<()> {
        let me = me()?;
        if me.leads() && me.has_terminal() {
            return Ok(());
        }
        if !me.leads() {
            return Err(Errno::EPERM);
        }
        if self.session_nr().is_some() && !(steal == 1 && is_privileged()) {
            return Err(Errno::EPERM);
        }
        if !file.can_read() && !is_privileged() {
            return Err(Errno::EPERM);
        }
        let new = Job { session: Some(me.session), foreground: Some(me.pgrp) };
        let old = core::mem::replace(&mut *self.job.lock(), new);
        drop(old);
        Ok(())
    }

    /// `TIOCNOTTY`: the leader gives the terminal up for its whole session.
    pub(super) fn give_up(&self) -> Result<()> {
        let me = me()?;
        // A member that is no leader would lose it alone, which is not kept here.
        if !me.has_terminal() || !me.leads() {
            return Err(Errno::ENOTTY);
        }
        let old = core::mem::replace(&mut *self.job.lock(), Job::NONE);
        if let Some(foreground) = old.foreground {
            signal::send_pgrp(&foreground, SigInfo::from_kernel(Signal::HUP));
            signal::send_pgrp(&foreground, SigInfo::from_kernel(Signal::CONT));
        }
        Ok(())
    }

    /// `TIOCGPGRP`; 0 where there is no group in front.
    pub(super) fn foreground(&self) -> Result<u32> {
        if !me()?.has_terminal() {
            return Err(Errno::ENOTTY);
        }
        Ok(self.job.lock().foreground.as_ref().map_or(0, |pgrp| pgrp.nr()))
    }

    /// `TIOCSPGRP`.
    pub(super) fn set_foreground(&self, pgrp: i32) -> Result<()> {
        let me = me()?;
        if !me.has_terminal() {
            return Err(Errno::ENOTTY);
        }
        let nr = u32::try_from(pgrp).map_err(|_| Errno::EINVAL)?;
        let pgrp = pid::find(nr).ok_or(Errno::ESRCH)?;
        let in_session = {
            let tasklist = Tasklist::lock();
            let first = pgrp.named(&tasklist).group.first();
            first.map(|member| member.tree.get(&tasklist).session.nr() == me.session.nr())
        };
        match in_session {
            None => Err(Errno::ESRCH),
            Some(false) => Err(Errno::EPERM),
            Some(true) => {
                let old = self.job.lock().foreground.replace(pgrp);
                drop(old);
                Ok(())
            }
        }
    }

    /// `TIOCGSID`.
    pub(super) fn session(&self) -> Result<u32> {
        if !me()?.has_terminal() {
            return Err(Errno::ENOTTY);
        }
        self.session_nr().ok_or(Errno::ENOTTY)
    }
}
