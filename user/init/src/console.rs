//! The console: init's standard streams, the terminal's modes, and the line that tells the host where the program's
//! output starts.

use std::io;

use crate::job::Job;

const CONSOLE: &std::ffi::CStr = c"/dev/console";
/// The device that the console is on.
const TERMINAL: &std::ffi::CStr = c"/dev/ttyS0";

/// Ends the kernel's own output on the serial line; `xtask` passes on what follows. Kept in step with
/// `xtask/src/console.rs`.
const START: &[u8] = b"\x1erux-start\n";

/// Makes descriptors 0, 1 and 2 the console, whatever the kernel opened.
pub fn open() {
    // SAFETY: a path that ends in NUL; dup2 onto the standard descriptors, which nothing else holds yet.
    unsafe {
        let fd = libc::open(CONSOLE.as_ptr(), libc::O_RDWR | libc::O_NOCTTY);
        if fd < 0 {
            return;
        }
        for standard in 0..=2 {
            libc::dup2(fd, standard);
        }
        if fd > 2 {
            libc::close(fd);
        }
    }
}

/// Terminal modes for this job. The kernel's defaults suit a person; a pipe's bytes must pass unchanged.
pub fn configure(job: &Job) {
    // SAFETY: termios and winsize are plain data, filled by the kernel or here.
    unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(0, &mut modes) == 0 {
            if job.output_is_piped() {
                modes.c_oflag &= !libc::OPOST;
            }
            // Echo belongs on a terminal, not among a program's output.
            if job.input_is_piped() || job.output_is_piped() {
                modes.c_lflag &= !libc::ECHO;
            }
            // A file's carriage returns and control characters are data; `xtask` quotes with ^V those that the line
            // discipline would act on, and ends the file with ^D.
            if job.input_is_piped() {
                modes.c_iflag &= !(libc::ICRNL | libc::INLCR | libc::IGNCR | libc::IXON | libc::IXOFF);
                modes.c_lflag |= libc::ICANON | libc::IEXTEN;
                modes.c_lflag &= !libc::ISIG;
            }
            libc::tcsetattr(0, libc::TCSANOW, &modes);
        }
        if let Some((columns, rows)) = job.size() {
            let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            libc::ioctl(0, libc::TIOCSWINSZ, &size);
        }
    }
}

/// Tells the host that the kernel's messages end here.
pub fn say_start() {
    // SAFETY: START outlives the call. A console that cannot be written to has nobody to tell.
    unsafe { libc::write(1, START.as_ptr().cast(), START.len()) };
}

/// In the child: a session of its own with the console as its terminal, by the name under which job control
/// holds: who reads `/dev/console` is never stopped for being in the background.
pub fn take() -> io::Result<()> {
    // SAFETY: system calls without pointers but for a path that ends in NUL.
    unsafe {
        libc::setsid();
        libc::ioctl(0, libc::TIOCSCTTY, 0);
        let fd = libc::open(TERMINAL.as_ptr(), libc::O_RDWR);
        if fd < 0 {
            return Ok(());
        }
        for standard in 0..=2 {
            if libc::isatty(standard) != 0 {
                libc::dup2(fd, standard);
            }
        }
        if fd > 2 {
            libc::close(fd);
        }
    }
    Ok(())
}

/// Waits until the host has all output.
pub fn drain() {
    // SAFETY: a system call without pointers.
    unsafe { libc::tcdrain(1) };
}
