//! `/sbin/init`: mounts what the kernel has not mounted, sets the console up, runs the program that the job file
//! names (or a shell) as a session of its own, reaps orphans, and ends the machine with that program's status.
//! The same binary runs on Linux, so that what a program does there can be compared.

mod console;
mod job;
mod machine;
mod mount;
mod reap;
mod relay;

use std::os::unix::process::CommandExt;
use std::process::Command;

use job::Job;
use relay::Relay;

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
    let relay = if job.output_is_piped() { relay(&mut command) } else { None };
    let spawned = command.spawn();
    let program = command.get_program().to_os_string();
    // It holds the pipe's writing end.
    drop(command);
    match spawned {
        Ok(child) => {
            let pid = child.id() as libc::pid_t;
            relay.map_or_else(|| reap::wait_for(pid), |relay| relay.run(pid))
        }
        Err(e) => {
            println!("init: cannot run {}: {e}", program.display());
            if e.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
        }
    }
}

/// A pipe for the output; without one it goes to the console directly.
fn relay(command: &mut Command) -> Option<Relay> {
    Relay::attach(command).map_err(|e| println!("init: no pipe for the output: {e}")).ok()
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
