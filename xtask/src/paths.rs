//! Where things lie: everything that xtask writes is under `target/`.

use std::path::{Path, PathBuf};

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// `target/`, or what CARGO_TARGET_DIR says.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// What the set-up keeps between runs.
pub(crate) fn setup() -> PathBuf {
    target().join("setup")
}

/// The runs' initramfs and logs, a folder for each of those that go on at the same time.
pub(crate) fn run() -> PathBuf {
    target().join("run")
}

/// What is built from `bench/`, and its figures.
pub(crate) fn bench() -> PathBuf {
    target().join("bench")
}

/// The figures of Rux and Linux side by side.
pub(crate) fn linux_bench() -> PathBuf {
    target().join("bench-linux")
}

/// Our own programs, built for Linux on riscv64.
pub(crate) fn user() -> PathBuf {
    target().join("user")
}
