//! The guest's busybox: Debian's riscv64 `busybox-static`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::foreign;
use crate::{paths, say};

const PACKAGE: &str = "busybox-static";

/// How long to leave a mirror alone that did not have it.
const RETRY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where it is once it is there.
pub(crate) fn file() -> PathBuf {
    paths::setup().join("busybox/busybox")
}

/// Gets it unless it is there. A mirror without it is no error: the machine boots without as well.
pub(crate) fn get() -> Result<()> {
    let failed = paths::setup().join("busybox/not-found");
    if file().is_file() || is_recent(&failed) {
        return Ok(());
    }
    fs::create_dir_all(paths::setup().join("busybox"))?;
    match download() {
        Ok(()) => Ok(()),
        Err(error) => {
            say!("no busybox for the guest: {error:#}");
            say!("the next try is in a day, or when {} is gone", failed.display());
            fs::write(&failed, format!("{error:#}\n"))
                .with_context(|| format!("cannot write {}", failed.display()))
        }
    }
}

fn is_recent(stamp: &std::path::Path) -> bool {
    fs::metadata(stamp)
        .and_then(|meta| meta.modified())
        .is_ok_and(|written| written.elapsed().is_ok_and(|age| age < RETRY))
}

fn download() -> Result<()> {
    foreign::unpack(PACKAGE, &paths::setup().join("busybox"), |unpacked| {
        let places = ["usr/bin/busybox", "bin/busybox"];
        let Some(binary) = places.iter().map(|place| unpacked.join(place)).find(|path| path.is_file()) else {
            bail!("{PACKAGE} holds no busybox");
        };
        fs::rename(&binary, file()).with_context(|| format!("cannot move {}", binary.display()))
    })
}
