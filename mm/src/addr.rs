//! Addresses, frame numbers, sizes and orders: newtypes, so that none is taken for another.
//!
//! Arithmetic that a user's number can reach is checked; the rest has overflow checks in debug.
//! Linux: `include/linux/pfn.h`, `include/asm-generic/page.h`.

use core::fmt;

use rux_machine::{Hot, Hw};

/// Bytes of a base page.
pub const PAGE_SIZE: usize = rux_machine::PAGE_SIZE;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = PAGE_SIZE.trailing_zeros();
const OFFSET_MASK: u64 = PAGE_SIZE as u64 - 1;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident, $tag:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Address 0.
            pub const ZERO: Self = Self(0);

            /// The address with this number.
            #[inline(always)]
            pub const fn new(address: u64) -> Self {
                Self(address)
            }

            /// The number.
            #[inline(always)]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// Bytes into its base page.
            #[inline(always)]
            pub const fn page_offset(self) -> usize {
                (self.0 & OFFSET_MASK) as usize
            }

            /// Whether it is the first byte of a base page.
            #[inline(always)]
            pub const fn is_page_aligned(self) -> bool {
                self.0 & OFFSET_MASK == 0
            }

            /// Whether it is a multiple of `align`, a power of two.
            #[inline(always)]
            pub const fn is_aligned(self, align: u64) -> bool {
                self.0 & (align - 1) == 0
            }

            /// The first byte of its base page.
            #[inline(always)]
            pub const fn page_floor(self) -> Self {
                Self(self.0 & !OFFSET_MASK)
            }

            /// The next page boundary at or above it; `None` past the end of the address space.
            #[inline(always)]
            pub const fn page_ceil(self) -> Option<Self> {
                match self.0.checked_add(OFFSET_MASK) {
                    Some(sum) => Some(Self(sum & !OFFSET_MASK)),
                    None => None,
                }
            }

            /// `bytes` further up; `None` past the end of the address space.
            #[inline(always)]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// `bytes` further down; `None` below 0.
            #[inline(always)]
            pub const fn checked_sub(self, bytes: u64) -> Option<Self> {
                match self.0.checked_sub(bytes) {
                    Some(rest) => Some(Self(rest)),
                    None => None,
                }
            }

            /// The multiple of `align`, a power of two, at or below it.
            #[inline(always)]
            pub const fn align_down(self, align: u64) -> Self {
                Self(self.0 & !(align - 1))
            }

            /// The multiple of `align`, a power of two, at or above it; `None` past the end.
            #[inline(always)]
            pub const fn align_up(self, align: u64) -> Option<Self> {
                match self.0.checked_add(align - 1) {
                    Some(sum) => Some(Self(sum & !(align - 1))),
                    None => None,
                }
            }
        }

        /// Bytes further up; the caller knows that it does not wrap.
        impl core::ops::Add<u64> for $name {
            type Output = Self;

            #[inline(always)]
            fn add(self, bytes: u64) -> Self {
                Self(self.0 + bytes)
            }
        }

        /// Bytes further down; the caller knows that it does not wrap.
        impl core::ops::Sub<u64> for $name {
            type Output = Self;

            #[inline(always)]
            fn sub(self, bytes: u64) -> Self {
                Self(self.0 - bytes)
            }
        }

        /// The distance in bytes; the caller knows that `low` is not above.
        impl core::ops::Sub for $name {
            type Output = u64;

            #[inline(always)]
            fn sub(self, low: Self) -> u64 {
                self.0 - low.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($tag, "{:#x}"), self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

address! {
    /// A physical address, in bytes.
    PhysAddr, "p:"
}

address! {
    /// A virtual address, in bytes.
    VirtAddr, "v:"
}

impl PhysAddr {
    /// The frame that the byte is in.
    #[inline(always)]
    pub const fn pfn(self) -> Pfn {
        Pfn(self.0 >> PAGE_SHIFT)
    }

    /// The kernel's pointer to the byte, through the direct map.
    #[inline(always)]
    pub fn as_ptr(self) -> *mut u8 {
        Hw::phys_to_virt(self.0)
    }

    /// The physical address of a byte of the direct map.
    #[inline(always)]
    pub fn of_ptr(virt: *const u8) -> Self {
        Self(Hw::virt_to_phys(virt))
    }
}

/// The number of a base-page frame of physical memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Pfn(u64);

impl Pfn {
    /// The frame with this number.
    #[inline(always)]
    pub const fn new(pfn: u64) -> Self {
        Self(pfn)
    }

    /// The number.
    #[inline(always)]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Its first byte.
    #[inline(always)]
    pub const fn phys(self) -> PhysAddr {
        PhysAddr(self.0 << PAGE_SHIFT)
    }

    /// The kernel's pointer to its first byte, through the direct map.
    #[inline(always)]
    pub fn as_ptr(self) -> *mut u8 {
        self.phys().as_ptr()
    }

    /// Whether a block of `order` may start here.
    #[inline(always)]
    pub const fn is_aligned(self, order: Order) -> bool {
        self.0 & (order.pages() as u64 - 1) == 0
    }

    /// The other half of the block of twice the size (Linux: `__find_buddy_pfn`).
    #[inline(always)]
    pub const fn buddy(self, order: Order) -> Self {
        Self(self.0 ^ order.pages() as u64)
    }
}

impl core::ops::Add<u64> for Pfn {
    type Output = Self;

    #[inline(always)]
    fn add(self, frames: u64) -> Self {
        Self(self.0 + frames)
    }
}

impl core::ops::Sub for Pfn {
    type Output = u64;

    #[inline(always)]
    fn sub(self, low: Self) -> u64 {
        self.0 - low.0
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pfn:{:#x}", self.0)
    }
}

/// log2 of a number of base pages, at most [`Order::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct Order(u8);

impl Order {
    /// One base page.
    pub const ZERO: Self = Self(0);
    /// The largest block of the buddy allocator: 4 MiB (Linux: `MAX_PAGE_ORDER`).
    pub const MAX: Self = Self(10);
    /// A 2 MiB page.
    pub const HUGE: Self = Self(9);
    /// How many orders there are.
    pub const COUNT: usize = Self::MAX.0 as usize + 1;

    /// The order with this number; `None` above [`Order::MAX`].
    #[inline]
    pub const fn new(order: usize) -> Option<Self> {
        if order <= Self::MAX.0 as usize { Some(Self(order as u8)) } else { None }
    }

    /// The smallest order whose block holds `bytes`; `None` above [`Order::MAX`] (Linux: `get_order`).
    #[inline]
    pub const fn of_bytes(bytes: usize) -> Option<Self> {
        let pages = bytes.div_ceil(PAGE_SIZE);
        let order = if pages <= 1 { 0 } else { (pages - 1).ilog2() as usize + 1 };
        Self::new(order)
    }

    /// The number, 0 to 10.
    #[inline(always)]
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    /// Base pages in a block.
    #[inline(always)]
    pub const fn pages(self) -> usize {
        1 << self.0
    }

    /// Bytes in a block.
    #[inline(always)]
    pub const fn bytes(self) -> usize {
        PAGE_SIZE << self.0
    }

    /// The next larger order, if there is one.
    #[inline]
    pub const fn up(self) -> Option<Self> {
        Self::new(self.0 as usize + 1)
    }

    /// The next smaller order, if there is one.
    #[inline]
    pub const fn down(self) -> Option<Self> {
        if self.0 == 0 { None } else { Some(Self(self.0 - 1)) }
    }

    /// All orders, smallest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..=Self::MAX.0).map(Self)
    }
}

/// Virtual addresses from `start` up to, but not with, `end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct VirtRange {
    /// The first byte.
    pub start: VirtAddr,
    /// One past the last byte; not below `start`.
    pub end: VirtAddr,
}

impl VirtRange {
    /// From `start` to `end`, which is not below.
    #[inline]
    pub const fn new(start: VirtAddr, end: VirtAddr) -> Self {
        debug_assert!(start.0 <= end.0);
        Self { start, end }
    }

    /// `bytes` from `start` on; `None` when that wraps.
    #[inline]
    pub const fn from_len(start: VirtAddr, bytes: u64) -> Option<Self> {
        match start.checked_add(bytes) {
            Some(end) => Some(Self { start, end }),
            None => None,
        }
    }

    /// How many bytes.
    #[inline]
    pub const fn len(self) -> u64 {
        self.end.0 - self.start.0
    }

    /// How many base pages, when both ends are page-aligned.
    #[inline]
    pub const fn pages(self) -> u64 {
        self.len() >> PAGE_SHIFT
    }

    /// Whether there is no byte in it.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.start.0 == self.end.0
    }

    /// Whether the byte at `addr` is in it.
    #[inline]
    pub const fn contains(self, addr: VirtAddr) -> bool {
        self.start.0 <= addr.0 && addr.0 < self.end.0
    }

    /// Whether a byte is in both.
    #[inline]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start.0 < other.end.0 && other.start.0 < self.end.0
    }

    /// What is in both; `None` when that is nothing.
    #[inline]
    pub fn intersect(self, other: Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end).then_some(Self { start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_address_space_is_an_end() {
        assert_eq!(VirtAddr::new(u64::MAX).page_ceil(), None);
        assert_eq!(VirtAddr::new(1).page_ceil(), Some(VirtAddr::new(4096)));
        assert_eq!(VirtAddr::new(4096).page_ceil(), Some(VirtAddr::new(4096)));
        assert_eq!(VirtRange::from_len(VirtAddr::new(4096), u64::MAX), None);
    }

    #[test]
    fn orders_of_bytes() {
        for (bytes, order) in [(0, 0), (1, 0), (4096, 0), (4097, 1), (8193, 2), (4 << 20, 10)] {
            assert_eq!(Order::of_bytes(bytes), Order::new(order), "{bytes}");
        }
        assert_eq!(Order::of_bytes((4 << 20) + 1), None);
    }

    #[test]
    fn a_buddy_is_mutual() {
        let (pfn, order) = (Pfn::new(0x80010), Order::new(4).unwrap());
        assert!(pfn.is_aligned(order) && !pfn.is_aligned(order.up().unwrap()));
        assert_eq!(pfn.buddy(order), Pfn::new(0x80000));
        assert_eq!(pfn.buddy(order).buddy(order), pfn);
    }

    #[test]
    fn ranges_intersect() {
        let range = |a, b| VirtRange::new(VirtAddr::new(a), VirtAddr::new(b));
        assert_eq!(range(0, 10).intersect(range(5, 20)), Some(range(5, 10)));
        assert_eq!(range(0, 5).intersect(range(5, 20)), None);
        assert!(!range(0, 5).overlaps(range(5, 20)) && range(0, 6).overlaps(range(5, 20)));
    }
}
