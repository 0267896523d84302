//! The guest's busybox: Debian's riscv64 `busybox-static`, from the first suite of the machine's own mirror that has
//! it, through a private apt root, so that its signature is checked. Needs no root.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::apt;
use crate::{paths, say, shell};

const SUITES: [&str; 3] = ["trixie", "forky", "sid"];
const PACKAGE: &str = "busybox-static";
const ARCHITECTURE: &str = "riscv64";

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
    if !shell::succeeds(Command::new("apt-get").arg("--version")) {
        bail!("there is no apt here to get {PACKAGE} with");
    }
    let sources = apt::sources();
    let Some(main) = sources.first() else { bail!("apt is configured with no Debian mirror") };
    let mut why = String::new();
    for suite in SUITES {
        say!("getting {PACKAGE} for {ARCHITECTURE} from {} ({suite})", main.uri);
        match from_suite(&apt::Source { suite: suite.into(), ..main.clone() }) {
            Ok(()) => return Ok(()),
            Err(error) => {
                say!("not in {suite}: {error:#}");
                why = format!("{error:#}");
            }
        }
    }
    bail!("{} has no {ARCHITECTURE} {PACKAGE} in {SUITES:?} ({why})", main.uri)
}

fn from_suite(source: &apt::Source) -> Result<()> {
    let root = paths::setup().join("busybox").join(&source.suite);
    // What an interrupted try left is in the way.
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot empty {}", root.display()))?;
    }
    apt::configure(&root, std::slice::from_ref(source), Some(ARCHITECTURE))?;
    let config = root.join("apt.conf");
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("LC_ALL", "C").arg("-q").arg("-c").arg(&config).current_dir(&root);
        command
    };
    shell::run(apt().arg("update"))?;
    shell::run(apt().args(["download", PACKAGE]))?;
    let Some(package) = fs::read_dir(&root)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
    else {
        bail!("apt downloaded nothing");
    };
    let unpacked = root.join("unpacked");
    shell::run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked))?;
    let places = ["usr/bin/busybox", "bin/busybox"];
    let Some(binary) = places.iter().map(|place| unpacked.join(place)).find(|path| path.is_file()) else {
        bail!("{} holds no busybox", package.display());
    };
    fs::rename(&binary, file()).with_context(|| format!("cannot move {}", binary.display()))?;
    fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))
}
