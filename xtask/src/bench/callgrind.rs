//! Counting the instructions of a program of `bench/`, by callgrind.
//!
//! The program names what it is about to do on a line of its output, and does it in a function of a known name.
//! Callgrind collects in that function alone and dumps when it returns: the n-th dump is the n-th line's. Instructions
//! of user code are the same in every run that does the same, and addresses are made the same by turning off their
//! randomisation.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{paths, shell};

pub(crate) const VALGRIND: &str = "valgrind";

/// The function whose calls are counted: `bench/src/measure.rs`.
const MEASURED: &str = "rux_bench_measured";

/// Runs `program` and returns what it wrote, and the instructions of each call of the measured function.
pub(super) fn count(program: &Path, args: &[&str]) -> Result<(String, Vec<u64>)> {
    let folder = paths::bench().join("callgrind");
    // What an earlier run left is not this one's; there may be none.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let dumps = folder.join("out");
    let mut command = Command::new(VALGRIND);
    command.args(["--tool=callgrind", "--quiet", "--combine-dumps=yes", "--collect-atstart=no"]);
    command.arg(format!("--toggle-collect={MEASURED}")).arg(format!("--dump-after={MEASURED}"));
    command.arg(format!("--callgrind-out-file={}", dumps.display()));
    command.arg(program).args(args);
    // Its size moves the stack, and with it what hashes and aligns addresses.
    command.env_clear().env("PATH", "/usr/bin:/bin");
    // SAFETY: personality is a bare system call, and nothing else happens between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let output = shell::output(&mut command)?;
    let text = fs::read_to_string(&dumps).with_context(|| format!("cannot read {}", dumps.display()))?;
    Ok((String::from_utf8_lossy(&output).into_owned(), sums(&text)?))
}

/// The sums of the dumps that the measured function's returns have triggered, in their order.
fn sums(dumps: &str) -> Result<Vec<u64>> {
    let mut sums = Vec::new();
    let mut measured = false;
    for line in dumps.lines() {
        if let Some(trigger) = line.strip_prefix("desc: Trigger: ") {
            measured = trigger.contains(MEASURED);
        } else if let Some(sum) = line.strip_prefix("summary: ")
            && measured
        {
            let Ok(sum) = sum.trim().parse() else { bail!("callgrind wrote `{line}`") };
            sums.push(sum);
            measured = false;
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_triggered_dumps_are_counted() {
        let dumps = "version: 1\npart: 1\n\ndesc: Trigger: --dump-after=rux_bench_measured\n\nevents: Ir\n\
                     summary: 21026\n\nfn=x\n1 21026\ntotals: 21026\n\npart: 2\n\
                     desc: Trigger: --dump-after=rux_bench_measured\nsummary: 7\npart: 3\n\
                     desc: Trigger: Program termination\nsummary: 9\n";
        assert_eq!(sums(dumps).unwrap(), [21026, 7]);
        assert!(sums("desc: Trigger: rux_bench_measured\nsummary: 1 2\n").is_err());
    }
}
