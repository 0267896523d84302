//! /proc/sys: settings (Linux: `kernel/sysctl.c`). Only those are here whose effect is.

use super::{Entry, Text, sysctl, vm};
use crate::errno::{Errno, Result};
use crate::exec::persona;
use crate::fs::{pipe, table};
use crate::process::{self, pid};
use crate::show;
use crate::syscall::uts;

pub(super) const fn file(name: &'static str, show: fn(&mut Text) -> Result<()>) -> Entry {
    Entry::File { name, mode: 0o444, show, write: None }
}

pub(super) const fn setting(
    name: &'static str,
    show: fn(&mut Text) -> Result<()>,
    write: fn(&[u8]) -> Result<()>,
) -> Entry {
    Entry::File { name, mode: 0o644, show, write: Some(write) }
}

/// What is in /proc/sys.
pub(super) static ROOT: &[Entry] = &[
    Entry::Dir { name: "fs", entries: FS },
    Entry::Dir { name: "kernel", entries: KERNEL },
    Entry::Dir { name: "vm", entries: vm::VM },
];

static KERNEL: &[Entry] = &[
    setting("hostname", |text| show_name(text, &uts::host_name()), |bytes| uts::set_host_name(line(bytes))),
    setting(
        "domainname",
        |text| show_name(text, &uts::domain_name()),
        |bytes| uts::set_domain_name(line(bytes)),
    ),
    file("osrelease", |text| show_line(text, uts::RELEASE)),
    file("ostype", |text| show_line(text, "Linux")),
    file("pid_max", |text| show_number(text, u64::from(pid::PID_MAX))),
    vm::numbers(
        "randomize_va_space",
        |text| {
            show!(text, "{}\n", persona::randomize_va_space());
            Ok(())
        },
        |bytes| sysctl::integer_of(bytes, persona::set_randomize_va_space),
    ),
    setting("threads-max", |text| show_number(text, process::max_threads() as u64), set_threads_max),
    file("version", |text| show_line(text, uts::VERSION)),
    file("ngroups_max", |text| show_number(text, 65_536)),
    file("cap_last_cap", |text| show_number(text, 40)),
];

static FS: &[Entry] = &[
    file("file-max", |text| show_number(text, table::open_files().1)),
    file("file-nr", |text| {
        let (open, most) = table::open_files();
        show!(text, "{open}\t0\t{most}\n");
        Ok(())
    }),
    file("nr_open", |text| show_number(text, table::NR_OPEN)),
    file("pipe-max-size", |text| show_number(text, pipe::PIPE_MAX_SIZE as u64)),
];

pub(super) fn show_number(text: &mut Text, number: u64) -> Result<()> {
    show!(text, "{number}\n");
    Ok(())
}

fn show_line(text: &mut Text, line: &str) -> Result<()> {
    show!(text, "{line}\n");
    Ok(())
}

fn show_name(text: &mut Text, name: &[u8]) -> Result<()> {
    let len = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    text.push(&name[..len]);
    text.push(b"\n");
    Ok(())
}

/// What was written, up to the end of the line.
fn line(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&b| b == b'\n' || b == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// A number that was written, with white space around it.
pub(super) fn number(bytes: &[u8]) -> Result<i64> {
    let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
    text.trim_matches(['\0', ' ', '\n', '\t']).parse().map_err(|_| Errno::EINVAL)
}

fn set_threads_max(bytes: &[u8]) -> Result<()> {
    /// Linux: `MIN_THREADS`, and what numbers allow.
    const RANGE: core::ops::RangeInclusive<i64> = 1..=0x3fff_ffff;
    let max = number(bytes)?;
    if !RANGE.contains(&max) {
        return Err(Errno::EINVAL);
    }
    process::set_max_threads(max as usize);
    Ok(())
}
