//! The command line, kept from now on: what README documents is what this file parses.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
cargo xtask run [--debug] [--smp N] [--mem SIZE] [--paging sv39|sv48|sv57] [--cpu QEMU-CPU] [--icount]
                [--append CMDLINE] [--copy HOSTPATH[:GUESTPATH]]... [--quiet] [--timeout SECONDS]
                [-- PROGRAM ARGS...]
    Sets up what is missing, builds Rux and boots it; with PROGRAM the machine powers off when it ends, with its
    exit status (128+n for a signal; 124 after the timeout, 101 after a kernel panic); without, to a shell.
    On a terminal every key goes to the guest, ^C too; C-a x ends QEMU, C-a c is its monitor, C-a C-a sends C-a.
    --debug             the kernel with every check, not the release build
    --smp N             harts, 1 to 64; 1 unless given
    --mem SIZE          memory, such as 512M; 1G unless given
    --paging MODE       caps the levels of the page tables
    --cpu QEMU-CPU      such as rv64,svade=on,svadu=off
    --icount            counts instructions on one hart and prints them at the end
    --append CMDLINE    more words for the kernel's command line
    --copy HOST[:GUEST] puts a file or folder into the guest, at /root/NAME unless GUEST is given
    --quiet             the program's output alone on stdout; the kernel's log stays in dmesg and target/run/1/rux.log
    --timeout SECONDS   ends the machine after that time
cargo xtask linux [the options of run] [--linux IMAGE] [-- PROGRAM ARGS...]
    The same on Linux, whose image is IMAGE, or what RUX_LINUX_IMAGE names, or Debian's, which is fetched through apt's
    mirror. Needs QEMU 10.0 or newer.
cargo xtask test [FILTER] [--long] [--on-linux [--linux IMAGE]]
    Formatting, lints, host tests, tests inside QEMU. FILTER picks by name; --long runs all of them. --on-linux runs
    the tests inside QEMU on Linux, where they must end as they do on Rux.
cargo xtask bench [components]
    Measures the memory manager's parts beside others of their kind, in instructions, under valgrind.
cargo xtask bench linux [--linux IMAGE] [--two-harts] [ROW]...
    Runs one program on Linux and on Rux, and compares the instructions of each operation, on one hart. The Linux is
    that of `linux`.
    --two-harts         what a second hart gains instead, in time, with a spin loop's gain beside it
cargo xtask profile ROW [--linux IMAGE] [--inlined]
    Where the instructions of one row of our benchmark go, by function, on Rux or on that Linux. Linux's names are those
    of a System.map beside IMAGE or of its /proc/kallsyms.
    --inlined           tells apart what the compiler put into Rux's functions from others
cargo xtask build [--debug]
    Builds the kernel and our programs alone.
cargo xtask setup
    Installs what is missing, and nothing else.
";

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Setup,
    Build(Profile),
    Bench(Benchmark),
    Profile(ProfileOptions),
    Run(RunOptions),
    /// The same on Linux; the image, if one is named.
    Linux(Option<PathBuf>, RunOptions),
    Test(TestOptions),
}

/// What `bench` measures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Benchmark {
    /// The parts of `mm`, on the host.
    #[default]
    Components,
    /// The kernels, by one program.
    Linux(Comparison),
}

/// What Rux and Linux are compared by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Comparison {
    /// The Linux, if one is named.
    pub image: Option<PathBuf>,
    /// The gain from a second hart, not instructions on one.
    pub two_harts: bool,
    /// These alone, by their names in the program; all if empty.
    pub rows: Vec<String>,
}

/// What `profile` traces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProfileOptions {
    /// The row's name, as the benchmark has it.
    pub row: String,
    /// The Linux to trace it on, instead of Rux.
    pub linux: Option<PathBuf>,
    pub inlined: bool,
}

/// How the kernel is built: `Release` for use and figures, `Debug` with every check on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Profile {
    #[default]
    Release,
    Debug,
}

/// A file or folder of the host for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    pub host: PathBuf,
    pub guest: String,
}

