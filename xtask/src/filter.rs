//! Splits what comes over the serial line into the firmware's and kernel's boot messages and the program's output.
//!
//! The line `START`, written by init (`user/init/src/console.rs`) on the console just before it starts the program,
//! ends the first part and is in neither. Nothing of the kernel's is needed for it, so it works on Linux as well.

/// What init writes; the terminal may have made `\r\n` of its end.
const START: &[u8] = b"\x1erux-start";

/// Cuts a byte stream at the start line.
#[derive(Default)]
pub(crate) struct Filter {
    started: bool,
    /// What might be the first bytes of the start line, or its line end.
    held: Vec<u8>,
}

/// One piece of the stream.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Piece {
    pub boot: Vec<u8>,
    pub program: Vec<u8>,
}

impl Filter {
    pub(crate) fn started(&self) -> bool {
        self.started && self.held.is_empty()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Piece {
        let mut piece = Piece::default();
        if self.started() {
            piece.program = bytes.to_vec();
            return piece;
        }
        self.held.extend_from_slice(bytes);
        match find(&self.held, START) {
            Some(at) => {
                self.started = true;
                piece.boot = self.held[..at].to_vec();
                let rest = &self.held[at + START.len()..];
                match rest.iter().position(|&b| b == b'\n') {
                    Some(end) => {
                        piece.program = rest[end + 1..].to_vec();
                        self.held.clear();
                    }
                    // Keep the marker for the next push, which looks for the line's end again.
                    None => {
                        self.held.drain(..at);
                    }
                }
            }
            None => {
                let keep = partial(&self.held, START);
                piece.boot = self.held.drain(..self.held.len() - keep).collect();
            }
        }
        piece
    }

    /// What was held back when the stream ended: no start line after all.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.held
    }
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

/// The length of the longest end of `hay` that `needle` starts with.
fn partial(hay: &[u8], needle: &[u8]) -> usize {
    (0..needle.len().min(hay.len() + 1))
        .rev()
        .find(|&n| needle.starts_with(&hay[hay.len() - n..]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"OpenSBI\n\x1eboot\n\x1erux-start\r\nout\n\x1erux-start\n";

    #[test]
    fn cuts_at_the_first_start_line_however_the_bytes_arrive() {
        for size in 1..=STREAM.len() {
            let mut filter = Filter::default();
            let mut all = Piece::default();
            for chunk in STREAM.chunks(size) {
                let piece = filter.push(chunk);
                all.boot.extend(piece.boot);
                all.program.extend(piece.program);
            }
            assert!(filter.started());
            assert_eq!(all.boot, b"OpenSBI\n\x1eboot\n", "chunks of {size}");
            assert_eq!(all.program, b"out\n\x1erux-start\n", "chunks of {size}");
        }
    }

    #[test]
    fn keeps_what_is_no_start_line() {
        let mut filter = Filter::default();
        assert_eq!(filter.push(b"a\x1erux").boot, b"a");
        assert!(!filter.started());
        assert_eq!(filter.finish(), b"\x1erux");
    }
}
