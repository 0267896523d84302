//! Runs one of our programs on a kernel, in a machine of its own, and hears its lines as they come.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::boot::{self, Source};
use crate::cli::RunOptions;
use crate::filter::Piece;
use crate::initramfs::{Job, Tree};
use crate::kernel::Kernel;
use crate::slot::Slot;
use crate::{paths, run, say};

/// What a comparison may take, on one kernel.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Boots `kernel`, runs `options.program` and gives each line of it to `hear`; returns the program's status.
pub(super) fn run(
    kernel: &Kernel,
    tree: &Tree,
    options: &RunOptions,
    hear: &mut dyn FnMut(&str),
) -> Result<u8> {
    let job = Job {
        settings: vec![("stdin", "pipe".into()), ("stdout", "pipe".into())],
        program: options.program.clone(),
    };
    let slot = Slot::take(&paths::run())?;
    let machine = run::machine(options, kernel, tree, &job, &slot.folder().join("bench"))?;
    let mut lines = Lines::default();
    let mut kernels = Vec::new();
    let source = Source::Stream(Box::new(io::empty()));
    let ended = boot::boot(&machine, source, Some(PATIENCE), &mut |piece: &Piece| {
        kernels.extend_from_slice(&piece.boot);
        lines.push(&piece.program, hear);
        Ok(())
    })?;
    lines.finish(hear);
    if !ended.started {
        say!("{}", String::from_utf8_lossy(&kernels));
        bail!("the machine ended before the program started: {}", machine.shown());
    }
    if matches!(ended.status, boot::TIMED_OUT | boot::PANICKED) {
        say!("{}", run::read_log(&machine.log));
        bail!("the machine ended before the program did (status {}): {}", ended.status, machine.shown());
    }
    forget(&machine.initrd);
    Ok(ended.status)
}

/// What is left of a run that went well is of no use.
fn forget(initrd: &Path) {
    let _ = std::fs::remove_file(initrd);
}

/// Makes lines of pieces.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, bytes: &[u8], hear: &mut dyn FnMut(&str)) {
        self.0.extend_from_slice(bytes);
        while let Some(end) = self.0.iter().position(|&byte| byte == b'\n') {
            hear(String::from_utf8_lossy(&self.0[..end]).trim_end());
            self.0.drain(..=end);
        }
    }

    fn finish(self, hear: &mut dyn FnMut(&str)) {
        if !self.0.is_empty() {
            hear(String::from_utf8_lossy(&self.0).trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let mut heard = Vec::new();
        let mut lines = Lines::default();
        for piece in ["a\tb", "\r\nc", "", "\n\nlast"] {
            lines.push(piece.as_bytes(), &mut |line| heard.push(line.to_owned()));
        }
        lines.finish(&mut |line| heard.push(line.to_owned()));
        assert_eq!(heard, ["a\tb", "c", "", "last"]);
    }
}
