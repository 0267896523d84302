//! `cargo xtask …`: sets the machine up, builds Rux, runs it under QEMU and tests it.
//!
//! Messages go to stderr, each with the prefix `xtask:`; stdout carries the guest's terminal and nothing else.

mod bench;
mod boot;
mod build;
mod busybox;
mod cli;
mod console;
mod cpio;
mod filter;
mod icount;
mod initramfs;
mod input;
mod kernel;
mod paths;
mod profile;
mod qemu;
mod run;
mod setup;
mod shell;
mod slot;
mod symbols;
mod test;

use std::process::ExitCode;

use cli::Command;

/// Prints one line to stderr. Unlike `eprintln!` it survives a terminal that QEMU has made non-blocking.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => {
        $crate::console::say(&format!($($arg)*))
    };
}

fn main() -> ExitCode {
    let done = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            print!("{}", cli::HELP);
            Ok(0)
        }
        Ok(Command::Setup) => setup::for_run().map(|()| 0),
        Ok(Command::Build(profile)) => run::build_only(profile),
        Ok(Command::Bench(benchmark)) => bench::run(benchmark),
        Ok(Command::Profile(options)) => profile::profile(&options),
        Ok(Command::Run(options)) => run::run(&options),
        Ok(Command::Linux(image, options)) => run::linux(image.as_deref(), &options),
        Ok(Command::Test(options)) => test::test(&options),
        Err(error) => {
            say!("{error:#}");
            say!("`cargo xtask help` shows the command line");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
