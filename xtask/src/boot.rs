//! Boots a machine, moves its terminal's bytes in both directions, and tells how it ended.

use std::io::{Read, Write};
use std::process::{ChildStdin, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::filter::{Filter, Piece};
use crate::qemu::{Input, Machine};
use crate::{input, say};

/// What the command answers after a time-out, and after a kernel panic.
pub(crate) const TIMED_OUT: u8 = 124;
pub(crate) const PANICKED: u8 = 101;

/// The guest's standard input.
pub(crate) enum Source {
    /// The terminal that we have.
    Terminal,
    /// A stream of the host: sent, quoted for the line discipline, once the program runs; then end of file.
    Stream(Box<dyn Read + Send>),
    /// Pairs of what to wait for in the program's output, and what to type then.
    Dialog(Vec<(&'static str, &'static str)>),
}

/// How a boot ended.
pub(crate) struct Ended {
    /// The program's exit status, `TIMED_OUT` or `PANICKED`.
    pub status: u8,
    /// Whether init came to start the program.
    pub started: bool,
    /// What QEMU itself had to say.
    pub qemu: String,
}

/// Boots `machine` and gives every piece of its output to `sink` as it arrives.
pub(crate) fn boot(
    machine: &Machine,
    source: Source,
    timeout: Option<Duration>,
    sink: &mut dyn FnMut(&Piece) -> Result<()>,
) -> Result<Ended> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let input = if matches!(source, Source::Terminal) { Input::Terminal } else { Input::Pipe };
    let mut process = machine.start(input)?;
    let (stdout, stderr) = (process.child.stdout.take(), process.child.stderr.take());
    let (stdin, mut stdout, mut stderr) = match (process.child.stdin.take(), stdout, stderr) {
        (stdin, Some(stdout), Some(stderr)) => (stdin, stdout, stderr),
        _ => return Err(anyhow!("QEMU was started without pipes")),
    };
    let complaints = thread::spawn(move || {
        let mut text = Vec::new();
        // A pipe that breaks has told all it had.
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let (bytes, chunks) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = stdout.read(&mut buffer) {
            if bytes.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });

    let mut filter = Filter::default();
    // Held until the program starts: before, a reset of the serial line would lose bytes.
    let (mut waiting, mut dialog) = match (source, stdin) {
        (Source::Stream(stream), Some(stdin)) => (Some((stream, stdin)), None),
        (Source::Dialog(lines), Some(stdin)) => (None, Some(Dialog::new(lines, stdin))),
        _ => (None, None),
    };
    let timed_out = loop {
        let chunk = match deadline {
            Some(deadline) => chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            None => chunks.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
        };
        match chunk {
            Ok(chunk) => {
                let piece = filter.push(&chunk);
                if let Some(dialog) = &mut dialog {
                    dialog.hear(&piece.program);
                }
                sink(&piece)?;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break false,
            Err(mpsc::RecvTimeoutError::Timeout) => break true,
        }
        if filter.started()
            && let Some((stream, stdin)) = waiting.take()
        {
            thread::spawn(move || feed(stream, stdin));
        }
    };
    let status = if timed_out { None } else { process.wait_until(deadline)? };
    process.stop();
    let started = filter.started();
    sink(&Piece { boot: filter.finish(), program: Vec::new() })?;
    let qemu = complaints.join().unwrap_or_default();
    Ok(Ended { status: status.map_or(TIMED_OUT, |status| exit_status(status, started)), started, qemu })
}

/// QEMU's status is the guest's, which it takes from its test device.
fn exit_status(status: ExitStatus, started: bool) -> u8 {
    match status.code() {
        // Nobody asked for a power-off before the program.
        Some(0) if !started => PANICKED,
        Some(code) => code as u8,
        None => {
            say!("QEMU ended by a {status}");
            1
        }
    }
}

fn feed(mut stream: Box<dyn Read + Send>, mut stdin: ChildStdin) {
    let mut quote = input::Quote::default();
    let mut buffer = [0; 1024];
    // Errors mean that the machine has ended; then nobody reads.
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stdin.write_all(&quote.bytes(&buffer[..n])).is_err() {
            return;
        }
    }
    let _ = stdin.write_all(quote.end());
    // QEMU would see a closed pipe as a line that has hung up.
    loop {
        thread::park();
    }
}

/// Somebody who types what comes next when they see what they wait for.
struct Dialog {
    lines: std::vec::IntoIter<(&'static str, &'static str)>,
    next: Option<(&'static str, &'static str)>,
    /// Output since the last line was typed.
    heard: Vec<u8>,
    stdin: ChildStdin,
}

impl Dialog {
    fn new(lines: Vec<(&'static str, &'static str)>, stdin: ChildStdin) -> Dialog {
        let mut lines = lines.into_iter();
        let next = lines.next();
        Dialog { lines, next, heard: Vec::new(), stdin }
    }

    fn hear(&mut self, output: &[u8]) {
        self.heard.extend_from_slice(output);
        while let Some((wanted, typed)) = self.next {
            let wanted = wanted.as_bytes();
            let Some(at) = self.heard.windows(wanted.len()).position(|window| window == wanted) else {
                return;
            };
            self.heard.drain(..at + wanted.len());
            self.next = self.lines.next();
            // A machine that has ended hears nothing.
            let _ = self.stdin.write_all(typed.as_bytes());
        }
    }
}
