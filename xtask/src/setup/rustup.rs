//! The Rust targets and components. Looked for in the toolchain's own folders; installed by rustup where there is one.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{KERNEL_TARGET, USER_TARGET};
use crate::{build, say, shell};

/// The kernel's and our programs' targets.
pub(crate) fn targets() -> Result<()> {
    let installed = sysroot()?.join("lib/rustlib");
    let missing =
        [KERNEL_TARGET, USER_TARGET].into_iter().filter(|t| !installed.join(t).join("lib").is_dir());
    add("target", &missing.collect::<Vec<_>>())
}

/// What formatting and lints need; a minimal toolchain lacks them.
pub(crate) fn test_components() -> Result<()> {
    let missing = [("rustfmt", "fmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(_, command)| !shell::succeeds(build::cargo().args([command, "--version"])))
        .map(|(component, _)| component);
    add("component", &missing.collect::<Vec<_>>())
}

fn sysroot() -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let text = shell::output(Command::new(rustc).args(["--print", "sysroot"]))
        .context("looking for the toolchain")?;
    Ok(PathBuf::from(String::from_utf8_lossy(&text).trim()))
}

fn add(kind: &str, names: &[&str]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.args([kind, "add"]).args(names);
    if !shell::succeeds(Command::new("rustup").arg("--version")) {
        bail!(
            "this Rust toolchain lacks the {kind}s {names:?} and there is no rustup to add them; with rustup: {}",
            shell::shown(&rustup)
        );
    }
    say!("rustup adds the {kind}s {}", names.join(", "));
    shell::run(&mut rustup)
}
