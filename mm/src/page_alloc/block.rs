//! Owned raw blocks of pages, for the kernel's own use.

use core::mem::ManuallyDrop;

use super::free;
use crate::addr::{Order, Pfn, PhysAddr};
use crate::page::{PagePtr, pfn_to_page};

/// Owns a block of 2^order pages; dropping it frees them. Nobody else uses its bytes.
#[derive(Debug)]
pub struct PageBlock {
    page: PagePtr,
    order: Order,
}

impl PageBlock {
    #[inline(always)]
    pub(crate) fn new(page: PagePtr, order: Order) -> Self {
        Self { page, order }
    }

    /// The descriptor of the first page.
    #[inline(always)]
    pub fn page(&self) -> PagePtr {
        self.page
    }

    /// The first frame.
    #[inline(always)]
    pub fn pfn(&self) -> Pfn {
        self.page.pfn()
    }

    /// The physical address of the first byte.
    #[inline(always)]
    pub fn phys(&self) -> PhysAddr {
        self.pfn().phys()
    }

    /// The kernel's pointer to the first byte.
    #[inline(always)]
    pub fn as_ptr(&self) -> *mut u8 {
        self.pfn().as_ptr()
    }

    /// log2 of its pages.
    #[inline(always)]
    pub fn order(&self) -> Order {
        self.order
    }

    /// How many bytes.
    #[inline(always)]
    pub fn bytes(&self) -> usize {
        self.order.bytes()
    }

    /// Lets go of the object but not of the memory.
    #[inline(always)]
    pub fn into_raw(self) -> Pfn {
        ManuallyDrop::new(self).pfn()
    }

    /// The reverse of [`PageBlock::into_raw`].
    ///
    /// # Safety
    /// `pfn` comes from [`PageBlock::into_raw`] of a block of this order, whose owner gives it away here.
    #[inline(always)]
    pub unsafe fn from_raw(pfn: Pfn, order: Order) -> Self {
        Self::new(pfn_to_page(pfn), order)
    }
}

impl Drop for PageBlock {
    #[inline(always)]
    fn drop(&mut self) {
        match self.page.count().put_last() {
            Ok(()) => free::free_raw(self.page, self.order),
            Err(more) => free::put_more_of_block(self.page, self.order, more),
        }
    }
}
