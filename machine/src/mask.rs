//! Sets of harts: one bit a hart, at most [`crate::MAX_HARTS`] (Linux: cpumask).

use core::sync::atomic::{AtomicU64, Ordering};

const BITS: usize = u64::BITS as usize;

/// A set of harts by index.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HartMask(u64);

impl HartMask {
    /// No hart.
    pub const EMPTY: Self = Self(0);

    /// The set of one hart, `hart` below [`crate::MAX_HARTS`].
    #[inline]
    pub const fn one(hart: usize) -> Self {
        Self(1 << (hart % BITS))
    }

    /// The harts 0 to `n - 1`.
    #[inline]
    pub const fn first(n: usize) -> Self {
        if n >= BITS { Self(u64::MAX) } else { Self((1 << n) - 1) }
    }

    /// The set of these bits, bit `n` for hart `n`.
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as bits, bit `n` for hart `n`.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether `hart` is in the set.
    #[inline]
    pub const fn contains(self, hart: usize) -> bool {
        hart < BITS && self.0 >> hart & 1 != 0
    }

    /// The set with `hart`.
    #[inline]
    pub const fn with(self, hart: usize) -> Self {
        Self(self.0 | Self::one(hart).0)
    }

    /// The set without `hart`.
    #[inline]
    pub const fn without(self, hart: usize) -> Self {
        Self(self.0 & !Self::one(hart).0)
    }

    /// Harts in both sets.
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether no hart is in the set.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many harts are in the set.
    #[inline]
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// The harts of the set, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let hart = left.trailing_zeros() as usize;
            (left != 0).then(|| {
                left &= left - 1;
                hart
            })
        })
    }
}

/// A set of harts that several harts change.
#[derive(Default, Debug)]
pub struct AtomicHartMask(AtomicU64);

impl AtomicHartMask {
    /// No hart.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `hart`; the ordering is sequentially consistent, since a fence decision hangs on it.
    #[inline]
    pub fn set(&self, hart: usize) {
        self.0.fetch_or(HartMask::one(hart).0, Ordering::SeqCst);
    }

    /// Takes `hart` out.
    #[inline]
    pub fn clear(&self, hart: usize) {
        self.0.fetch_and(!HartMask::one(hart).0, Ordering::SeqCst);
    }

    /// Adds all of `harts`.
    #[inline]
    pub fn insert(&self, harts: HartMask) {
        self.0.fetch_or(harts.0, Ordering::SeqCst);
    }

    /// Takes `hart` out; says whether it was in.
    #[inline]
    pub fn take(&self, hart: usize) -> bool {
        self.load().contains(hart)
            && self.0.fetch_and(!HartMask::one(hart).0, Ordering::SeqCst) & HartMask::one(hart).0 != 0
    }

    /// The set at this moment.
    #[inline]
    pub fn load(&self) -> HartMask {
        HartMask(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_a_set() {
        let mask = HartMask::EMPTY.with(3).with(63).with(3);
        assert_eq!(mask.iter().collect::<Vec<_>>(), [3, 63]);
        assert_eq!(mask.without(3).count(), 1);
        assert!(HartMask::first(64).contains(63) && !HartMask::first(63).contains(63));
        assert!(!mask.contains(64));
    }
}
