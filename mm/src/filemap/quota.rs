//! How many pages the files of one file system may have (Linux: `shmem_sb_info.max_blocks`).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A limit, and what is used of it.
#[derive(Debug)]
pub struct PageQuota {
    limit: AtomicU64,
    used: AtomicU64,
}

impl PageQuota {
    /// At most `limit` pages.
    pub const fn new(limit: u64) -> Self {
        Self { limit: AtomicU64::new(limit), used: AtomicU64::new(0) }
    }

    /// The limit, in pages.
    pub fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// Changes the limit; says `false` and changes nothing if more is used already.
    pub fn set_limit(&self, limit: u64) -> bool {
        let fits = self.used() <= limit;
        if fits {
            self.limit.store(limit, Relaxed);
        }
        fits
    }

    /// Pages in use.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// One page more, if the limit allows it.
    pub(super) fn take(&self) -> bool {
        if self.used.fetch_add(1, Relaxed) < self.limit() {
            return true;
        }
        self.give(1);
        false
    }

    /// Pages less.
    pub(super) fn give(&self, pages: u64) {
        self.used.fetch_sub(pages, Relaxed);
    }
}
