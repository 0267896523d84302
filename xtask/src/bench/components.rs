//! `bench components`: the memory manager's parts on the host, beside what a user would pick instead.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::callgrind;
use super::table::{Best, Figure, Heading, Limit, Target, tables};
use crate::{build, console, paths, say, setup, shell};

/// The program, and where its output goes.
const PROGRAM: &str = "rux-bench";

const fn target(group: &'static str, shape: &'static str, limit: Limit) -> Target {
    Target { group, shape, who: "rux", limit, note: "" }
}

const TARGETS: &[Target] = &[
    target("pages", "order-0 pair", Limit::Is(33.0)),
    // 0.5 × 420: llfree is not on crates.io; its figure was measured in the same way.
    Target { note: "0.5 × llfree", ..target("pages", "order-9 pair", Limit::Is(210.0)) },
    target("pages", "bulk 16k, freed in order", Limit::Of(1.2, "bitmap")),
    target("pages", "mixed orders 0..9", Limit::Of(0.35, "buddy_system")),
    target("pages", "churn, two harts by turns", Limit::Of(1.05, "rux, one hart")),
    Target { who: "rux, typed", ..target("objects", "alloc+free 64 B", Limit::Is(30.0)) },
    target("objects", "alloc+free 64 B", Limit::Of(0.7, "mimalloc")),
    target("objects", "churn 8-4096 B", Limit::Of(0.6, "mimalloc")),
    target("objects", "batch, two harts by turns", Limit::Of(1.05, "rux, one hart")),
    target("lru", "touch", Limit::Is(18.0)),
    target("tables", "map region", Limit::Is(20.0)),
    target("tables", "translate", Limit::Is(29.0)),
    target("tables", "protect region", Limit::Is(11.0)),
    target("tables", "unmap region, tables freed", Limit::Is(8.0)),
    target("tables", "map single, random", Limit::Is(55.0)),
    target("ranges", "find, 100", Limit::Of(0.45, LINUX)),
    target("ranges", "find, 100", Limit::Of(0.45, "BTreeMap")),
    target("ranges", "find, 10k", Limit::Of(0.45, LINUX)),
    target("ranges", "find, 10k", Limit::Of(0.45, "BTreeMap")),
    target("ranges", "find, 100k", Limit::Of(0.45, LINUX)),
    target("ranges", "find, 100k", Limit::Of(0.45, "BTreeMap")),
    target("ranges", "insert at random, to 1k", Limit::Of(0.6, LINUX)),
    target("ranges", "insert at random, to 100k", Limit::Of(0.6, LINUX)),
    target("ranges", "iterate", Limit::Of(0.3, "BTreeMap")),
    target("ranges", "top-down gap, far, 1k", Limit::Of(0.15, LINUX)),
    target("ranges", "top-down gap, far, 100k", Limit::Of(0.15, LINUX)),
    target("ranges", "punch a hole, 1k", Limit::Of(0.4, LINUX)),
    target("ranges", "punch a hole, 100k", Limit::Of(0.4, LINUX)),
    target("ranges", "erase at random, 1k", Limit::Of(0.3, LINUX)),
    target("ranges", "erase at random, 100k", Limit::Of(0.3, LINUX)),
    target("ranges", "bytes a range, 100k at random", Limit::Of(1.0, LINUX)),
];

/// The tree of Linux 6.12, in the mode in which readers take no lock. It is not built here: its figures were measured
/// elsewhere, in the same way.
const LINUX: &str = "Linux's, elsewhere";

const MEASURED_ELSEWHERE: [(&str, f64); 13] = [
    ("find, 100", 191.0),
    ("find, 10k", 302.0),
    ("find, 100k", 360.0),
    ("insert at random, to 1k", 2524.0),
    ("insert at random, to 100k", 1964.0),
    ("iterate", 171.0),
    ("top-down gap, far, 1k", 2182.0),
    ("top-down gap, far, 100k", 3954.0),
    ("punch a hole, 1k", 3044.0),
    ("punch a hole, 100k", 3312.0),
    ("erase at random, 1k", 3342.0),
    ("erase at random, 100k", 4189.0),
    ("bytes a range, 100k at random", 45.0),
];

pub(super) fn run() -> Result<u8> {
    setup::for_bench()?;
    say!("building what is measured");
    let program = build()?;
    say!("fragmentation");
    let shares = shell::output(Command::new(&program).arg("shares"))?;
    say!("counting instructions; that takes about a minute");
    let (lines, sums) = callgrind::count(&program, &["counts"])?;
    let mut figures = counts(&lines, &sums)?;
    figures.extend(shares_of(&String::from_utf8_lossy(&shares))?);
    figures.extend(MEASURED_ELSEWHERE.map(|(shape, value)| Figure {
        group: "ranges".into(),
        shape: shape.into(),
        who: LINUX.into(),
        value,
    }));
    let (text, missed) = tables(&figures, TARGETS, heading);
    let file = paths::bench().join("components.md");
    fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    console::write_all(std::io::stdout(), text.as_bytes())?;
    for missed in &missed {
        say!("missed: {missed}");
    }
    say!("the tables are in {}", file.display());
    Ok(0)
}

