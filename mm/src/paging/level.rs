//! The levels of a page table as types, and how many of them the machine walks.
//!
//! `Pte` is the lowest. Sv39 starts at `Pud`, Sv48 at `P4d`, Sv57 at `Pgd`: which one is chosen at
//! boot ([`Mode`]), and a walk dispatches on it once. A table of one level leads only to the level below: to
//! go down wrongly does not compile. Source: the RISC-V Privileged specification, "Sv39" and following;
//! Linux: `arch/riscv/include/asm/pgtable-64.h`, whose names for the levels these are.

use core::convert::Infallible;
use core::fmt;

use rux_machine::{Hot, Hw};

use super::table::Table;
use super::walk::{self, Look, Parent, Walker};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, Pfn, VirtAddr, VirtRange};

/// log2 of the entries in a table.
pub(super) const TABLE_SHIFT: u32 = 9;
/// Entries in a table.
pub const TABLE_ENTRIES: usize = 1 << TABLE_SHIFT;

mod sealed {
    pub trait Sealed {}
}

/// One level of the tree of tables.
pub trait Level: sealed::Sealed + Copy + Eq + fmt::Debug + 'static {
    /// What an entry leads to that is neither empty nor a leaf: [`Infallible`] at the lowest level.
    type Child: Copy + Eq + fmt::Debug;
    /// 0 for [`Pte`], 4 for [`Pgd`].
    const NUMBER: u32;
    /// log2 of the bytes that one entry covers.
    const SHIFT: u32 = PAGE_SHIFT + TABLE_SHIFT * Self::NUMBER;
    /// The bytes that one entry covers.
    const BYTES: u64 = 1 << Self::SHIFT;
    /// The bytes that a whole table covers.
    const TABLE_BYTES: u64 = Self::BYTES << TABLE_SHIFT;

    /// The child table at `pfn`; `None` at the lowest level.
    #[doc(hidden)]
    fn child(pfn: Pfn) -> Option<Self::Child>;

    /// Takes `walker` through `range` of `table`; see the room `walk`.
    #[doc(hidden)]
    fn descend<W: Walker>(
        table: Table<Self>,
        parent: Parent<'_>,
        range: VirtRange,
        walker: &mut W,
    ) -> Result<Look, W::Stop>;

    /// Which entry of its table covers `addr`.
    #[inline(always)]
    fn index(addr: VirtAddr) -> usize {
        (addr.get() >> Self::SHIFT) as usize & (TABLE_ENTRIES - 1)
    }
}

/// A level with another one below it.
pub trait Upper: Level<Child = Table<Self::Below>> {
    /// The next lower level.
    type Below: Level;
}

/// Entries of 4 KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pte {}

impl sealed::Sealed for Pte {}

impl Level for Pte {
    type Child = Infallible;
    const NUMBER: u32 = 0;

    #[inline(always)]
    fn child(_: Pfn) -> Option<Infallible> {
        None
    }

    #[inline(always)]
    fn descend<W: Walker>(
        table: Table<Self>,
        parent: Parent<'_>,
        range: VirtRange,
        walker: &mut W,
    ) -> Result<Look, W::Stop> {
        walker.ptes(table, parent, range)
    }
}

macro_rules! upper {
    ($($(#[$doc:meta])* $name:ident = $number:literal over $below:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {}

        impl sealed::Sealed for $name {}

        impl Level for $name {
            type Child = Table<$below>;
            const NUMBER: u32 = $number;

            #[inline(always)]
            fn child(pfn: Pfn) -> Option<Self::Child> {
                Some(Table::at(pfn))
            }

            fn descend<W: Walker>(
                table: Table<Self>,
                _: Parent<'_>,
                range: VirtRange,
                walker: &mut W,
            ) -> Result<Look, W::Stop> {
                walk::upper(table, range, walker)?;
                Ok(Look::Done)
            }
        }

        impl Upper for $name {
            type Below = $below;
        }
    )*};
}

upper! {
    /// Entries of 2 MiB.
    Pmd = 1 over Pte;
    /// Entries of 1 GiB; the root of Sv39.
    Pud = 2 over Pmd;
    /// Entries of 512 GiB; the root of Sv48.
    P4d = 3 over Pud;
    /// Entries of 256 TiB; the root of Sv57.
    Pgd = 4 over P4d;
}

/// How many levels the machine walks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Mode {
    /// Three levels.
    Sv39 = 3,
    /// Four levels.
    Sv48 = 4,
    /// Five levels.
    Sv57 = 5,
}

