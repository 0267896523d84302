//! A sequence count: readers that take no lock see whether a writer was there meanwhile.
//!
//! Linux: `seqcount_t`. Writers exclude each other by a lock of their own. What is read between
//! [`SeqCount::begin`] and [`SeqCount::retry`] must be atomics, read relaxed. Models of `mm/tests/loom_maple.rs` are
//! of this very source.

use super::shim::{AtomicU32, Ordering, fence, relax};

/// Odd while a writer is at work. By default, none was there yet.
#[derive(Default, Debug)]
pub struct SeqCount(AtomicU32);

impl SeqCount {
    /// As [`Self::begin`], but does not wait: none while a writer is at work.
    #[inline]
    pub fn try_begin(&self) -> Option<u32> {
        let sequence = self.0.load(Ordering::Acquire);
        (sequence & 1 == 0).then_some(sequence)
    }

    /// Waits until no writer is at work; what it returns is for [`Self::retry`].
    #[inline]
    pub fn begin(&self) -> u32 {
        loop {
            if let Some(sequence) = self.try_begin() {
                return sequence;
            }
            relax();
        }
    }

    /// Whether what was read since [`Self::begin`] may be torn.
    #[inline]
    #[must_use]
    pub fn retry(&self, begun: u32) -> bool {
        // Pairs with the fence in `write_begin`: a reader that saw new data sees the odd count.
        fence(Ordering::Acquire);
        self.0.load(Ordering::Relaxed) != begun
    }

    /// A writer starts. It holds the lock that excludes other writers, and cannot be pre-empted if readers wait for it.
    #[inline]
    pub fn write_begin(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
    }

    /// The writer is done.
    #[inline]
    pub fn write_end(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicBool;

    #[test]
    fn readers_never_see_half_a_write() {
        let (count, a, b) = (SeqCount::default(), AtomicU32::new(0), AtomicU32::new(0));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 1..if cfg!(miri) { 100 } else { 20_000 } {
                    count.write_begin();
                    a.store(i, Ordering::Relaxed);
                    b.store(i, Ordering::Relaxed);
                    count.write_end();
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                let begun = count.begin();
                let seen = (a.load(Ordering::Relaxed), b.load(Ordering::Relaxed));
                if !count.retry(begun) {
                    assert_eq!(seen.0, seen.1);
                }
            }
        });
    }
}
