//! [`KString`]: a text that grows.

use core::fmt;
use core::ops::Deref;

use super::KVec;
use crate::error::AllocError;
use crate::gfp::Gfp;

/// A UTF-8 text in kernel memory. What comes from user space is bytes, not text: a `KVec<u8>`.
#[derive(Default, PartialEq, Eq)]
pub struct KString(KVec<u8>);

impl KString {
    /// The empty text; allocates nothing.
    pub const fn new() -> Self {
        Self(KVec::new())
    }

    /// A copy of `text`.
    ///
    /// # Errors
    /// No memory.
    pub fn from_str(text: &str, gfp: Gfp) -> Result<Self, AllocError> {
        let mut string = Self::new();
        string.push_str(text, gfp)?;
        Ok(string)
    }

    /// The text that `format_args!` describes.
    ///
    /// # Errors
    /// No memory.
    pub fn format(args: fmt::Arguments<'_>, gfp: Gfp) -> Result<Self, AllocError> {
        struct Writer(KString, Gfp);
        impl fmt::Write for Writer {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.push_str(text, self.1).map_err(|_| fmt::Error)
            }
        }
        let mut writer = Writer(Self::new(), gfp);
        fmt::write(&mut writer, args).map_err(|_| AllocError)?;
        Ok(writer.0)
    }

    /// Appends `text`.
    ///
    /// # Errors
    /// No memory; nothing changed.
    pub fn push_str(&mut self, text: &str, gfp: Gfp) -> Result<(), AllocError> {
        self.0.extend_from_slice(text.as_bytes(), gfp)
    }

    /// Appends one character.
    ///
    /// # Errors
    /// No memory; nothing changed.
    pub fn push(&mut self, char: char, gfp: Gfp) -> Result<(), AllocError> {
        self.push_str(char.encode_utf8(&mut [0; 4]), gfp)
    }

    /// Empties the text; its memory stays.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // SAFETY: only texts were appended.
        unsafe { str::from_utf8_unchecked(&self.0) }
    }

    /// Its bytes.
    pub fn into_bytes(self) -> KVec<u8> {
        self.0
    }

    /// A copy.
    ///
    /// # Errors
    /// No memory.
    pub fn try_clone(&self, gfp: Gfp) -> Result<Self, AllocError> {
        Self::from_str(self, gfp)
    }
}

impl Deref for KString {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

/// Allocates with [`Gfp::KERNEL`], so only where the thread may sleep.
impl fmt::Write for KString {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text, Gfp::KERNEL).map_err(|_| fmt::Error)
    }
}

impl fmt::Debug for KString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for KString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl PartialEq<str> for KString {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}
