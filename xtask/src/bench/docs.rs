//! The dated tables of `docs/benchmarks.md`: what stands between two marks is replaced.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::{paths, say, shell};

const FILE: &str = "docs/benchmarks.md";

/// Replaces the part called `name`.
pub(super) fn replace(name: &str, with: &str) -> Result<()> {
    let path = paths::root().join(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some(new) = replaced(&text, name, with) else {
        bail!("{FILE} has no lines `{}` and `{}`", begin(name), end(name));
    };
    fs::write(&path, new).with_context(|| format!("cannot write {}", path.display()))?;
    say!("{FILE} has the new table");
    Ok(())
}

fn begin(name: &str) -> String {
    format!("<!-- begin: {name} -->")
}

fn end(name: &str) -> String {
    format!("<!-- end: {name} -->")
}

fn replaced(text: &str, name: &str, with: &str) -> Option<String> {
    let (before, rest) = text.split_once(&begin(name))?;
    let (_, after) = rest.split_once(&end(name))?;
    Some(format!("{before}{}\n{}\n{}{after}", begin(name), with.trim_end(), end(name)))
}

/// Today and what was built: the commit, and whether more was changed.
pub(super) fn stamp() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = date(seconds / 86400);
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(paths::root()).args(args);
        command
    };
    let commit = match shell::output(&mut git(&["rev-parse", "--short", "HEAD"])) {
        Ok(commit) => format!(", commit {}", String::from_utf8_lossy(&commit).trim()),
        Err(_) => String::new(),
    };
    // The tables themselves are written here.
    let others = format!(":!{FILE}");
    let same = shell::succeeds(&mut git(&["diff", "--quiet", "HEAD", "--", ".", &others]));
    let changed = if same || commit.is_empty() { "" } else { ", changed" };
    format!("{year:04}-{month:02}-{day:02}{commit}{changed}")
}

/// The Gregorian date of a number of days after 1970-01-01: months are counted from March on, so that leap days end
/// their year.
fn date(days: u64) -> (u64, u64, u64) {
    const OF_400_YEARS: u64 = 146_097;
    // From 0000-03-01 on.
    let days = days + 719_468;
    let (era, day) = (days / OF_400_YEARS, days % OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * era + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_is_replaced_and_the_rest_stays() {
        let text = "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb\n<!-- begin: y -->\n<!-- end: y -->\n";
        let new = replaced(text, "x", "new\n\n").unwrap();
        let wanted = "a\n<!-- begin: x -->\nnew\n<!-- end: x -->\nb\n<!-- begin: y -->\n<!-- end: y -->\n";
        assert_eq!(new, wanted);
        assert_eq!(replaced(text, "z", ""), None);
    }

    #[test]
    fn days_are_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(59), (1970, 3, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_779), (2026, 11, 22));
        assert_eq!(date(47_540), (2100, 2, 28));
        assert_eq!(date(47_541), (2100, 3, 1));
    }
}
