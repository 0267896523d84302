//! The job: what `cargo xtask run` asks this boot to do. A file in the initramfs, not kernel arguments, so that a
//! program's arguments may have any length and any byte.
//!
//! `/etc/rux/job` is NUL-terminated fields: `key=value` settings, an empty field, then the program and its arguments.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

const JOB: &str = "/etc/rux/job";
const BUSYBOX: &str = "/bin/busybox";

/// Settings and program of this boot. Without a job file: a shell on a terminal.
#[derive(Default)]
pub struct Job {
    settings: Vec<(Vec<u8>, Vec<u8>)>,
    program: Vec<OsString>,
}

impl Job {
    pub fn read() -> Job {
        std::fs::read(JOB).map(|bytes| Job::parse(&bytes)).unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Job {
        let mut fields = bytes.split(|&b| b == 0);
        let settings = fields
            .by_ref()
            .take_while(|field| !field.is_empty())
            .filter_map(|field| {
                let equals = field.iter().position(|&b| b == b'=')?;
                Some((field[..equals].to_vec(), field[equals + 1..].to_vec()))
            })
            .collect();
        let mut program: Vec<OsString> = fields.map(|field| OsString::from_vec(field.to_vec())).collect();
        // The last field ends with NUL too: what follows it is not an argument.
        program.pop();
        Job { settings, program }
    }

    fn setting(&self, key: &str) -> Option<&[u8]> {
        self.settings.iter().find(|(k, _)| k == key.as_bytes()).map(|(_, v)| v.as_slice())
    }

    /// Standard input is a file or pipe of the host, not a person.
    pub fn input_is_piped(&self) -> bool {
        self.setting("stdin") == Some(b"pipe")
    }

    /// Standard output is a file or pipe of the host: bytes must arrive as they are.
    pub fn output_is_piped(&self) -> bool {
        self.setting("stdout") == Some(b"pipe")
    }

    /// The host terminal's `(columns, rows)`.
    pub fn size(&self) -> Option<(u16, u16)> {
        let text = std::str::from_utf8(self.setting("size")?).ok()?;
        let (columns, rows) = text.split_once('x')?;
        Some((columns.parse().ok()?, rows.parse().ok()?))
    }

    pub fn term(&self) -> &OsStr {
        OsStr::from_bytes(self.setting("term").unwrap_or(b"linux"))
    }

    /// The program to run; a login shell if none was named. `Err` says what is missing.
    pub fn command(&self) -> Result<Command, String> {
        if let Some((program, args)) = self.program.split_first() {
            let mut command = Command::new(program);
            command.args(args);
            return Ok(command);
        }
        if std::fs::metadata(BUSYBOX).is_err() {
            return Err(format!(
                "there is no {BUSYBOX}, so no shell. Give a static riscv64 busybox with\n\
                 init:   cargo xtask run --copy FILE:{BUSYBOX}\n\
                 init: or run one of our own programs: cargo xtask run -- /usr/libexec/rux/NAME"
            ));
        }
        let mut command = Command::new(BUSYBOX);
        command.arg0("-sh");
        Ok(command)
    }
}
