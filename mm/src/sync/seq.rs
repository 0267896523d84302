//! A sequence count: readers that take no lock see whether a writer was there meanwhile.
//!
//! Linux: `seqcount_t`. Writers exclude each other by a lock of their own. What is read between
//! [`SeqCount::begin`] and [`SeqCount::retry`] must be atomics, read relaxed.

use core::sync::atomic::{AtomicU32, Ordering, fence};

use rux_machine::{Hot, Hw};

/// Odd while a writer is at work.
#[derive(Default, Debug)]
pub struct SeqCount(AtomicU32);

impl SeqCount {
    /// No writer was there yet.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Waits until no writer is at work; what it returns is for [`Self::retry`].
    #[inline]
    pub fn begin(&self) -> u32 {
        loop {
            let sequence = self.0.load(Ordering::Acquire);
            if sequence & 1 == 0 {
                return sequence;
            }
            Hw::relax();
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

    /// A writer starts. It holds the lock that excludes other writers, and cannot be pre-empted.
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicBool;

    #[test]
    fn readers_never_see_half_a_write() {
        let (count, a, b) = (SeqCount::new(), AtomicU32::new(0), AtomicU32::new(0));
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
