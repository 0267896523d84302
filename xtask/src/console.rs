//! The host's side of the terminal: lines on stderr, writes that survive a non-blocking terminal, the window's size,
//! and the modes to go back to when QEMU was killed.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::termios::{self, OptionalActions, Termios};

/// Prints `xtask: line` to stderr.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = write_all(io::stderr(), format!("xtask: {line}\n").as_bytes());
}

/// Writes all of `bytes` and flushes. QEMU makes the terminal non-blocking, for its other users too, so a write that
/// would block waits here.
pub(crate) fn write_all(mut out: impl Write + AsFd, mut bytes: &[u8]) -> io::Result<()> {
    loop {
        let written = if bytes.is_empty() { out.flush().map(|()| 0) } else { out.write(bytes) };
        match written {
            Ok(0) if bytes.is_empty() => return Ok(()),
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => wait_writable(out.as_fd())?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn wait_writable(fd: BorrowedFd<'_>) -> io::Result<()> {
    match rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Whether standard input is a terminal that this process may read: in a background job it may not.
pub(crate) fn stdin_is_ours() -> bool {
    let stdin = io::stdin();
    termios::tcgetpgrp(&stdin).is_ok_and(|foreground| foreground == rustix::process::getpgrp())
}

pub(crate) fn stdout_is_terminal() -> bool {
    termios::isatty(io::stdout())
}

pub(crate) fn stderr_is_terminal() -> bool {
    termios::isatty(io::stderr())
}

/// The terminal's `(columns, rows)`.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Brings the terminal's modes and blocking back when it goes out of scope. QEMU does it too unless it is killed.
pub(crate) struct Restore(Option<Termios>);

impl Restore {
    pub(crate) fn terminal() -> Restore {
        Restore(termios::tcgetattr(io::stdin()).ok())
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(modes) = &self.0 {
            // A terminal that has gone away needs no modes.
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, modes);
            if let Ok(flags) = rustix::fs::fcntl_getfl(io::stdin()) {
                let _ = rustix::fs::fcntl_setfl(io::stdin(), flags - rustix::fs::OFlags::NONBLOCK);
            }
        }
    }
}
