//! A pipe for the program's output when the host's standard output is no terminal: then it must be none in the guest
//! either (`ls` prints columns on one). Standard error goes the same way, so that the order of both is kept.
//!
//! init is the pipe's reader and the children's reaper in one thread: SIGCHLD makes the pipe non-blocking, so that a
//! read neither misses the program's end nor waits for orphans that hold the pipe open.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::reap::{self, Reaped};

/// The reading end, for the signal handler.
static READER: AtomicI32 = AtomicI32::new(-1);

/// The pipe's reading end.
pub struct Relay(File);

impl Relay {
    /// Makes `command` write into a new pipe.
    pub fn attach(command: &mut Command) -> io::Result<Relay> {
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for both descriptors, which are ours alone on success.
        let (reader, writer) = unsafe {
            if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
                return Err(io::Error::last_os_error());
            }
            (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
        };
        READER.store(reader.as_raw_fd(), Ordering::Relaxed);
        command.stderr(writer.try_clone()?).stdout(writer);
        // SAFETY: a zeroed sigaction is a valid one; the handler only makes an async-signal-safe call.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_child as extern "C" fn(libc::c_int) as usize;
            // No SA_RESTART: a read that waits has to end.
            if libc::sigaction(libc::SIGCHLD, &action, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Relay(File::from(reader)))
    }

    /// Passes everything on to the console until `pid` has ended and its output is through; returns its status.
    /// The caller holds no writing end any more.
    pub fn run(mut self, pid: libc::pid_t) -> u8 {
        let mut status = None;
        let mut buffer = [0; 4096];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return status.unwrap_or_else(|| reap::wait_for(pid)),
                Ok(n) => {
                    // A console that cannot be written to has nobody to tell.
                    let _ = io::stdout().write_all(&buffer[..n]).and_then(|()| io::stdout().flush());
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    if let Some(status) = status {
                        return status;
                    }
                    // In this order: a child that ends after the second step makes the pipe non-blocking again.
                    set_flags(self.0.as_raw_fd(), 0);
                    status = reap_all(pid);
                    if status.is_some() {
                        set_flags(self.0.as_raw_fd(), libc::O_NONBLOCK);
                    }
                }
                Err(e) => {
                    println!("init: reading the program's output: {e}");
                    return reap::wait_for(pid);
                }
            }
        }
    }
}

/// Reaps what has ended; the status if `pid` was among them.
fn reap_all(pid: libc::pid_t) -> Option<u8> {
    let mut status = None;
    loop {
        match reap::next(libc::WNOHANG) {
            Reaped::Child(child, its) if child == pid => status = Some(its),
            Reaped::Child(..) => {}
            Reaped::Nothing => return status,
        }
    }
}

extern "C" fn on_child(_: libc::c_int) {
    set_flags(READER.load(Ordering::Relaxed), libc::O_NONBLOCK);
}

fn set_flags(fd: i32, flags: libc::c_int) {
    // SAFETY: a system call without pointers.
    unsafe { libc::fcntl(fd, libc::F_SETFL, flags) };
}
