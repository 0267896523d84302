//! The tables of a profile: functions, their instructions an operation and their share; the user's, the kernel's and
//! the firmware's apart.

use std::collections::HashMap;
use std::fmt::Write;

use anyhow::{Context, Result};

use super::names::{Functions, Inlined};
use super::trace::Counts;
use crate::kernel::Kernel;

/// Functions below this share of all are summed up, and what is inlined in them is not told apart.
const LEAST_SHARE: f64 = 0.002;
/// Where the firmware is in memory; it runs at physical addresses, and programs are elsewhere.
const FIRMWARE: std::ops::Range<u64> = 0x8000_0000..0x8020_0000;
/// The lowest address of the kernel's half.
const KERNEL: u64 = 1 << 63;

/// One pass of a row.
#[derive(Debug)]
pub(super) struct Measured {
    title: String,
    counts: Counts,
    /// Instructions an operation for each that was traced.
    scale: f64,
}

impl Measured {
    /// `said` is the benchmark's line; `complete`: the pass was traced to its end.
    pub(super) fn new(
        kernel: &Kernel,
        row: &str,
        said: &str,
        counts: Counts,
        complete: bool,
    ) -> Result<Measured> {
        let (figure, operations) = figures(said, row)
            .with_context(|| format!("the benchmark has no figure for {row}: {}", said.trim()))?;
        let whose = if kernel.is_rux() { "Rux" } else { "Linux" };
        let all = counts.all.max(1) as f64;
        let (per_operation, how_much) = match complete {
            true => (all / operations, format!("all {operations} operations of a pass")),
            false => (figure, format!("the first {:.0} of {operations} operations of a pass", all / figure)),
        };
        let title =
            format!("{row} on {whose}: {per_operation:.1} instructions an operation; {how_much} traced");
        Ok(Measured { title, scale: per_operation / all, counts })
    }
}

/// Instructions an operation and operations a pass, from the benchmark's line.
fn figures(said: &str, row: &str) -> Option<(f64, f64)> {
    let line = said.lines().find(|line| line.split('\t').next() == Some(row))?;
    let mut words = line.split('\t').skip(1).map(|word| word.trim().parse::<f64>());
    match (words.next()?.ok()?, words.next()?.ok()?) {
        (figure, operations) if figure > 0.0 && operations > 0.0 => Some((figure, operations)),
        _ => None,
    }
}

/// One function's executions, and what of them is inlined from where.
#[derive(Default)]
struct Function {
    all: u64,
    inlined: HashMap<String, u64>,
}

/// The tables.
pub(super) fn text(
    measured: &Measured,
    user: &Functions,
    kernel: &Functions,
    inlined: Option<&Inlined>,
) -> String {
    let mut parts: [(&str, HashMap<&str, Function>); 3] =
        [("kernel", HashMap::new()), ("user", HashMap::new()), ("firmware", HashMap::new())];
    for (&pc, &count) in &measured.counts.by_pc {
        let (part, name) = match pc {
            KERNEL.. => (0, kernel.at(pc)),
            pc if FIRMWARE.contains(&pc) => (2, None),
            pc => (1, user.at(pc)),
        };
        let function = parts[part].1.entry(name.unwrap_or("(no name)")).or_default();
        function.all += count;
        if let Some(from) = inlined.filter(|_| part == 0).and_then(|inlined| inlined.at(pc)) {
            *function.inlined.entry(from).or_default() += count;
        }
    }
    let mut text = format!("{}\n", measured.title);
    for (name, functions) in parts.iter().filter(|(_, functions)| !functions.is_empty()) {
        let all: u64 = functions.values().map(|function| function.all).sum();
        line(&mut text, measured, all, 0, name);
        let mut functions: Vec<_> = functions.iter().collect();
        functions.sort_by_key(|(name, function)| (std::cmp::Reverse(function.all), **name));
        let small = functions.partition_point(|(_, function)| measured.share(function.all) >= LEAST_SHARE);
        for (name, function) in &functions[..small] {
            line(&mut text, measured, function.all, 1, name);
            let mut inlined: Vec<_> = function.inlined.iter().collect();
            inlined.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
            inlined.retain(|(_, count)| measured.share(**count) >= LEAST_SHARE);
            for (name, count) in inlined {
                line(&mut text, measured, *count, 2, name);
            }
        }
        let rest: u64 = functions[small..].iter().map(|(_, function)| function.all).sum();
        if rest != 0 {
            line(&mut text, measured, rest, 1, &format!("{} others", functions.len() - small));
        }
    }
    text
}

impl Measured {
    fn share(&self, count: u64) -> f64 {
        count as f64 / self.counts.all.max(1) as f64
    }
}

fn line(text: &mut String, measured: &Measured, count: u64, depth: usize, name: &str) {
    let (each, share) = (count as f64 * measured.scale, 100.0 * measured.share(count));
    // A string takes all that is written to it.
    let _ = writeln!(text, "{each:>12.1} {share:>6.2} % {:indent$}{name}", "", indent = 1 + 4 * depth);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_summed_by_part_and_size() {
        let counts = Counts { by_pc: HashMap::from([(KERNEL, 30), (KERNEL + 8, 60), (16, 10)]), all: 100 };
        let map = Functions::of_map("8000000000000000 T small\n8000000000000008 T large\n");
        let said = "other\t1\t1\nrow\t49.0\t2\t-\t-\t-\n";
        let measured = Measured::new(&Kernel::Rux("rux".into()), "row", said, counts, true).unwrap();
        let text = text(&measured, &Functions::of_map("10 T main\n"), &map, None);
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(lines[0][..5], ["row", "on", "Rux:", "50.0", "instructions"]);
        assert_eq!(lines[1], ["45.0", "90.00", "%", "kernel"]);
        assert_eq!(lines[2], ["30.0", "60.00", "%", "large"]);
        assert_eq!(lines[3], ["15.0", "30.00", "%", "small"]);
        assert_eq!(lines[5], ["5.0", "10.00", "%", "main"]);
    }

    #[test]
    fn a_row_without_a_figure_is_none() {
        assert_eq!(figures("row\t12.5\t100\t-\n", "row"), Some((12.5, 100.0)));
        assert_eq!(figures("row\tnot built\tENOSYS\n", "row"), None);
        assert_eq!(figures("", "row"), None);
    }
}
