//! The tree against a model, without memory, and with readers on other threads.

mod faults;
mod model;
mod source;
mod threads;

use core::ptr::NonNull;

use super::tree::Stored;

/// A value that is nothing but a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Word(usize);

// SAFETY: nothing is of size 0, so that every address but null is one of it.
unsafe impl Stored for Word {
    type Target = ();

    fn into_value(self) -> NonNull<()> {
        NonNull::new(core::ptr::without_provenance_mut(self.0)).expect("a number above 0")
    }

    unsafe fn from_value(value: NonNull<()>) -> Self {
        Self(value.addr().get())
    }
}

fn word(value: &()) -> usize {
    core::ptr::from_ref(value).addr()
}

/// Marsaglia's xorshift: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
