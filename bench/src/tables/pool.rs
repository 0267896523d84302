//! Frames for the peers' tables: a stack of pages, as cheap as can be, so that the tables are what is counted.

use std::alloc::{Layout, alloc_zeroed};
use std::cell::RefCell;

use rux_mm::addr::PAGE_SIZE;

thread_local! {
    static FREE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Makes sure that no page has to be had from the host later on.
pub fn fill(pages: usize) {
    let layout = Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("a layout");
    // SAFETY: the size is not 0. It is never freed.
    let start = unsafe { alloc_zeroed(layout) } as usize;
    FREE.with_borrow_mut(|free| free.extend((0..pages).map(|page| start + page * PAGE_SIZE)));
}

/// The address of a page with anything in it: physical addresses are the host's.
pub fn take() -> usize {
    FREE.with_borrow_mut(Vec::pop).expect("as many as were filled")
}

pub fn give(page: usize) {
    FREE.with_borrow_mut(|free| free.push(page));
}
