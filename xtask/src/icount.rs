//! `--icount`: deterministic instruction counting, and what the kernel reports under it.
//!
//! The kernel, told by `rux.bootstat`, logs before power-off one line
//! `rux.bootstat: entry=N first_user=N poweroff=N taken_kb=N`: instructions since reset (100 × rdtime) at kernel entry,
//! at the first instruction in user mode and at power-off, and MemTotal − MemFree in KB at the second of them.

use crate::say;

/// As in the yardstick's measurements, so that figures compare.
pub(crate) const QEMU: [&str; 6] =
    ["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2025-01-01T00:00:00,clock=vm"];
pub(crate) const KERNEL: &str = "rux.bootstat";

const LINE: &str = "rux.bootstat:";

#[derive(Debug, PartialEq, Eq, Default, Clone, Copy)]
pub(crate) struct BootStat {
    entry: u64,
    first_user: u64,
    poweroff: u64,
    pub taken_kb: u64,
}

impl BootStat {
    /// Finds the kernel's line in a log.
    pub(crate) fn find(log: &str) -> Option<BootStat> {
        let line = log.lines().rev().find_map(|line| line.split_once(LINE))?.1;
        let field = |name: &str| {
            line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        Some(BootStat {
            entry: field("entry")?,
            first_user: field("first_user")?,
            poweroff: field("poweroff")?,
            taken_kb: field("taken_kb")?,
        })
    }

    /// Instructions from kernel entry to the first one in user mode.
    pub(crate) fn to_first_user(self) -> u64 {
        self.first_user.saturating_sub(self.entry)
    }

    pub(crate) fn to_power_off(self) -> u64 {
        self.poweroff.saturating_sub(self.entry)
    }
}

/// Prints the figures, or that there are none.
pub(crate) fn report(log: &str) {
    match BootStat::find(log) {
        Some(stat) => {
            say!("instructions, kernel entry to the program's first: {}", grouped(stat.to_first_user()));
            say!("instructions, kernel entry to power-off: {}", grouped(stat.to_power_off()));
            say!("memory taken at the program's first instruction: {} KB", grouped(stat.taken_kb));
        }
        None => say!("no `{LINE}` line in the kernel's log: the machine did not power off by itself"),
    }
}

/// The number with a comma before every three digits.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_from_the_last_line() {
        let log = "x\n[0.1] rux.bootstat: entry=100 first_user=5100 poweroff=9100 taken_kb=77\r\n";
        let stat = BootStat::find(log).unwrap();
        assert_eq!((stat.to_first_user(), stat.to_power_off(), stat.taken_kb), (5000, 9000, 77));
        assert_eq!(BootStat::find("rux.bootstat: entry=1"), None);
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
