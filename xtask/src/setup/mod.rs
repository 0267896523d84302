//! Set-up: looks whether each thing that is needed is there, and installs what is not.
//!
//! Each check looks at the thing itself, so nothing has to be remembered between runs. Outside `target/` nothing is
//! changed but by the package manager and rustup.

mod apt;
mod busybox;
mod foreign;
mod host;
mod linux;
mod rustup;

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};

pub(crate) use busybox::file as busybox_file;

use crate::paths;
use host::Tool;

/// What compiling needs.
pub(crate) fn for_build() -> Result<()> {
    let _alone = lock()?;
    rustup::targets()?;
    host::tools(&[Tool::CrossCompiler])
}

/// What booting needs.
pub(crate) fn for_run() -> Result<()> {
    let _alone = lock()?;
    rustup::targets()?;
    host::tools(&[Tool::Qemu, Tool::CrossCompiler])?;
    busybox::get()
}

/// Debian's Linux, to compare with.
pub(crate) fn linux_image() -> Result<PathBuf> {
    let _alone = lock()?;
    linux::get()
}

/// What counting instructions on the host needs.
pub(crate) fn for_bench() -> Result<()> {
    let _alone = lock()?;
    host::tools(&[Tool::Valgrind])
}

/// What the tests need.
pub(crate) fn for_test() -> Result<()> {
    for_run()?;
    rustup::test_components()
}

/// One set-up at a time: two package managers would be in each other's way. Held until dropped.
fn lock() -> Result<File> {
    let path = paths::setup().join("lock");
    let open = || {
        fs::create_dir_all(paths::setup())?;
        let file = File::create(&path)?;
        file.lock()?;
        Ok::<_, std::io::Error>(file)
    };
    open().with_context(|| format!("cannot lock {}", path.display()))
}
