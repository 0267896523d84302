//! What was measured, as tables: a row for each shape, a column for each allocator, and the target.

use std::fmt::Write;

/// Ours, in the lines of `bench/`; what else starts with it is a variant of ours.
const OURS: &str = "rux";

/// One figure: instructions an operation, or per cent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub group: String,
    pub shape: String,
    pub who: String,
    pub value: f64,
}

/// Which figure of a table is the best one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Best {
    Least,
    Most,
}

/// A table's first cell, and how to read it.
#[derive(Debug, Clone)]
pub(super) struct Heading {
    pub title: String,
    pub best: Best,
}

/// What a shape may cost.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    /// So much.
    Is(f64),
    /// That share of what somebody else in the row takes.
    Of(f64, &'static str),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub group: &'static str,
    pub shape: &'static str,
    /// Which of ours.
    pub who: &'static str,
    pub limit: Limit,
    /// Where a limit comes from that is not in the table.
    pub note: &'static str,
}

/// The tables in Markdown, and the names of the targets that were missed.
pub(super) fn tables(
    figures: &[Figure],
    targets: &[Target],
    heading: impl Fn(&str) -> Heading,
) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut missed = Vec::new();
    for group in names(figures.iter().map(|figure| &figure.group)) {
        let figures: Vec<&Figure> = figures.iter().filter(|figure| figure.group == group).collect();
        let mut columns = names(figures.iter().map(|figure| &figure.who));
        columns.sort_by_key(|who| !who.starts_with(OURS));
        let shapes = names(figures.iter().map(|figure| &figure.shape));
        let heading = heading(&group);
        let mut rows = vec![vec![heading.title]];
        rows[0].extend(columns.iter().cloned());
        let targets: Vec<&Target> = targets.iter().filter(|target| target.group == group).collect();
        let has_ours = !targets.is_empty() || columns.iter().any(|who| who.starts_with(OURS));
        if has_ours {
            rows[0].extend(["of the best peer".into(), "target".into(), String::new()]);
        }
        for shape in shapes {
            let of = |who: &str| {
                figures
                    .iter()
                    .find(|figure| figure.shape == shape && figure.who == who)
                    .map(|figure| figure.value)
            };
            let mut row = vec![shape.clone()];
            row.extend(columns.iter().map(|who| of(who).map_or("–".into(), number)));
            if has_ours {
                let peers = columns.iter().filter(|who| !who.starts_with(OURS)).filter_map(|who| of(who));
                let best = match heading.best {
                    Best::Least => peers.reduce(f64::min),
                    Best::Most => peers.reduce(f64::max),
                };
                row.push(match (of(OURS), best) {
                    (Some(ours), Some(best)) if best > 0.0 => format!("{:.2}", ours / best),
                    _ => "–".into(),
                });
                let mut limits = Vec::new();
                let mut verdicts = Vec::new();
                for target in targets.iter().filter(|target| target.shape == shape) {
                    let (limit, shown) = match target.limit {
                        Limit::Is(limit) => (Some(limit), number(limit)),
                        Limit::Of(share, who) => {
                            let limit = of(who).map(|value| value * share);
                            (limit, format!("{share} × {who} = {}", limit.map_or("?".into(), number)))
                        }
                    };
                    let met = matches!((of(target.who), limit), (Some(value), Some(limit)) if value <= limit);
                    let who = if target.who == OURS { String::new() } else { format!("{}: ", target.who) };
                    let note =
                        if target.note.is_empty() { String::new() } else { format!(" ({})", target.note) };
                    limits.push(format!("{who}≤ {shown}{note}"));
                    verdicts.push(if met { "met" } else { "missed" });
                    if !met {
                        missed.push(format!("{group}: {shape}"));
                    }
                }
                row.push(limits.join("; "));
                row.push(verdicts.join("; "));
            }
            rows.push(row);
        }
        text.push_str(&markdown(&rows));
        text.push('\n');
    }
    (text, missed)
}

/// Each name once, in the order of its first appearance.
fn names<'a>(all: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in all {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn number(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// A table whose columns are as wide as what is in them; the first row is its head.
pub(super) fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            // A String takes whatever is written to it.
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if at == 0 {
            widths.iter().for_each(|width| {
                let _ = write!(text, "|-{}-", "-".repeat(*width));
            });
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(shape: &str, who: &str, value: f64) -> Figure {
        Figure { group: "g".into(), shape: shape.into(), who: who.into(), value }
    }

    #[test]
    fn targets_are_judged_and_ratios_are_to_the_best_peer() {
        let figures =
            [figure("a", "rux", 30.0), figure("a", "p", 60.0), figure("a", "q", 40.0), figure("b", "q", 1.0)];
        let target = |shape, limit| Target { group: "g", shape, who: "rux", limit, note: "" };
        let targets =
            [target("a", Limit::Is(33.0)), target("a", Limit::Of(0.5, "q")), target("b", Limit::Is(2.0))];
        let (text, missed) =
            tables(&figures, &targets, |group| Heading { title: group.into(), best: Best::Least });
        assert_eq!(missed, ["g: a", "g: b"], "a shape that ours does not have is a miss");
        let row = text.lines().nth(2).unwrap();
        assert!(row.contains("| 0.75 ") && row.contains("≤ 33.0; ≤ 0.5 × q = 20.0 | met; missed"), "{row}");
    }
}