impl Mode {
    /// Levels, 3 to 5.
    #[inline]
    pub const fn levels(self) -> u32 {
        self as u32
    }

    /// The mode with that many levels.
    #[inline]
    pub const fn with_levels(levels: u32) -> Option<Self> {
        match levels {
            3 => Some(Self::Sv39),
            4 => Some(Self::Sv48),
            5 => Some(Self::Sv57),
            _ => None,
        }
    }

    /// The field MODE of `satp`, in its place.
    #[inline]
    pub const fn satp(self) -> u64 {
        (self as u64 + 5) << 60
    }

    /// Bits of a virtual address; the higher ones repeat the topmost.
    #[inline]
    pub const fn virtual_bits(self) -> u32 {
        PAGE_SHIFT + TABLE_SHIFT * self.levels()
    }

    /// One past the last address of user space (Linux: `TASK_SIZE`, `DEFAULT_MAP_WINDOW` under Sv57). The
    /// last page below it is not to be mapped.
    #[inline]
    pub const fn user_end(self) -> VirtAddr {
        match self {
            Self::Sv39 => VirtAddr::new(1 << 38),
            Self::Sv48 | Self::Sv57 => VirtAddr::new(1 << 47),
        }
    }

    /// One past the last address of the lower half, which is not the kernel's.
    #[inline]
    pub(super) const fn lower_half_end(self) -> VirtAddr {
        VirtAddr::new(1 << (self.virtual_bits() - 1))
    }

    /// The root's first entry of the kernel's half that the kernel uses. All that it maps is in the topmost
    /// 256 GiB, in every mode.
    #[inline]
    pub(super) const fn kernel_index(self) -> usize {
        match self {
            Self::Sv39 => TABLE_ENTRIES / 2,
            Self::Sv48 | Self::Sv57 => TABLE_ENTRIES - 1,
        }
    }
}

const _: () = assert!(Pte::BYTES == PAGE_SIZE as u64 && Pmd::BYTES == 2 << 20 && Pud::BYTES == 1 << 30);

/// `satp` for tables at `root`.
#[inline]
pub(super) const fn satp(mode: Mode, root: Pfn, asid: u16) -> u64 {
    mode.satp() | (asid as u64) << 44 | root.get()
}

/// The largest number of levels that this hart takes, at most `cap`: `satp` is written with `root` and each
/// mode, highest first, and read back. Leaves the hart on the mode that it returns; `None` if it takes none.
///
/// # Safety
/// The table of `root` maps, in each of the modes up to `cap`, the code that runs and its stack and data.
pub unsafe fn probe_mode(root_of: impl Fn(Mode) -> Pfn, cap: Mode) -> Option<Mode> {
    [Mode::Sv57, Mode::Sv48, Mode::Sv39].into_iter().filter(|mode| *mode <= cap).find(|mode| {
        let wanted = satp(*mode, root_of(*mode), 0);
        // SAFETY: the caller vouches for the tables; a mode that the hart lacks leaves satp as it was.
        unsafe { Hw::set_satp(wanted) };
        Hw::satp() == wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_an_index_at_each_level() {
        let addr = VirtAddr::new(0xffff_ffe8_0060_3000);
        assert_eq!(Pte::index(addr), 3);
        assert_eq!(Pmd::index(addr), 3);
        assert_eq!(Pud::index(addr), 0x1a0);
        assert_eq!(P4d::index(addr), 511);
        assert_eq!(Pgd::index(addr), 511);
    }

    #[test]
    fn the_kernel_is_behind_its_first_index() {
        let kernel = VirtAddr::new(0xffff_ffc0_0000_0000);
        assert_eq!(Pud::index(kernel), Mode::Sv39.kernel_index());
        assert_eq!(P4d::index(kernel), Mode::Sv48.kernel_index());
        assert_eq!(Pgd::index(kernel), Mode::Sv57.kernel_index());
        assert_eq!(Mode::Sv57.satp() >> 60, 10);
    }
}
