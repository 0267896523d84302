//! What an index holds: an [`Item`] that it owns, or a number.

use core::ptr::NonNull;

use super::word::{Value, Word};

/// An owner that an array keeps as one word, and that readers without a lock may get one more of.
///
/// # Safety
/// What `into_ptr` returns is a multiple of 8 and stays valid as a `Target` until `from_ptr` took it back.
pub unsafe trait Item: Sized {
    /// What it owns, perhaps together with others.
    type Target;

    /// Gives the ownership away.
    fn into_ptr(self) -> NonNull<Self::Target>;

    /// Takes it back.
    ///
    /// # Safety
    /// `ptr` comes from `into_ptr`, and is taken back once.
    unsafe fn from_ptr(ptr: NonNull<Self::Target>) -> Self;

    /// One more owner of what has one.
    ///
    /// # Safety
    /// `ptr` comes from `into_ptr`, of an owner that stays for as long as this runs.
    unsafe fn get(ptr: NonNull<Self::Target>) -> Self;

    /// One more owner of what a reader found a moment ago, unless it has none any more, or cannot have more. It may
    /// have become something else meanwhile: the reader looks again. What was done before the owners that this one
    /// finds came to be is seen by whoever has the result (acquire).
    ///
    /// # Safety
    /// `ptr` comes from `into_ptr`, perhaps of an owner that is gone since the reader's guard was taken.
    unsafe fn try_get(ptr: NonNull<Self::Target>) -> Option<Self>;
}

/// What an index holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry<T> {
    /// An item.
    Item(T),
    /// A number.
    Value(Value),
}

impl<T> Entry<T> {
    /// The item, if it is one.
    #[inline(always)]
    pub fn item(self) -> Option<T> {
        match self {
            Self::Item(item) => Some(item),
            Self::Value(_) => None,
        }
    }
}

impl<T: Item> Entry<T> {
    #[inline(always)]
    pub(super) fn into_word(self) -> Word {
        match self {
            Self::Item(item) => Word::of_item(item.into_ptr().cast()),
            Self::Value(value) => Word::of_value(value),
        }
    }

    /// The reverse of [`Entry::into_word`].
    ///
    /// # Safety
    /// The word comes from there, and is taken back once.
    #[inline(always)]
    pub(super) unsafe fn from_word(word: Word) -> Option<Self> {
        match word.item() {
            // SAFETY: the caller vouches for it.
            Some(item) => Some(Self::Item(unsafe { T::from_ptr(item.cast()) })),
            None => word.value().map(Self::Value),
        }
    }
}
