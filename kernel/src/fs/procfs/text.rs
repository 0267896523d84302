//! The text of a file of procfs, as it is put together and read (Linux: `fs/seq_file.c`).

use core::fmt;

use rux_mm::gfp::Gfp;
use rux_mm::slab::KVec;

use crate::errno::{Errno, Result};

/// A text that grows. Where there is no memory it stops growing and says so at the end.
pub struct Text {
    bytes: KVec<u8>,
    failed: bool,
}

impl Text {
    /// Nothing so far.
    pub const fn new() -> Self {
        Self { bytes: KVec::new(), failed: false }
    }

    /// Adds bytes that need not be UTF-8.
    pub fn push(&mut self, bytes: &[u8]) {
        self.failed |= self.bytes.extend_from_slice(bytes, Gfp::KERNEL).is_err();
    }

    /// Adds bytes with those of `escape` in octal, as paths and names are shown (Linux: `seq_escape`).
    pub fn push_escaped(&mut self, bytes: &[u8], escape: &[u8]) {
        for &byte in bytes {
            if escape.contains(&byte) {
                self.push(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]);
            } else {
                self.push(&[byte]);
            }
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// `ENOMEM` when some are missing.
    pub fn finish(self) -> Result<KVec<u8>> {
        if self.failed { Err(Errno::ENOMEM) } else { Ok(self.bytes) }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // A failure is kept for the end, so that the rooms need not look after every line.
        self.push(text.as_bytes());
        Ok(())
    }
}

/// Adds formatted text to a [`Text`], which remembers a failure itself.
#[macro_export]
macro_rules! show {
    ($text:expr, $($args:tt)*) => {{
        use core::fmt::Write as _;
        let _kept_in_text = write!($text, $($args)*);
    }};
}