/// Does a little of each measurement, without counting: for the tests.
pub(crate) fn quick_check() -> Result<()> {
    let program = build()?;
    let counts = shell::output(Command::new(&program).args(["counts", "--short"]))?;
    let shares = shell::output(Command::new(&program).args(["shares", "--short"]))?;
    let text = String::from_utf8_lossy(&counts).into_owned() + &String::from_utf8_lossy(&shares);
    let measured = lines_of(&text, &["count", "share"])?;
    for target in TARGETS {
        let is_it = |line: &Line| line.figure.group == target.group && line.figure.shape == target.shape;
        if !measured.iter().any(is_it) {
            bail!("nothing measures {}: {}", target.group, target.shape);
        }
    }
    Ok(())
}

/// A workspace of its own, so that the peers are never built with Rux.
fn build() -> Result<PathBuf> {
    let mut command = build::cargo();
    command.current_dir(paths::root().join("bench"));
    command.args(["build", "--release", "--quiet", "--target-dir"]).arg(paths::bench());
    shell::run(&mut command).context("building bench/")?;
    Ok(paths::bench().join("release").join(PROGRAM))
}

fn heading(group: &str) -> Heading {
    let (title, best) = match group {
        "pages" => ("pages, 1 GiB: instructions an allocation and free", Best::Least),
        "objects" => ("small objects: instructions an allocation and free", Best::Least),
        "tables" => ("page tables, 16,384 pages: instructions a page", Best::Least),
        "ranges" => ("ranges of 3-6 pages, 1-3 apart: instructions an operation", Best::Least),
        "lru" => ("LRU lists: instructions an operation", Best::Least),
        "fragmentation" => ("huge pages to be had, per cent of what is free", Best::Most),
        other => (other, Best::Least),
    };
    Heading { title: title.into(), best }
}

/// A line of the program: what it is about, and its number.
struct Line {
    kind: String,
    figure: Figure,
    number: f64,
}

/// The program's lines of these kinds.
fn lines_of(text: &str, kinds: &[&str]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        if !kinds.contains(&fields[0]) {
            continue;
        }
        let [kind, group, shape, who, number] = fields[..] else { bail!("bench/ wrote `{line}`") };
        let figure = Figure { group: group.into(), shape: shape.into(), who: who.into(), value: 0.0 };
        let number = number.parse().with_context(|| format!("bench/ wrote `{line}`"))?;
        lines.push(Line { kind: kind.into(), figure, number });
    }
    Ok(lines)
}

/// Instructions an operation, without those of the loop around where that was counted.
fn counts(text: &str, sums: &[u64]) -> Result<Vec<Figure>> {
    let lines = lines_of(text, &["count", "loop"])?;
    if lines.len() != sums.len() {
        bail!("callgrind counted {} calls, and bench/ named {}", sums.len(), lines.len());
    }
    let (loops, figures): (Vec<_>, Vec<_>) = lines
        .into_iter()
        .zip(sums)
        .map(|(line, &sum)| (line.kind == "loop", Figure { value: sum as f64 / line.number, ..line.figure }))
        .partition(|(is_loop, _)| *is_loop);
    let around = |figure: &Figure| {
        let same = |empty: &Figure| empty.group == figure.group && empty.shape == figure.shape;
        loops.iter().find(|(_, empty)| same(empty)).map_or(0.0, |(_, empty)| empty.value)
    };
    Ok(figures
        .into_iter()
        .map(|(_, figure)| Figure { value: figure.value - around(&figure), ..figure })
        .collect())
}

fn shares_of(lines: &str) -> Result<Vec<Figure>> {
    let lines = lines_of(lines, &["share"])?;
    Ok(lines.into_iter().map(|line| Figure { value: line.number / 10.0, ..line.figure }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_and_lines_go_together() {
        let lines = "loop\tpages\tpair\t-\t2\ncount\tpages\tpair\trux\t10\ncount\tpages\tbulk\tp\t5\n";
        let figures = counts(lines, &[6, 100, 200]).unwrap();
        assert_eq!((figures[0].value, figures[1].value), (7.0, 40.0), "the loop is of the pair alone");
        assert!(counts(lines, &[1]).is_err() && counts(lines, &[1, 2, 3, 4]).is_err());
        assert_eq!(shares_of("share\tf\ts\trux\t125\n").unwrap()[0].value, 12.5);
        assert!(shares_of("share\tf\ts\n").is_err());
    }
}
