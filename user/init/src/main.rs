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
    let relay = if job.output_is_piped() { relay(&mut command) } else { None };
    // Not `Command::spawn`, whose pipe to the child is a socket pair.
    // SAFETY: this process has one thread, so the child may do all that the parent may.
    match unsafe { libc::fork() } {
        0 => std::process::exit(become_program(&mut command).into()),
        -1 => {
            println!("init: cannot fork: {}", std::io::Error::last_os_error());
            NOT_EXECUTABLE
        }
        pid => {
            // It holds the pipe's writing end.
            drop(command);
            relay.map_or_else(|| reap::wait_for(pid), |relay| relay.run(pid))
        }
    }
}

/// In the child: runs the program as a session of its own. Returns only if that fails, with the exit status.
fn become_program(command: &mut Command) -> u8 {
    let error = console::take().err().unwrap_or_else(|| command.exec());
    println!("init: cannot run {}: {error}", command.get_program().display());
    if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
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
