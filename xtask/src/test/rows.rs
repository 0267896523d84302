//! The table of mmap and its family, `docs/mmap-family.md`: every flag, errno and signal that the manual pages name has
//! rows, each row a block of `user/c/family` that asserts it, or the reason why it cannot occur.
//!
//! Three lists are compared: what the manual pages name (`user/c/family/manual.txt`), the table, and the rows that the
//! program printed, which it does after a row's assertions held.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{Outcome, Step};
use crate::paths;

const TABLE: &str = "docs/mmap-family.md";
const SOURCES: &str = "user/c/family";
const MANUAL: &str = "manual.txt";
/// What a row of the table begins its last column with when nothing can be tested.
const NEVER: &str = "cannot occur: ";
/// What follows the file's name where Linux is configured otherwise than Rux is built.
const RUX_ALONE: &str = ", on Rux alone: ";

/// What a row is about; all three together are its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    call: String,
    /// Flag, errno or signal.
    subject: String,
    case: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {} | {}", self.call, self.subject, self.case)
    }
}

/// How a row is tested.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    /// By a block in this file.
    In {
        file: String,
        on_linux: bool,
    },
    Never,
}

/// What the manual pages tell apart.
#[derive(Debug, PartialEq, Eq)]
struct Fact {
    call: String,
    subject: String,
    causes: usize,
}

/// A row's block in a C source.
#[derive(Debug)]
struct Block {
    name: Name,
    file: String,
    on_linux: bool,
    body: String,
}

pub(super) fn step() -> Step<'static> {
    Step::new("table of mmap's family", || check_table().map(|()| Outcome::Passed))
}

