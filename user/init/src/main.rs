//! `/sbin/init`: mounts what the kernel has not mounted, sets the console up, runs the program that the job file
//! names (or a shell) as a session of its own, reaps orphans, and ends the machine with that program's status.
//! The same binary runs on Linux, so that what a program does there can be compared.

mod console;
mod job;
mod machine;
mod mount;

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use job::Job;

/// What `sh` answers for a program that is not there, and for one that cannot be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

fn main() {
    let job = Job::read();
    mount::all();
    console::open();
    console::configure(&job);
    console::say_start();
    let status = run(&job);
    console::drain();
    machine::power_off(status);
}

/// Runs the job and returns its exit status, 128+n for signal n.
fn run(job: &Job) -> u8 {
    let mut command = match job.command() {
        Ok(command) => command,
        Err(missing) => {
            println!("init: {missing}");
            return NOT_FOUND;
        }
    };
    environment(&mut command, job);
    // SAFETY: the child only makes system calls (setsid, ioctl) before exec.
    unsafe { command.pre_exec(console::take) };
    match command.spawn() {
        Ok(child) => wait_for(child.id() as libc::pid_t),
        Err(e) => {
            println!("init: cannot run {}: {e}", command.get_program().display());
            if e.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
        }
    }
}

fn environment(command: &mut Command, job: &Job) {
    command
        .env_clear()
        .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
        .env("HOME", "/root")
        .env("USER", "root")
        .env("LOGNAME", "root")
        .env("SHELL", "/bin/sh")
        .env("TERM", job.term());
    if std::fs::metadata("/root").is_ok() {
        command.current_dir("/root");
    }
}

/// Reaps every child, its own and orphans', until `pid` has ended.
fn wait_for(pid: libc::pid_t) -> u8 {
    loop {
        let mut raw = 0;
        // SAFETY: `raw` outlives the call.
        let reaped = unsafe { libc::waitpid(-1, &mut raw, 0) };
        if reaped == pid {
            let status = ExitStatus::from_raw(raw);
            return match (status.code(), status.signal()) {
                (Some(code), _) => code as u8,
                (None, Some(signal)) => 128 + signal as u8,
                (None, None) => continue,
            };
        }
        if reaped < 0 && std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            println!("init: waitpid: {}", std::io::Error::last_os_error());
            return 1;
        }
    }
}
