//! `bench linux`: the instructions of each operation, by one program on Linux and on Rux, on one hart.
//!
//! QEMU counts instructions by its clock, which is all that the program reads, and everything that could differ between
//! two boots is fixed; so two runs agree.

use std::fs;

use anyhow::{Context, Result, bail};

use super::figures::{self, Outcome, Pair, Report};
use super::json::{self, Json};
use super::table::markdown;
use super::{chart, docs, guest};
use crate::cli::{Comparison, Profile, RunOptions};
use crate::icount::grouped;
use crate::initramfs::{PROGRAMS, Tree};
use crate::kernel::Kernel;
use crate::{console, paths, run, say, setup};

/// The program, and the virtual seconds after which what boot left behind is done.
const PROGRAM: &str = "bench";
const SETTLE: &str = "10";

/// The part of `docs/benchmarks.md`.
const PART: &str = "bench linux";

pub(super) fn run(with: &Comparison) -> Result<u8> {
    setup::for_run()?;
    let linux = Kernel::linux(with.image.as_deref())?;
    let rux = Kernel::rux(Profile::Release, true)?;
    let tree = run::userland(&RunOptions { quiet: true, ..RunOptions::default() }, true)?;
    let (linux, linux_well) = measure(&linux, &tree, &with.rows)?;
    let (rux, rux_well) = measure(&rux, &tree, &with.rows)?;
    let pairs = figures::pairs(&linux, &rux);
    let stamp = docs::stamp();
    let title = format!("Rux's instructions for one of Linux's: {stamp}; {}", linux.system);
    let folder = paths::linux_bench();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    };
    let all = Json::Object(vec![
        ("date", Json::text(&stamp)),
        ("linux", Json::text(&linux.system)),
        ("rux", Json::text(&rux.system)),
        ("geometric_mean", Json::number(figures::geometric_mean(&pairs))),
        ("rows", Json::List(pairs.iter().map(json::pair).collect())),
    ]);
    // What some rows give is not put in the place of the whole.
    let (figures, ratios) = match with.rows.is_empty() {
        true => ("figures.json", "ratios.svg"),
        false => ("figures-of-rows.json", "ratios-of-rows.svg"),
    };
    write(figures, &all.written())?;
    write(ratios, &chart::svg(&title, &pairs))?;
    let text = table(&stamp, &linux, &rux, &pairs);
    console::write_all(std::io::stdout(), text.as_bytes())?;
    say!("{figures} and {ratios} are in {}", folder.display());
    let well = linux_well && rux_well;
    // A part of the table is not the table, and nor is one with holes.
    if well && with.rows.is_empty() {
        docs::replace(PART, &text)?;
    }
    Ok(u8::from(!well))
}

/// Runs the rows on one kernel; says whether all went well.
fn measure(kernel: &Kernel, tree: &Tree, rows: &[String]) -> Result<(Report, bool)> {
    let mut program = vec![format!("{PROGRAMS}/{PROGRAM}")];
    program.extend(["--describe", "--settle", SETTLE].map(Into::into));
    program.extend(rows.iter().cloned());
    let options = RunOptions {
        icount: true,
        quiet: true,
        program: program.into_iter().map(Into::into).collect(),
        ..RunOptions::default()
    };
    let who = if kernel.is_rux() { "Rux" } else { "Linux" };
    say!("{who}: booting {}", kernel.image().display());
    let mut report = Report::default();
    let mut well = true;
    let status = guest::run(kernel, tree, &options, &mut |line| match report.hear(line) {
        Ok(()) => {
            if let Some((name, outcome)) = report.outcomes.last()
                && line.starts_with(name.as_str())
            {
                let (at, of) = (report.outcomes.len(), report.rows.len());
                say!("{who}: [{at}/{of}] {name}: {}", shown(outcome));
            }
        }
        Err(error) => {
            say!("{who}: {error:#}");
            well = false;
        }
    })?;
    if report.outcomes.is_empty() {
        bail!("{who}: {PROGRAM} measured nothing (status {status})");
    }
    Ok((report, well && status == 0))
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Counted { instructions, .. } => amount(*instructions),
        Outcome::NotBuilt(errno) => format!("not built ({errno})"),
        Outcome::Failed(status) => format!("failed ({status})"),
    }
}

fn amount(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { grouped(value.round() as u64) }
}

/// The table in Markdown, and what it comes to.
fn table(stamp: &str, linux: &Report, rux: &Report, pairs: &[Pair]) -> String {
    let head = ["row", "what is counted", "Linux", "Rux", "ratio", "fences", "IPIs"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for pair in pairs {
        let count = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2}"));
        let (fences, asked) = match pair.rux {
            Outcome::Counted { fences, asked, .. } => (count(fences), count(asked)),
            _ => ("–".into(), "–".into()),
        };
        rows.push(vec![
            pair.row.name.clone(),
            format!("{}; {}", pair.row.shape, pair.row.unit),
            shown(&pair.linux),
            shown(&pair.rux),
            pair.ratio().map_or("–".into(), |ratio| format!("{ratio:.2}")),
            fences,
            asked,
        ]);
    }
    let ratios: Vec<f64> = pairs.iter().filter_map(Pair::ratio).collect();
    let met = ratios.iter().filter(|ratio| **ratio <= 0.5).count();
    let mean = figures::geometric_mean(pairs).map_or("–".into(), |mean| format!("{mean:.3}"));
    format!(
        "{stamp}. On `{}` and on `{}`. Instructions, fences and IPIs an operation; the fences and IPIs are Rux's.\n\n{}\n\
         Geometric mean of the ratios: **{mean}**. At most half of Linux's figure: {met} of {} rows.\n",
        linux.system,
        rux.system,
        markdown(&rows),
        pairs.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_row_and_the_mean() {
        let (linux, rux) = figures::tests::example();
        let text = table("2026-11-22", &linux, &rux, &figures::pairs(&linux, &rux));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("2026-11-22. On `Linux 6.12` and on `Rux 0.1`."), "{text}");
        let cells = |line: &str| line.split('|').map(str::trim).map(String::from).collect::<Vec<_>>();
        assert_eq!(
            cells(lines[4])[1..8],
            ["call", "one & all; a call", "240", "120", "0.50", "1.00", "0.25"]
        );
        assert_eq!(cells(lines[6])[3..6], ["9.5", "not built (EINVAL)", "–"]);
        assert!(text.ends_with("**1.000**. At most half of Linux's figure: 1 of 3 rows.\n"), "{text}");
    }
}
