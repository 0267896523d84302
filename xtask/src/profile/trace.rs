//! Counts how often each instruction was executed, from QEMU's log of `exec,nochain` with one instruction a block.
//!
//! A line `Trace 0: HOST [BASE/PC/FLAGS/CFLAGS]` is written before a block runs; `Stopped execution of TB chain before
//! HOST [PC]` takes one back that did not.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, Result};

/// What ends the trace in the pipe.
pub(super) const END: &[u8] = b"the end\n";

/// Executions by address, and their sum.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub by_pc: HashMap<u64, u64>,
    pub all: u64,
}

/// Counts until [`END`] or the pipe's end; at `most` instructions it calls `enough`, once, and counts no more.
pub(super) fn count(pipe: impl Read, most: u64, mut enough: impl FnMut()) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut lines = BufReader::with_capacity(1 << 18, pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = lines.read_until(b'\n', &mut line).context("reading QEMU's trace")?;
        if length == 0 || line == END {
            return Ok(counts);
        }
        match executed(&line) {
            Some((pc, true)) if counts.all < most => {
                *counts.by_pc.entry(pc).or_default() += 1;
                counts.all += 1;
                if counts.all == most {
                    enough();
                }
            }
            Some((pc, false)) if counts.all < most => {
                if let Some(count) = counts.by_pc.get_mut(&pc).filter(|count| **count > 0) {
                    *count -= 1;
                    counts.all -= 1;
                }
            }
            _ => {}
        }
    }
}

/// The address in a line, and whether what is there ran, or did not run after all.
fn executed(line: &[u8]) -> Option<(u64, bool)> {
    let line = std::str::from_utf8(line).ok()?;
    let inside = line.split_once('[')?.1;
    let (pc, ran) = if line.starts_with("Trace ") {
        (inside.split('/').nth(1)?, true)
    } else if line.starts_with("Stopped execution ") {
        (inside.split(']').next()?, false)
    } else {
        return None;
    };
    Some((u64::from_str_radix(pc, 16).ok()?, ran))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
Trace 0: 0x7f6cc0000100 [00000000/ffffffff800001fc/82424019/ff022201] \n\
Trace 0: 0x7f6cc0000200 [00000000/0000000000010b02/82424019/ff022201] main\n\
something else [x\n\
Stopped execution of TB chain before 0x7f6cc0000200 [0000000000010b02] main\n\
Trace 0: 0x7f6cc0000200 [00000000/0000000000010b02/82424019/ff022201] main\n\
the end\n\
Trace 0: 0x7f6cc0000200 [00000000/0000000000010b02/82424019/ff022201] main\n";

    #[test]
    fn what_was_stopped_is_taken_back() {
        let counts = count(LOG.as_bytes(), 100, || panic!("there are fewer")).unwrap();
        assert_eq!(counts.by_pc, HashMap::from([(0xffff_ffff_8000_01fc, 1), (0x10b02, 1)]));
        assert_eq!(counts.all, 2);
    }

    #[test]
    fn at_the_most_it_calls_once() {
        let mut calls = 0;
        let counts = count(LOG.as_bytes(), 1, || calls += 1).unwrap();
        assert_eq!((counts.all, calls), (1, 1));
    }
}
