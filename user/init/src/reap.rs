//! Reaping children, init's own and orphans'.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

pub enum Reaped {
    /// A child and its status, 128+n for signal n.
    Child(libc::pid_t, u8),
    /// No child has ended, or there is none.
    Nothing,
}

/// Reaps one child; waits for one unless `options` has WNOHANG.
pub fn next(options: libc::c_int) -> Reaped {
    loop {
        let mut raw = 0;
        // SAFETY: `raw` outlives the call.
        let pid = unsafe { libc::waitpid(-1, &mut raw, options) };
        if pid > 0 {
            let status = ExitStatus::from_raw(raw);
            match (status.code(), status.signal()) {
                (Some(code), _) => return Reaped::Child(pid, code as u8),
                (None, Some(signal)) => return Reaped::Child(pid, 128 + signal as u8),
                // Stopped or continued: not asked for.
                (None, None) => continue,
            }
        }
        if pid == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Reaped::Nothing;
        }
    }
}

/// Reaps until `pid` has ended; returns its status.
pub fn wait_for(pid: libc::pid_t) -> u8 {
    loop {
        match next(0) {
            Reaped::Child(child, status) if child == pid => return status,
            Reaped::Child(..) => {}
            Reaped::Nothing => {
                println!("init: waitpid: {}", io::Error::last_os_error());
                return 1;
            }
        }
    }
}
