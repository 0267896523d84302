//! The page of zeroes that reads of untouched memory show (Linux: `empty_zero_page`).

use spin::Once;

use super::{FolioRef, alloc_folio};
use crate::addr::Order;
use crate::error::AllocError;
use crate::gfp::Gfp;

/// One machine's page of zeroes: had at its first use, kept for good.
#[derive(Debug)]
pub(crate) struct ZeroPage(Once<FolioRef>);

impl ZeroPage {
    pub(crate) const fn new() -> Self {
        Self(Once::new())
    }

    /// The page.
    fn get(&self) -> Result<&FolioRef, AllocError> {
        match self.0.get() {
            Some(folio) => Ok(folio),
            None => self.0.try_call_once(|| alloc_folio(Gfp::USER | Gfp::ZERO, Order::ZERO)),
        }
    }
}

/// The page of zeroes. Nobody writes to it; entries that map it are special, so that it is not counted.
///
/// # Errors
/// Nobody has asked for it before and there is no memory.
pub fn zero_folio() -> Result<&'static FolioRef, AllocError> {
    crate::memory().zero_page.get()
}

/// Whether it is the page of zeroes.
pub(super) fn is_zero_page(page: &crate::page::Page) -> bool {
    crate::memory().zero_page.0.get().is_some_and(|zero| zero.pfn() == page.pfn())
}