/// Compares the rows that the program printed with those that the table says are run on this system.
pub(super) fn judge(output: &str, on_linux: bool) -> Result<()> {
    let printed: BTreeSet<&str> =
        output.lines().filter_map(|line| line.trim_end().strip_prefix("row: ")).collect();
    let table = parse_table(&read(&paths::root().join(TABLE))?)?;
    let wrong = compare(&table, &printed, on_linux);
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

fn check_table() -> Result<()> {
    let folder = paths::root().join(SOURCES);
    let table = parse_table(&read(&paths::root().join(TABLE))?)?;
    let facts = parse_manual(&read(&folder.join(MANUAL))?)?;
    let mut blocks = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {SOURCES}"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            blocks.extend(parse_source(&file, &read(&path)?)?);
        }
    }
    let wrong = check(&table, &facts, &blocks);
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// All that is wrong without running anything.
fn check(table: &[(Name, Test)], facts: &[Fact], blocks: &[Block]) -> Vec<String> {
    let mut wrong = Vec::new();
    for fact in facts {
        let rows =
            table.iter().filter(|(name, _)| name.call == fact.call && name.subject == fact.subject).count();
        if rows < fact.causes {
            wrong.push(format!(
                "the manual tells {} cause(s) of {} {} apart, {TABLE} has {rows} row(s)",
                fact.causes, fact.call, fact.subject
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for (name, test) in table {
        if !seen.insert(name) {
            wrong.push(format!("twice in {TABLE}: {name}"));
        }
        let Test::In { file, on_linux } = test else { continue };
        match blocks.iter().filter(|block| block.name == *name).collect::<Vec<_>>()[..] {
            [block] if block.file != *file => wrong.push(format!("in {}, not in {file}: {name}", block.file)),
            [block] if block.on_linux != *on_linux => {
                wrong.push(format!("`{RUX_ALONE}` is for rows of RUX_ROW, and those alone: {name}"));
            }
            [block] => wrong.extend(asserts_nothing(block)),
            [] => wrong.push(format!("no ROW in {SOURCES}/{file}: {name}")),
            _ => wrong.push(format!("more than one ROW in {SOURCES}: {name}")),
        }
    }
    for block in blocks {
        let tested = |(name, test): &(Name, Test)| *name == block.name && *test != Test::Never;
        if !table.iter().any(tested) {
            wrong.push(format!("a ROW of {} that is not in {TABLE}: {}", block.file, block.name));
        }
    }
    wrong
}

/// What a row's block lacks: a check, and the flag, errno or signal that it is about.
fn asserts_nothing(block: &Block) -> Option<String> {
    let subject = &block.name.subject;
    let words = block.body.split(|c: char| !c.is_alphanumeric() && c != '_');
    if !words.into_iter().any(|word| word == subject) {
        return Some(format!("{}: the block has no {subject}: {}", block.file, block.name));
    }
    if !block.body.contains("CHECK") {
        return Some(format!("{}: the block has no check: {}", block.file, block.name));
    }
    None
}

fn compare(table: &[(Name, Test)], printed: &BTreeSet<&str>, linux: bool) -> Vec<String> {
    let wanted: BTreeSet<String> = table
        .iter()
        .filter(|(_, test)| matches!(test, Test::In { on_linux, .. } if *on_linux || !linux))
        .map(|(name, _)| name.to_string())
        .collect();
    let missing = wanted.iter().filter(|name| !printed.contains(name.as_str()));
    let unknown = printed.iter().filter(|name| !wanted.contains(**name));
    missing
        .map(|name| format!("not asserted: {name}"))
        .chain(unknown.map(|name| format!("asserted, but not in {TABLE}: {name}")))
        .collect()
}

/// `## CALL`, and under it lines of `` | `SUBJECT` | case | test | ``.
fn parse_table(text: &str) -> Result<Vec<(Name, Test)>> {
    let mut rows = Vec::new();
    let mut call = None;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            call = Some(title.trim());
        }
        let Some(cells) = line.strip_prefix("| `").and_then(|rest| rest.strip_suffix(" |")) else { continue };
        let cells: Vec<&str> = cells.split(" | ").collect();
        let (Some(call), [subject, case, test]) = (call, &cells[..]) else {
            bail!("{TABLE}: three columns under a call's name, please: {line}")
        };
        let test = match test.strip_prefix(NEVER) {
            Some(reason) if !reason.trim().is_empty() => Test::Never,
            Some(_) => bail!("{TABLE}: why can it not occur? {line}"),
            None => {
                let (file, reason) = match test.split_once(RUX_ALONE) {
                    Some((file, reason)) => (file, Some(reason)),
                    None => (*test, None),
                };
                if !file.ends_with(".c") || reason.is_some_and(|reason| reason.trim().is_empty()) {
                    bail!("{TABLE}: neither a file of {SOURCES} nor `{NEVER}` and why: {line}");
                }
                Test::In { file: file.into(), on_linux: reason.is_none() }
            }
        };
        let subject = subject.trim_end_matches('`');
        rows.push((Name { call: call.into(), subject: subject.into(), case: (*case).into() }, test));
    }
    Ok(rows)
}

/// Lines of `CALL SUBJECT [CAUSES]`.
fn parse_manual(text: &str) -> Result<Vec<Fact>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let fact = |line: &str| {
        let mut words = line.split(' ');
        let (call, subject) = (words.next()?.into(), words.next()?.into());
        let causes = words.next().map_or(Some(1), |number| number.parse().ok())?;
        Some(Fact { call, subject, causes })
    };
    lines.map(|line| fact(line).with_context(|| format!("{MANUAL}: {line}"))).collect()
}

/// The blocks of `ROW("CALL", "SUBJECT", "CASE") { … }`.
fn parse_source(file: &str, text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    for (at, _) in text.match_indices("ROW(\"") {
        let rest = &text[at..];
        let cannot = || {
            format!("{file}: not ROW(\"…\", \"…\", \"…\") {{ … }}: {:.60}", rest.lines().next().unwrap_or(""))
        };
        let (head, body) = rest.split_once(" {\n").with_context(cannot)?;
        let strings: Vec<&str> = head.split('"').skip(1).step_by(2).collect();
        let [call, subject, case] = strings[..] else { bail!(cannot()) };
        let mut depth = 1;
        let closes = |c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        };
        let end = body.find(closes).with_context(cannot)?;
        blocks.push(Block {
            name: Name { call: call.into(), subject: subject.into(), case: case.into() },
            file: file.into(),
            on_linux: !text[..at].ends_with("RUX_"),
            body: without_comments(&body[..end]),
        });
    }
    Ok(blocks)
}

