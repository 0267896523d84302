//! Owned references to folios.

use core::mem::{self, ManuallyDrop};
use core::ops::Deref;

use super::free;
use crate::addr::{Order, Pfn};
use crate::page::{Folio, PagePtr, pfn_to_online_page, pfn_to_page};

/// Owns one reference to a folio; dropping the last one frees the folio.
#[derive(Debug)]
#[repr(transparent)]
pub struct FolioRef(PagePtr);

impl FolioRef {
    /// Takes over a reference to the folio with this head.
    #[inline(always)]
    pub(crate) fn from_head(head: PagePtr) -> Self {
        Self(head)
    }

    /// As [`FolioRef::into_raw`], by its head.
    #[inline(always)]
    pub(crate) fn into_head(self) -> PagePtr {
        ManuallyDrop::new(self).0
    }

    /// Lets go of the object but not of the reference, which the frame number stands for from now on.
    #[inline(always)]
    pub fn into_raw(self) -> Pfn {
        ManuallyDrop::new(self).pfn()
    }

    /// The reverse of [`FolioRef::into_raw`].
    ///
    /// # Safety
    /// The caller owns a reference to the folio whose first frame is `pfn`, and gives it away here.
    #[inline(always)]
    pub unsafe fn from_raw(pfn: Pfn) -> Self {
        Self(pfn_to_page(pfn))
    }

    /// A reference to the folio that frame `pfn` is part of at this moment, unless it is free or no
    /// memory at all; works on any number (Linux: `folio_try_get`, with the check that it is still the
    /// folio of that page). What the folio is, the caller finds out afterwards: it may be anything that
    /// has references, a kernel page included.
    pub fn try_get(pfn: Pfn) -> Option<Self> {
        let page = pfn_to_online_page(pfn)?;
        loop {
            let head = page.head_at_a_glance();
            if !head.count().try_get() {
                return None;
            }
            let folio = Self(head);
            if page.head_at_a_glance() == head {
                return Some(folio);
            }
            mem::drop(folio);
        }
    }

    /// One more reference to a folio that the caller knows to have one.
    #[inline(always)]
    pub fn of(folio: &Folio) -> Self {
        let head = folio.head();
        head.count().get();
        Self(head)
    }
}

impl Clone for FolioRef {
    /// One reference more. A count that overflows sticks: the folio is never freed.
    #[inline(always)]
    fn clone(&self) -> Self {
        self.0.count().get();
        Self(self.0)
    }
}

impl Deref for FolioRef {
    type Target = Folio;

    #[inline(always)]
    fn deref(&self) -> &Folio {
        Folio::of(self.0)
    }
}

impl PartialEq for FolioRef {
    /// Whether it is the same folio.
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for FolioRef {}

impl Drop for FolioRef {
    #[inline(always)]
    fn drop(&mut self) {
        match self.0.count().put_last() {
            Ok(()) => free::free(self.0, Order::ZERO),
            Err(more) => free::put_more(self.0, more),
        }
    }
}
