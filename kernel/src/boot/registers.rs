//! Device registers.

use rux_mm::addr::VirtAddr;
use rux_mm::error::AllocError;
use rux_mm::paging::ioremap;

use crate::dt::PhysRange;

/// One device's window of registers.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    base: VirtAddr,
    bytes: usize,
}

impl Registers {
    /// Maps `range` for good.
    ///
    /// # Errors
    /// No memory for the tables.
    pub fn map(range: PhysRange) -> Result<Self, AllocError> {
        Ok(Self { base: ioremap(range.start, range.len())?, bytes: range.len() as usize })
    }

    /// Where they are.
    pub fn base(&self) -> VirtAddr {
        self.base
    }

    /// How many bytes of them there are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset + size_of::<T>() <= self.bytes, "a register beyond its device");
        (self.base.get() as usize + offset) as *mut T
    }

    /// Reads the byte at `offset`.
    pub fn read8(&self, offset: usize) -> u8 {
        // SAFETY: the window is mapped, and `at` keeps within it.
        unsafe { self.at::<u8>(offset).read_volatile() }
    }

    /// Writes the byte at `offset`.
    pub fn write8(&self, offset: usize, value: u8) {
        // SAFETY: as for `read8`.
        unsafe { self.at::<u8>(offset).write_volatile(value) }
    }

    /// Reads the word at `offset`, a multiple of 4.
    pub fn read32(&self, offset: usize) -> u32 {
        // SAFETY: as for `read8`.
        unsafe { self.at::<u32>(offset).read_volatile() }
    }

    /// Writes the word at `offset`, a multiple of 4.
    pub fn write32(&self, offset: usize, value: u32) {
        // SAFETY: as for `read8`.
        unsafe { self.at::<u32>(offset).write_volatile(value) }
    }
}
