//! Builds the kernel and our own programs with cargo, and C programs with the cross compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cli::Profile;
use crate::{paths, shell, symbols};

pub(crate) const KERNEL_TARGET: &str = "riscv64imac-unknown-none-elf";
pub(crate) const USER_TARGET: &str = "riscv64gc-unknown-linux-gnu";
pub(crate) const CROSS_GCC: &str = "riscv64-linux-gnu-gcc";

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.current_dir(paths::root());
    command
}

/// Builds the kernel; returns its ELF file.
pub(crate) fn kernel(profile: Profile, quiet: bool) -> Result<PathBuf> {
    let mut command = cargo();
    command
        .args(["build", "--package", "rux", "--target", KERNEL_TARGET])
        .arg("--target-dir")
        .arg(paths::target());
    if profile == Profile::Release {
        command.arg("--release");
    }
    if quiet {
        command.arg("--quiet");
    }
    shell::run(&mut command).context("building the kernel")?;
    let folder = match profile {
        Profile::Release => "release",
        Profile::Debug => "debug",
    };
    let folder = paths::target().join(KERNEL_TARGET).join(folder);
    let (built, finished) = (folder.join("rux"), folder.join("rux.elf"));
    if modified(&finished) <= modified(&built) {
        in_one_go(&finished, |unfinished| symbols::write(&built, unfinished))?;
    }
    Ok(finished)
}

/// Builds the programs of `user/`; returns the folder that they are in.
pub(crate) fn programs(quiet: bool) -> Result<PathBuf> {
    let mut command = cargo();
    command.current_dir(paths::root().join("user"));
    command.args(["build", "--release", "--target-dir"]).arg(paths::user());
    if quiet {
        command.arg("--quiet");
    }
    shell::run(&mut command).context("building user/")?;
    Ok(paths::user().join(USER_TARGET).join("release"))
}

/// Compiles what has changed of `user/c`: each `NAME.c`, and all of `NAME/*.c` together, are a static program. Returns
/// their paths.
pub(crate) fn c_programs() -> Result<Vec<PathBuf>> {
    let sources = paths::root().join("user/c");
    let folder = paths::user().join("c");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut programs = Vec::new();
    for path in files(&sources)? {
        let parts = if path.is_dir() { files(&path)? } else { vec![path.clone()] };
        let parts: Vec<PathBuf> = parts.into_iter().filter(|part| has_extension(part, "c")).collect();
        if parts.is_empty() {
            continue;
        }
        let headers = if path.is_dir() { files(&path)? } else { Vec::new() };
        let headers = headers.into_iter().chain(files(&sources)?).filter(|file| has_extension(file, "h"));
        let newest = parts.iter().cloned().chain(headers).map(|file| modified(&file)).max().flatten();
        let program = folder.join(path.file_stem().unwrap_or_default());
        if modified(&program) < newest {
            // A trace of a folder's program is read by its functions' names.
            let strip = !path.is_dir();
            in_one_go(&program, |unfinished| compile_c(&parts, strip, unfinished))?;
        }
        programs.push(program);
    }
    Ok(programs)
}

/// What is in a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read {}", folder.display());
    let entries = fs::read_dir(folder).with_context(cannot)?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>().with_context(cannot)?;
    files.sort();
    Ok(files)
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension == wanted)
}

/// Lets `make` write a file and gives it its name when it is finished: another run may be reading the one before, or
/// be making the same.
fn in_one_go(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let unfinished = path.with_extension(format!("{}.part", std::process::id()));
    let made = make(&unfinished).and_then(|()| {
        fs::rename(&unfinished, path).with_context(|| format!("cannot write {}", path.display()))
    });
    if made.is_err() {
        // It may not have come to be.
        let _ = fs::remove_file(&unfinished);
    }
    made
}

fn compile_c(sources: &[PathBuf], strip: bool, program: &Path) -> Result<()> {
    let mut command = Command::new(CROSS_GCC);
    command.args(["-std=gnu11", "-O2", "-static", "-pthread", "-Wall", "-Wextra", "-Werror"]);
    // Bad arguments are what many of them are for.
    command.args(["-Wno-stringop-overflow", "-Wno-array-bounds", "-Wno-nonnull"]);
    if strip {
        command.arg("-s");
    }
    command.arg("-o").arg(program).args(sources.iter().filter_map(|source| source.file_name()));
    // The names in the messages of checks are then short.
    if let Some(folder) = sources.first().and_then(|source| source.parent()) {
        command.current_dir(folder);
    }
    shell::run(&mut command)
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}
