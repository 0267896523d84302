//! `bench linux --two-harts`: what a second hart gains, on Linux and on Rux, with a spin loop's gain beside it.
//!
//! Without counting of instructions: each hart is a thread of the host, whose time is measured. On a machine that does
//! other work the spin loop, too, gains little; what is looked at is the share of its gain.

use std::fs;

use anyhow::{Context, Result, bail};

use super::json::Json;
use super::table::markdown;
use super::{docs, guest};
use crate::cli::{Comparison, Profile, RunOptions};
use crate::initramfs::{PROGRAMS, Tree};
use crate::kernel::Kernel;
use crate::{console, paths, run, say, setup};

const PROGRAM: &str = "scale";

/// The part of `docs/benchmarks.md`.
const PART: &str = "bench linux --two-harts";

/// A kind of work on one kernel: medians.
#[derive(Debug, Clone, PartialEq)]
struct Gain {
    name: String,
    /// Two harts' work, in that of one in the same time.
    gain: f64,
    /// The spin loop's in the same runs.
    spin: f64,
    /// Runs whose spin loop gained too little or too much, however often they were repeated.
    poor: u32,
}

impl Gain {
    fn share(&self) -> f64 {
        self.gain / self.spin
    }
}

/// One kernel's lines.
#[derive(Debug, Clone, PartialEq, Default)]
struct Report {
    system: String,
    gains: Vec<Gain>,
}

impl Report {
    fn hear(&mut self, line: &str) -> Result<()> {
        let unknown = || format!("the program wrote `{line}`");
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["system", system] => self.system = system.into(),
            [name, gain, spin, poor] => self.gains.push(Gain {
                name: name.into(),
                gain: gain.parse().with_context(unknown)?,
                spin: spin.parse().with_context(unknown)?,
                poor: poor.parse().with_context(unknown)?,
            }),
            _ => bail!(unknown()),
        }
        Ok(())
    }
}

pub(super) fn run(with: &Comparison) -> Result<u8> {
    if !with.rows.is_empty() {
        bail!("--two-harts measures all that it has: leave {:?} out", with.rows);
    }
    setup::for_run()?;
    let linux = Kernel::linux(with.image.as_deref())?;
    let rux = Kernel::rux(Profile::Release, true)?;
    let tree = run::userland(&RunOptions { quiet: true, ..RunOptions::default() }, true)?;
    let linux = measure(&linux, &tree)?;
    let rux = measure(&rux, &tree)?;
    let stamp = docs::stamp();
    let folder = paths::linux_bench();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join("two-harts.json");
    let all =
        Json::Object(vec![("date", Json::text(&stamp)), ("linux", report(&linux)), ("rux", report(&rux))]);
    fs::write(&file, all.written()).with_context(|| format!("cannot write {}", file.display()))?;
    let text = table(&stamp, &linux, &rux);
    console::write_all(std::io::stdout(), text.as_bytes())?;
    say!("the figures are in {}", file.display());
    docs::replace(PART, &text)?;
    Ok(0)
}

fn measure(kernel: &Kernel, tree: &Tree) -> Result<Report> {
    let options = RunOptions {
        smp: 2,
        quiet: true,
        program: vec![format!("{PROGRAMS}/{PROGRAM}").into()],
        ..RunOptions::default()
    };
    let who = if kernel.is_rux() { "Rux" } else { "Linux" };
    say!("{who}: booting {}", kernel.image().display());
    let mut report = Report::default();
    let mut wrong = None;
    let status = guest::run(kernel, tree, &options, &mut |line| {
        if let Some(progress) = line.strip_prefix('\t') {
            say!("{who}: {progress}");
        } else if let Err(error) = report.hear(line) {
            wrong.get_or_insert(error);
        }
    })?;
    match wrong {
        Some(error) => Err(error.context(who)),
        None if status != 0 => bail!("{who}: {PROGRAM} ended with status {status}"),
        None => Ok(report),
    }
}

fn report(report: &Report) -> Json {
    let gain = |gain: &Gain| {
        Json::Object(vec![
            ("name", Json::text(&gain.name)),
            ("gain", Json::number(Some(gain.gain))),
            ("spin", Json::number(Some(gain.spin))),
            ("runs_with_a_poor_spin", Json::Number(gain.poor.into())),
        ])
    };
    Json::Object(vec![
        ("system", Json::text(&report.system)),
        ("gains", Json::List(report.gains.iter().map(gain).collect())),
    ])
}

fn table(stamp: &str, linux: &Report, rux: &Report) -> String {
    let head = ["in parallel", "Linux gains", "its spin", "Rux gains", "its spin", "Rux's share of the spin"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for ours in &rux.gains {
        let theirs = linux.gains.iter().find(|gain| gain.name == ours.name);
        let shown = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2}"));
        rows.push(vec![
            ours.name.clone(),
            shown(theirs.map(|gain| gain.gain)),
            shown(theirs.map(|gain| gain.spin)),
            shown(Some(ours.gain)),
            shown(Some(ours.spin)),
            shown(Some(ours.share())),
        ]);
    }
    let poor: u32 = linux.gains.iter().chain(&rux.gains).map(|gain| gain.poor).sum();
    let remark = match poor {
        0 => String::new(),
        runs => {
            format!(
                "\nThe host did other work: {runs} runs had a spin loop that gained under 1.5 or over 2.1 to the last.\n"
            )
        }
    };
    format!(
        "{stamp}. On `{}` and on `{}`. Two harts' work in that of one in the same time, medians of 11 runs.\n\n{}{remark}",
        linux.system,
        rux.system,
        markdown(&rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(lines: &[&str]) -> Report {
        let mut report = Report::default();
        lines.iter().for_each(|line| report.hear(line).unwrap());
        report
    }

    #[test]
    fn gains_stand_beside_their_spin_loops() {
        let linux = example(&["system\tLinux", "faults\t1.50\t1.80\t0"]);
        let rux = example(&["system\tRux", "faults\t1.60\t2.00\t3", "fork\t1.00\t1.90\t0"]);
        let text = table("today", &linux, &rux);
        let row = |at: usize| {
            let line = text.lines().nth(at).unwrap();
            line.split('|').map(str::trim).map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(row(4)[1..7], ["faults", "1.50", "1.80", "1.60", "2.00", "0.80"]);
        assert_eq!(row(5)[1..4], ["fork", "–", "–"]);
        assert!(text.contains(" 3 runs had a spin loop"), "{text}");
        assert!(Report::default().hear("scale.c:1: x does not hold").is_err());
    }
}
