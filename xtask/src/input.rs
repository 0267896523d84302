//! Quotes a byte stream for the guest's line discipline, in the modes that `user/init/src/console.rs` sets for a piped
//! input: canonical, without echo and signals. Control characters that would edit the line get ^V before them, the
//! stream's end is ^D.

const LNEXT: u8 = 0x16;
const EOF: u8 = 0x04;

/// A canonical line holds 4095 bytes; ^D hands over what there is of a longer one.
const LONGEST: usize = 1000;

/// ^D (end of file), ^O, ^R, ^U, ^V, ^W and DEL have a meaning of their own.
const SPECIAL: [u8; 7] = [EOF, 0x0f, 0x12, 0x15, LNEXT, 0x17, 0x7f];

#[derive(Default)]
pub(crate) struct Quote {
    /// Bytes since the last line end or hand-over.
    column: usize,
}

impl Quote {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut quoted = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if SPECIAL.contains(&byte) {
                quoted.push(LNEXT);
            }
            quoted.push(byte);
            self.column = if byte == b'\n' { 0 } else { self.column + 1 };
            if self.column == LONGEST {
                quoted.push(EOF);
                self.column = 0;
            }
        }
        quoted
    }

    /// What ends the stream: on an unfinished line the first ^D only hands the line over.
    pub(crate) fn end(&self) -> &'static [u8] {
        if self.column == 0 { &[EOF] } else { &[EOF, EOF] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_quoted_and_long_lines_handed_over() {
        let mut quote = Quote::default();
        assert_eq!(quote.bytes(b"a\x04\n"), b"a\x16\x04\n");
        assert_eq!(quote.end(), [EOF]);
        let quoted = quote.bytes(&[b'x'; LONGEST + 1]);
        assert_eq!(quoted.len(), LONGEST + 2);
        assert_eq!(quoted[LONGEST], EOF);
        assert_eq!(quote.end(), [EOF, EOF]);
    }
}
