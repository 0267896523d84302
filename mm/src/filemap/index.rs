//! The pages of one file by page number (Linux: `i_pages`): folios of one page each so far, and no numbers yet, as
//! nothing is evicted.
//!
//! The index owns one reference of each folio. It keeps no marks: what is dirty is asked for by who writes it back, and
//! every file is memory, or is read only (Linux: `noop_dirty_folio`).

use core::ptr::NonNull;

use crate::page::Folio;
use crate::page_alloc::FolioRef;
use crate::xarray::{Item, XArray};

/// The index.
pub(super) type PageIndex = XArray<FolioRef>;

// SAFETY: descriptors are 64 bytes, aligned to that, and live as long as the machine; they are of atomics.
unsafe impl Item for FolioRef {
    type Target = Folio;

    #[inline(always)]
    fn into_ptr(self) -> NonNull<Folio> {
        // SAFETY: a descriptor's pointer is not null.
        unsafe { NonNull::new_unchecked(self.into_head().as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn from_ptr(folio: NonNull<Folio>) -> Self {
        // SAFETY: a descriptor.
        Self::from_head(unsafe { folio.as_ref() }.head())
    }

    #[inline(always)]
    unsafe fn get(folio: NonNull<Folio>) -> Self {
        // SAFETY: a descriptor, of a folio with a reference.
        Self::of(unsafe { folio.as_ref() })
    }

    #[inline(always)]
    unsafe fn try_get(folio: NonNull<Folio>) -> Option<Self> {
        // SAFETY: a descriptor.
        let folio = unsafe { folio.as_ref() };
        folio.as_page().count().try_get().then(|| Self::from_head(folio.head()))
    }
}
