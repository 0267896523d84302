//! What is checked on the host: formatting, lints for every target, the crates' own tests, the
//! lock-free parts under loom, and the tests again under Miri.

use std::process::Command;

use anyhow::Result;

use super::{Outcome, Step, rows};
use crate::bench::quick_check;
use crate::build::{self, KERNEL_TARGET};
use crate::cli::TestOptions;
use crate::{paths, say, shell};

/// Crates that build for the bare machine.
const KERNEL_CRATES: [&str; 6] = ["-p", "rux-machine", "-p", "rux-mm", "-p", "rux"];

/// Crates with `unsafe` that runs on the host.
const MIRI_CRATES: [&str; 4] = ["-p", "rux-machine", "-p", "rux-mm"];

/// What Miri runs each time: of every room with `unsafe` the tests that take it seconds.
const MIRI_SHORT: [&str; 26] = [
    "addr::",
    "early::",
    "gfp::",
    "lru::",
    "page::count",
    "page::folio",
    "maple::tests::faults",
    "maple::tests::model::borders",
    "maple::tests::threads",
    "rcu::",
    "sync::",
    "mask::",
    "short::",
    "slab::",
    "paging::entry",
    "paging::level",
    "paging::tests::a_gather",
    "paging::tests::a_table",
    "paging::tests::a_walk",
    "paging::tests::empty_tables",
    "rmap::imap::",
    "vma::reader",
    "xarray::tests::faults::a_",
    "xarray::tests::threads::a_",
    "xarray::tests::threads::the_last",
    "xarray::word::",
];

/// What Miri runs besides under `--long`, which takes it many minutes: without its rules of aliasing, whose books of
/// memory with many small parts are ten times the work. The short tests are under them.
const MIRI_LONG: [&str; 9] = [
    "rmap::interval",
    "maple::tests::model",
    "page::validate",
    "page_alloc::tests::a_",
    "page_alloc::tests::all_memory",
    "page_alloc::tests::blocks",
    "page_alloc::tests::caught",
    "filemap::tests",
    "xarray::tests::units",
];
const MIRI_LONG_FLAGS: &str = "-Zmiri-disable-stacked-borrows";

/// What is in neither, and why.
const MIRI_NEVER: &str = "not under Miri: models and threads of the page tables, lists of 64 harts, fault and space, which \
                          it was never seen to end";

pub(super) fn steps(options: &TestOptions) -> Vec<Step<'static>> {
    let long = options.long;
    let in_folder = |folder: &str| {
        let mut command = build::cargo();
        command.current_dir(paths::root().join(folder));
        command
    };
    let (user, bench) = (|| in_folder("user"), || in_folder("bench"));
    let mut steps = vec![
        cargo("format", build::cargo(), &["fmt", "--all", "--check"]),
        cargo("format user", user(), &["fmt", "--all", "--check"]),
        cargo("format bench", bench(), &["fmt", "--all", "--check"]),
        cargo("lint host", build::cargo(), &["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]),
        cargo(
            "lint kernel",
            build::cargo(),
            &[
                &["clippy", "--quiet", "--target", KERNEL_TARGET],
                &KERNEL_CRATES[..],
                &["--", "-D", "warnings"],
            ]
            .concat(),
        ),
    ];
    let mut lint_user = user();
    lint_user.env("CARGO_TARGET_DIR", paths::user());
    steps.push(cargo("lint user", lint_user, &["clippy", "--release", "--quiet", "--", "-D", "warnings"]));
    let mut lint_bench = bench();
    lint_bench.env("CARGO_TARGET_DIR", paths::bench());
    steps.push(cargo("lint bench", lint_bench, &["clippy", "--release", "--quiet", "--", "-D", "warnings"]));
    steps.push(cargo("host tests", build::cargo(), &["test", "--quiet", "--workspace", "--exclude", "rux"]));
    steps.push(rows::step());
    steps.push(Step::new("host tests, at length", move || match long {
        true => {
            shell::run(build::cargo().args(["test", "--quiet", "-p", "rux-mm", "--lib", "--", "--ignored"]))
                .map(|()| Outcome::Passed)
        }
        false => Ok(Outcome::Skipped("only under --long".into())),
    }));
    let mut loom = build::cargo();
    loom.env("RUSTFLAGS", "--cfg loom").arg("test").arg("--target-dir").arg(paths::target().join("loom"));
    steps.push(cargo("loom", loom, &["--quiet", "--release", "-p", "rux-mm", "--test", "loom*"]));
    steps.push(Step::new("bench components, a little of each", || quick_check().map(|()| Outcome::Passed)));
    steps.push(Step::new("miri", || miri(&MIRI_SHORT, None)));
    steps.push(Step::new("miri, at length", move || match long {
        true => miri(&MIRI_LONG, Some(MIRI_LONG_FLAGS)),
        false => Ok(Outcome::Skipped("only under --long".into())),
    }));
    steps
}

fn cargo(name: &'static str, mut command: Command, args: &[&str]) -> Step<'static> {
    command.args(args);
    Step::new(name, move || shell::run(&mut command).map(|()| Outcome::Passed))
}

/// Runs the tests whose names contain one of `names` under Miri, which is part of nightly only.
fn miri(names: &[&str], more_flags: Option<&str>) -> Result<Outcome> {
    let cargo = || {
        let mut command = Command::new("cargo");
        // The stable toolchain that runs us must not be inherited.
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC").current_dir(paths::root());
        command.args(["+nightly", "miri"]);
        command
    };
    if !shell::succeeds(cargo().arg("--version")) {
        let reason = "no nightly Rust with Miri; `rustup toolchain install nightly -c miri,rust-src` adds it";
        return Ok(Outcome::Skipped(reason.into()));
    }
    let mut command = cargo();
    // Not quiet: it says which tests are left out, and why.
    command.arg("test").args(MIRI_CRATES).arg("--target-dir").arg(paths::target().join("miri"));
    // Without weak memory: descriptors' words are used at different widths by successive owners, which Miri does not
    // emulate. Loom models the lock-free parts.
    let flags =
        ["-Zmiri-permissive-provenance", "-Zmiri-disable-isolation", "-Zmiri-disable-weak-memory-emulation"];
    let flags: Vec<_> = flags.into_iter().chain(more_flags).collect();
    command.env("MIRIFLAGS", flags.join(" "));
    command.args(["--lib", "--"]).args(names);
    say!("{MIRI_NEVER}");
    shell::run(&mut command).map(|()| Outcome::Passed)
}
