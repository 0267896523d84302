//! What `user/c/bench` wrote on two kernels, row beside row.

use anyhow::{Context, Result, bail};

/// A row of the program, as it describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub name: String,
    /// What one operation is.
    pub unit: String,
    pub shape: String,
}

/// What came of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    Counted {
        /// Of one operation, as all that follows.
        instructions: f64,
        /// Fences of the hart's own TLB, requests to other harts, and harts that were asked: where they are counted.
        fences: Option<f64>,
        requests: Option<f64>,
        asked: Option<f64>,
    },
    /// The kernel has no such thing; the errno.
    NotBuilt(String),
    /// The program's status.
    Failed(String),
}

impl Outcome {
    pub(super) fn instructions(&self) -> Option<f64> {
        match self {
            Outcome::Counted { instructions, .. } => Some(*instructions),
            _ => None,
        }
    }
}

/// All lines of one kernel.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Report {
    /// The kernel's name and version.
    pub system: String,
    pub rows: Vec<Row>,
    /// By the rows' names.
    pub outcomes: Vec<(String, Outcome)>,
}

impl Report {
    /// Takes in one line. Other lines than the program's own are an error: a check of it has failed.
    pub(super) fn hear(&mut self, line: &str) -> Result<()> {
        let unknown = || format!("the program wrote `{line}`");
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |field: &str| match field {
            "-" => Ok(None),
            field => field.parse().map(Some).with_context(unknown),
        };
        match fields[..] {
            ["system", system] => self.system = system.into(),
            ["row", name, unit, shape] => {
                self.rows.push(Row { name: name.into(), unit: unit.into(), shape: shape.into() });
            }
            [name, "not built", errno] => {
                self.outcomes.push((name.into(), Outcome::NotBuilt(errno.into())));
            }
            [name, "failed", status] => self.outcomes.push((name.into(), Outcome::Failed(status.into()))),
            [name, instructions, _operations, fences, requests, asked] => {
                let instructions = instructions.parse().with_context(unknown)?;
                let [fences, requests, asked] = [number(fences)?, number(requests)?, number(asked)?];
                let counted = Outcome::Counted { instructions, fences, requests, asked };
                self.outcomes.push((name.into(), counted));
            }
            _ => bail!(unknown()),
        }
        Ok(())
    }

    fn outcome(&self, name: &str) -> Outcome {
        let found = self.outcomes.iter().find(|(of, _)| of == name);
        found.map_or(Outcome::Failed("silence".into()), |(_, outcome)| outcome.clone())
    }
}

/// A row on both kernels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    pub row: Row,
    pub linux: Outcome,
    pub rux: Outcome,
}

impl Pair {
    /// Rux's instructions for one of Linux's; `None` unless both are counts of something.
    pub(super) fn ratio(&self) -> Option<f64> {
        let (linux, rux) = (self.linux.instructions()?, self.rux.instructions()?);
        let ratio = rux / linux;
        (ratio.is_finite() && ratio > 0.0).then_some(ratio)
    }
}

/// The rows that Rux's program has, in its order.
pub(super) fn pairs(linux: &Report, rux: &Report) -> Vec<Pair> {
    let pair =
        |row: &Row| Pair { row: row.clone(), linux: linux.outcome(&row.name), rux: rux.outcome(&row.name) };
    rux.rows.iter().map(pair).collect()
}

/// Of the ratios that there are.
pub(super) fn geometric_mean(pairs: &[Pair]) -> Option<f64> {
    let logarithms: Vec<f64> = pairs.iter().filter_map(Pair::ratio).map(f64::ln).collect();
    (!logarithms.is_empty()).then(|| (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Three rows: one at a half, one at two, one that is not built.
    pub(in crate::bench) fn example() -> (Report, Report) {
        let hear = |lines: &[&str]| {
            let mut report = Report::default();
            lines.iter().for_each(|line| report.hear(line).unwrap());
            report
        };
        let rows =
            ["row\tcall\ta call\tone & all", "row\tfork\ta process\ta <small> one", "row\tthp\ta page\t2 MB"];
        let mut linux = vec!["system\tLinux 6.12"];
        linux.extend(rows);
        linux.extend(["call\t240.0\t10\t-\t-\t-", "fork\t131000\t1\t-\t-\t-", "thp\t9.5\t1\t-\t-\t-"]);
        let mut rux = vec!["system\tRux 0.1"];
        rux.extend(rows);
        rux.extend(["call\t120.0\t10\t1.000\t0.500\t0.250", "fork\t262000\t1\t8.0\t0.0\t0.0"]);
        rux.push("thp\tnot built\tEINVAL");
        (hear(&linux), hear(&rux))
    }

    #[test]
    fn rows_stand_side_by_side() {
        let (linux, rux) = example();
        let pairs = pairs(&linux, &rux);
        assert_eq!(pairs.iter().map(Pair::ratio).collect::<Vec<_>>(), [Some(0.5), Some(2.0), None]);
        assert_eq!(pairs[2].rux, Outcome::NotBuilt("EINVAL".into()));
        assert!(matches!(pairs[0].rux, Outcome::Counted { fences: Some(1.0), asked: Some(0.25), .. }));
        let mean = geometric_mean(&pairs).unwrap();
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
        assert_eq!(geometric_mean(&pairs[2..]), None);
    }

    #[test]
    fn there_is_no_ratio_of_nothing() {
        let counted =
            |instructions| Outcome::Counted { instructions, fences: None, requests: None, asked: None };
        let row = Row { name: "x".into(), unit: "a call".into(), shape: "one".into() };
        let ratio = |linux, rux| Pair { row: row.clone(), linux: counted(linux), rux: counted(rux) }.ratio();
        assert_eq!(ratio(4.0, 1.0), Some(0.25));
        for (linux, rux) in [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
            assert_eq!(ratio(linux, rux), None, "{rux} of {linux}");
        }
    }

    #[test]
    fn a_row_that_says_nothing_has_failed_and_other_lines_are_errors() {
        let (linux, mut rux) = example();
        rux.outcomes.remove(0);
        assert_eq!(pairs(&linux, &rux)[0].rux, Outcome::Failed("silence".into()));
        assert!(rux.hear("faults.c:12: something does not hold").is_err());
        assert!(rux.hear("call\tmany\t1\t-\t-\t-").is_err());
    }
}
