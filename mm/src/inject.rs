//! Fault injection: the n-th allocation from now on fails (Linux: `mm/fail_page_alloc.c`, `failslab`).

/// While it lives, allocations of this thread that are due fail.
#[must_use = "injection ends once the guard is dropped"]
#[derive(Debug)]
pub struct Injection(());

/// Lets `n` page allocations of this thread pass and fails the next one (and every later one if
/// `repeat`). Slab objects count when they need a page.
pub fn fail_after(_n: u64, _repeat: bool) -> Injection {
    unimplemented!()
}