#[derive(Debug, Clone)]
pub(crate) struct RunOptions {
    pub profile: Profile,
    pub smp: u32,
    /// In QEMU's notation: a number with `M` or `G`.
    pub mem: String,
    pub paging: Option<String>,
    pub cpu: String,
    pub icount: bool,
    /// More words for the kernel's command line.
    pub append: String,
    pub copies: Vec<Copy>,
    pub quiet: bool,
    pub timeout: Option<Duration>,
    pub program: Vec<OsString>,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            profile: Profile::Release,
            smp: 1,
            mem: "1G".into(),
            paging: None,
            cpu: "rv64".into(),
            icount: false,
            append: String::new(),
            copies: Vec::new(),
            quiet: false,
            timeout: None,
            program: Vec::new(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct TestOptions {
    pub filter: Option<String>,
    pub long: bool,
    /// The tests inside the machine alone, on Linux.
    pub on_linux: bool,
    /// The Linux, if one is named.
    pub image: Option<PathBuf>,
}

pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command> {
    let mut parser = lexopt::Parser::from_args(args);
    match parser.next()? {
        Some(Value(name)) => match name.to_str() {
            Some("run") => parse_run(parser, false),
            Some("linux") => parse_run(parser, true),
            Some("test") => parse_test(parser),
            Some("build") => parse_build(parser),
            Some("bench") => parse_bench(parser),
            Some("profile") => parse_profile(parser),
            Some("setup") => match parser.next()? {
                None => Ok(Command::Setup),
                Some(Short('h') | Long("help")) => Ok(Command::Help),
                Some(arg) => Err(arg.unexpected().into()),
            },
            Some("help") => Ok(Command::Help),
            _ => bail!("there is no command `{}`", name.display()),
        },
        None | Some(Short('h') | Long("help")) => Ok(Command::Help),
        Some(arg) => Err(arg.unexpected().into()),
    }
}

fn parse_run(mut parser: lexopt::Parser, on_linux: bool) -> Result<Command> {
    let mut image = None;
    let mut options = RunOptions::default();
    loop {
        // Everything after `--` is the program's, options included.
        if let Some(mut raw) = parser.try_raw_args()
            && raw.peek().is_some_and(|arg| arg == "--")
        {
            raw.next();
            options.program = raw.collect();
            break;
        }
        let Some(arg) = parser.next()? else { break };
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("linux") if on_linux => image = Some(parser.value()?.into()),
            Long("debug") if !on_linux => options.profile = Profile::Debug,
            Long("smp") => options.smp = parser.value()?.parse_with(harts)?,
            Long("mem") => options.mem = parser.value()?.parse_with(memory)?,
            Long("paging") => options.paging = Some(parser.value()?.parse_with(paging)?),
            Long("cpu") => options.cpu = parser.value()?.string()?,
            Long("icount") => options.icount = true,
            Long("append") => {
                options.append.push(' ');
                options.append.push_str(&parser.value()?.string()?);
            }
            Long("copy") => options.copies.push(copy(&parser.value()?.string()?)?),
            Long("quiet") => options.quiet = true,
            Long("timeout") => options.timeout = Some(Duration::from_secs(parser.value()?.parse()?)),
            Value(word) => bail!("`{}`: put `--` before the program to run", word.display()),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.icount && options.smp != 1 {
        bail!("--icount counts one hart's instructions; leave --smp {} out", options.smp);
    }
    Ok(if on_linux { Command::Linux(image, options) } else { Command::Run(options) })
}

fn parse_test(mut parser: lexopt::Parser) -> Result<Command> {
    let mut options = TestOptions::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("long") => options.long = true,
            Long("on-linux") => options.on_linux = true,
            Long("linux") => options.image = Some(parser.value()?.into()),
            Value(filter) if options.filter.is_none() => options.filter = Some(filter.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.image.is_some() && !options.on_linux {
        bail!("--linux names the Linux of --on-linux");
    }
    Ok(Command::Test(options))
}

fn parse_build(mut parser: lexopt::Parser) -> Result<Command> {
    let mut profile = Profile::Release;
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("debug") => profile = Profile::Debug,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Build(profile))
}

fn parse_bench(mut parser: lexopt::Parser) -> Result<Command> {
    let mut benchmark = None;
    while let Some(arg) = parser.next()? {
        match (arg, &mut benchmark) {
            (Short('h') | Long("help"), _) => return Ok(Command::Help),
            (Value(name), None) => match name.to_str() {
                Some("components") => benchmark = Some(Benchmark::Components),
                Some("linux") => benchmark = Some(Benchmark::Linux(Comparison::default())),
                _ => bail!("there is no benchmark `{}`", name.display()),
            },
            (Long("linux"), Some(Benchmark::Linux(with))) => with.image = Some(parser.value()?.into()),
            (Long("two-harts"), Some(Benchmark::Linux(with))) => with.two_harts = true,
            (Value(row), Some(Benchmark::Linux(with))) => with.rows.push(row.string()?),
            (other, _) => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Bench(benchmark.unwrap_or_default()))
}

fn parse_profile(mut parser: lexopt::Parser) -> Result<Command> {
    let mut options = ProfileOptions::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("linux") => options.linux = Some(parser.value()?.into()),
            Long("inlined") => options.inlined = true,
            Value(row) if options.row.is_empty() => options.row = row.string()?,
            other => return Err(other.unexpected().into()),
        }
    }
    if options.row.is_empty() {
        bail!("which row? `cargo xtask run --quiet -- /usr/libexec/rux/bench --list` names them");
    }
    Ok(Command::Profile(options))
}

fn harts(text: &str) -> Result<u32> {
    match text.parse() {
        Ok(n @ 1..=64) => Ok(n),
        _ => bail!("--smp takes 1 to 64 harts"),
    }
}

fn memory(text: &str) -> Result<String> {
    let digits = text.strip_suffix(['M', 'G', 'm', 'g']).unwrap_or(text);
    match digits.parse::<u64>() {
        Ok(1..) => Ok(text.into()),
        _ => bail!("--mem takes a size such as 512M or 1G"),
    }
}

fn paging(text: &str) -> Result<String> {
    match text {
        "sv39" | "sv48" | "sv57" => Ok(text.into()),
        _ => bail!("--paging takes sv39, sv48 or sv57"),
    }
}

/// `HOST[:GUEST]`; without a guest path the file goes to `/root` under its own name.
fn copy(text: &str) -> Result<Copy> {
    let (host, guest) = match text.rsplit_once(':') {
        Some((host, guest)) if guest.starts_with('/') => (host, Some(guest)),
        _ => (text, None),
    };
    let host = PathBuf::from(host);
    let guest = match guest {
        Some(guest) => guest.into(),
        None => {
            let real = host.canonicalize().with_context(|| format!("--copy {}", host.display()))?;
            let name = real.file_name().and_then(|name| name.to_str());
            format!("/root/{}", name.ok_or_else(|| anyhow!("--copy {text}: give a guest path"))?)
        }
    };
    Ok(Copy { host, guest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Result<RunOptions> {
        let args = std::iter::once("run").chain(words.iter().copied()).map(OsString::from);
        match parse(args)? {
            Command::Run(options) => Ok(options),
            other => bail!("{other:?}"),
        }
    }

    #[test]
    fn the_programs_options_are_its_own() {
        let options = run(&["--quiet", "--mem", "512M", "--", "/bin/ls", "--quiet", "--", "-d"]).unwrap();
        assert!(options.quiet);
        assert_eq!(options.mem, "512M");
        assert_eq!(options.program, ["/bin/ls", "--quiet", "--", "-d"]);
    }

    #[test]
    fn every_command_has_help() {
        for words in [
            &["run", "--quiet", "--help"][..],
            &["test", "-h"],
            &["build", "--help"],
            &["bench", "--help"],
            &["profile", "--help"],
            &["linux", "--help"],
            &["setup", "-h"],
        ] {
            let args = words.iter().map(OsString::from);
            assert!(matches!(parse(args), Ok(Command::Help)), "{words:?}");
        }
        assert_eq!(run(&["--", "/bin/ls", "--help"]).unwrap().program, ["/bin/ls", "--help"]);
    }

    #[test]
    fn linux_takes_the_options_of_run_and_an_image() {
        let words = ["linux", "--linux", "Image", "--smp", "2", "--", "prog", "--linux"];
        let Ok(Command::Linux(image, options)) = parse(words.map(OsString::from)) else {
            panic!("{words:?}")
        };
        assert_eq!((image, options.smp, options.program.len()), (Some("Image".into()), 2, 2));
        assert!(parse(["linux", "--debug"].map(OsString::from)).is_err(), "Linux is not ours to build");
        assert!(parse(["run", "--linux", "Image"].map(OsString::from)).is_err());
        assert!(parse(["test", "--linux", "Image"].map(OsString::from)).is_err());
    }

    #[test]
    fn kernels_are_compared_by_rows() {
        let words = ["bench", "linux", "--linux", "Image", "null-call", "--two-harts", "exec"];
        let Ok(Command::Bench(Benchmark::Linux(with))) = parse(words.map(OsString::from)) else {
            panic!("{words:?}")
        };
        assert_eq!((with.image, with.two_harts), (Some("Image".into()), true));
        assert_eq!(with.rows, ["null-call", "exec"]);
        assert!(parse(["bench", "components", "--two-harts"].map(OsString::from)).is_err());
        assert!(parse(["bench", "components", "linux"].map(OsString::from)).is_err());
    }

    #[test]
    fn bad_values_are_refused() {
        for words in [
            &["--smp", "0"][..],
            &["--smp", "65"],
            &["--mem", "lots"],
            &["--paging", "sv32"],
            &["--icount", "--smp", "2"],
            &["prog"],
            &["--what"],
        ] {
            assert!(run(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn copies_split_at_the_guest_path() {
        assert_eq!(copy("a:b:/c").unwrap(), Copy { host: "a:b".into(), guest: "/c".into() });
        assert_eq!(copy("/").map_err(|_| ()), Err(()));
    }
}
