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
        // Never above the limit, not even for a moment: another who has it then would fail for nothing.
        self.used.fetch_update(Relaxed, Relaxed, |used| (used < self.limit()).then_some(used + 1)).is_ok()
    }

    /// Pages less.
    pub(super) fn give(&self, pages: u64) {
        self.used.fetch_sub(pages, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who finds it full takes nothing away from others meanwhile.
    #[test]
    fn no_more_than_the_limit_is_ever_used() {
        let quota = PageQuota::new(1);
        let rounds = if cfg!(miri) { 50 } else { 1_000_000 };
        let start = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..rounds {
                        if quota.take() {
                            assert_eq!(quota.used(), 1);
                            quota.give(1);
                        }
                    }
                });
            }
        });
        assert_eq!(quota.used(), 0);
    }
}
