//! The bytes of a folio, for those who copy them: shared with whoever maps the folio, so there is no
//! Rust reference to them, only copies in and out (Linux: `memcpy_from_folio`, `copy_user_highpage`).

use core::marker::PhantomData;

use rux_machine::{Hot, Hw};

use super::{Folio, Page};

/// Some bytes of one page of a folio. A program may change them at any moment.
#[derive(Clone, Copy, Debug)]
pub struct PageBytes<'a> {
    start: *mut u8,
    len: usize,
    folio: PhantomData<&'a Folio>,
}

impl PageBytes<'_> {
    /// Where they are, for a copy to or from user memory.
    #[inline]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    /// How many.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies them out; as many as both have.
    pub fn copy_to(&self, to: &mut [u8]) {
        let len = self.len.min(to.len());
        // SAFETY: within a folio that is referenced; `to` is memory of the caller's own.
        unsafe { core::ptr::copy_nonoverlapping(self.start, to.as_mut_ptr(), len) };
    }

    /// Copies bytes in; as many as both have.
    pub fn copy_from(&self, from: &[u8]) {
        let len = self.len.min(from.len());
        // SAFETY: as above; what a program reads meanwhile is its affair.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), self.start, len) };
    }

    /// Zeroes them.
    pub fn fill_zero(&self) {
        // SAFETY: within a folio that is referenced.
        unsafe { self.start.write_bytes(0, self.len) };
    }
}

impl Folio {
    /// `len` bytes from `offset` on.
    ///
    /// # Panics
    /// When they are not within the folio.
    #[inline]
    pub fn bytes_at(&self, offset: usize, len: usize) -> PageBytes<'_> {
        let end = offset.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.bytes()), "bytes outside of a folio");
        PageBytes { start: self.as_ptr().wrapping_add(offset), len, folio: PhantomData }
    }

    /// Copies the page `from` to page `index` of this folio, which nobody but the caller can reach yet.
    #[inline]
    pub fn copy_page_from(&self, index: usize, from: &Page) {
        let to = self.page(index).pfn().as_ptr();
        let from = from.pfn().as_ptr();
        debug_assert_ne!(to, from, "a page copied to itself");
        // SAFETY: two frames with descriptors, of folios that the caller refers to, so both are mapped; they
        // differ, so they do not overlap. A program that writes to `from` meanwhile gets some mixture
        // copied, as on any machine; the copy is made of plain loads in assembly on the target.
        unsafe { Hw::copy_page(to, from) };
    }
}