/// What a comment says is not asserted.
fn without_comments(text: &str) -> String {
    let mut code = String::new();
    for (at, part) in text.split("/*").enumerate() {
        code.push_str(if at == 0 { part } else { part.split_once("*/").map_or("", |(_, rest)| rest) });
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "# call\n## mmap\n| flag | case | test |\n|---|---|---|\n| `MAP_FIXED` | is there | a.c |\n\
                          | `EAGAIN` | locked | cannot occur: no such locks |\n\
                          | `EINVAL` | not built | a.c, on Rux alone: why |\n";
    const SOURCE: &str = "    ROW(\"mmap\", \"MAP_FIXED\", \"is there\") {\n        if (MAP_FIXED) {\n            CHECK(1);\n        }\n    }\n\
                          RUX_ROW(\"mmap\", \"EINVAL\", \"not built\") {\n    CHECK_ERRNO(a(), EINVAL);\n    }\n";
    const FACTS: &str = "# none\nmmap MAP_FIXED\nmmap EAGAIN\n";

    fn wrong(table: &str, facts: &str, source: &str) -> Vec<String> {
        let (table, facts) = (parse_table(table).unwrap(), parse_manual(facts).unwrap());
        check(&table, &facts, &parse_source("a.c", source).unwrap())
    }

    #[test]
    fn a_table_that_fits_is_found_right() {
        assert_eq!(wrong(LISTED, FACTS, SOURCE), Vec::<String>::new());
    }

    #[test]
    fn each_way_to_be_wrong_is_found() {
        let all = |table: &str, facts: &str, source: &str| wrong(table, facts, source).join("\n");
        assert!(all(LISTED, "mmap EPERM\n", SOURCE).contains("mmap EPERM apart"));
        assert!(all(LISTED, "mmap EAGAIN 2\n", SOURCE).contains("2 cause(s)"));
        assert!(all(LISTED, FACTS, "").contains("no ROW in"));
        assert!(all("", "", SOURCE).contains("not in docs"));
        assert!(
            all(LISTED, FACTS, &SOURCE.replace("if (MAP_FIXED)", "if (MAP_FIXED_2)"))
                .contains("has no MAP_FIXED")
        );
        assert!(
            all(LISTED, FACTS, &SOURCE.replace("(MAP_FIXED)", "(1) /* MAP_FIXED */"))
                .contains("has no MAP_FIXED")
        );
        assert!(all(LISTED, FACTS, &SOURCE.replace("CHECK(1)", "(1)")).contains("no check"));
        assert!(all(LISTED, FACTS, &SOURCE.replace("RUX_ROW", "ROW")).contains("RUX_ROW"));
        assert!(all(&LISTED.replace("a.c", "b.c"), FACTS, SOURCE).contains("not in b.c"));
        assert!(
            all(&(LISTED.to_owned() + "| `MAP_FIXED` | is there | a.c |"), FACTS, SOURCE).contains("twice")
        );
        assert!(parse_table(&LISTED.replace("no such locks", "")).is_err());
        assert!(parse_table(&LISTED.replace("a.c |", "|")).is_err());
    }

    #[test]
    fn what_was_printed_is_compared_both_ways() {
        let table = parse_table(LISTED).unwrap();
        let here = "mmap | MAP_FIXED | is there";
        let rux = "mmap | EINVAL | not built";
        assert!(compare(&table, &[here, rux].into(), false).is_empty());
        assert!(compare(&table, &[here].into(), true).is_empty());
        assert_eq!(compare(&table, &[here].into(), false), [format!("not asserted: {rux}")]);
        assert_eq!(compare(&table, &[here, rux].into(), true).len(), 1);
    }
}
