//! Page-table entries: what the hardware reads, and what we keep in those that it does not.
//!
//! An [`Entry`] is the 64-bit word; [`Entry::kind`] takes it apart. Every walker meets every kind at every
//! level. What the bits of an entry with V = 0 mean is our own; the rest is the RISC-V Privileged
//! specification's, Svpbmt's (61, 62) and Svnapot's (63) bits included, which every change carries along.
//! Linux: `arch/riscv/include/asm/pgtable-bits.h`, `include/linux/swapops.h`.
//!
//! | V | G | bits 1-3 | meaning |
//! |---|---|---|---|
//! | 0 | 0 | 0 | none: the whole word is 0 |
//! | 0 | 0 | 1-4 | not present: swap, migration, poison, marker |
//! | 0 | 1 | any | prot-none: a leaf that nobody may touch; the rest as in a leaf |
//! | 1 | any | 0 | table |
//! | 1 | any | else | leaf |

use core::fmt;
use core::marker::PhantomData;

use bitflags::bitflags;

use super::level::{Level, Pte};
use crate::addr::Pfn;

bitflags! {
    /// The low ten bits of a leaf. `W` without `R` is reserved by the specification.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Bits: u64 {
        /// Valid.
        const V = 1 << 0;
        /// May be read.
        const R = 1 << 1;
        /// May be written.
        const W = 1 << 2;
        /// May be executed.
        const X = 1 << 3;
        /// User mode may use it; supervisor mode only with SUM.
        const U = 1 << 4;
        /// In all address spaces; in an entry with V = 0: prot-none.
        const G = 1 << 5;
        /// Accessed.
        const A = 1 << 6;
        /// Written.
        const D = 1 << 7;
        /// Software: no `Page` is counted for the mapping (zero page, device memory; Linux:
        /// `_PAGE_SPECIAL`). Valid in leaves and prot-none entries.
        const SPECIAL = 1 << 8;
        /// Software: not allocated yet; every change carries it along.
        const SOFT = 1 << 9;
    }
}

const PFN_SHIFT: u32 = 10;
const PFN_MASK: u64 = ((1 << 44) - 1) << PFN_SHIFT;
const RIGHTS: u64 = Bits::R.bits() | Bits::W.bits() | Bits::X.bits();
/// What [`Entry::with_prot`] takes from the new template.
const PROT_MASK: u64 = Bits::V.bits() | RIGHTS | Bits::U.bits() | Bits::G.bits();

/// Rights of a mapping and what else goes into the low bits of its leaves (Linux: `pgprot_t`).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Prot(u64);

impl Prot {
    /// Nobody may touch it (`PROT_NONE`).
    pub const NONE: Self = Self(Bits::G.bits() | Bits::U.bits());
    /// User: read.
    pub const USER_R: Self = Self::user(Bits::R);
    /// User: read and write.
    pub const USER_RW: Self = Self::user(Bits::R.union(Bits::W));
    /// User: execute only.
    pub const USER_X: Self = Self::user(Bits::X);
    /// User: read and execute.
    pub const USER_RX: Self = Self::user(Bits::R.union(Bits::X));
    /// User: everything.
    pub const USER_RWX: Self = Self::user(Bits::R.union(Bits::W).union(Bits::X));
    /// Kernel: read.
    pub const KERNEL_R: Self = Self::kernel(Bits::R);
    /// Kernel: read and write.
    pub const KERNEL_RW: Self = Self::kernel(Bits::R.union(Bits::W));
    /// Kernel: read and execute.
    pub const KERNEL_RX: Self = Self::kernel(Bits::R.union(Bits::X));

    /// For user space, with `rights` out of R, W, X; W brings R along.
    #[inline]
    pub const fn user(rights: Bits) -> Self {
        let mut bits = rights.bits() & RIGHTS;
        if bits & Bits::W.bits() != 0 {
            bits |= Bits::R.bits();
        }
        if bits == 0 {
            return Self::NONE;
        }
        Self(bits | Bits::V.bits() | Bits::U.bits())
    }

    /// For the kernel: global, and never a trap for A or D.
    const fn kernel(rights: Bits) -> Self {
        Self(rights.bits() | Bits::V.bits() | Bits::G.bits() | Bits::A.bits() | Bits::D.bits())
    }

    /// The bits.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether writing is among the rights.
    #[inline(always)]
    pub const fn is_writable(self) -> bool {
        self.0 & Bits::W.bits() != 0 && self.0 & Bits::V.bits() != 0
    }

    /// The same for memory without a counted `Page` ([`Bits::SPECIAL`]).
    #[inline(always)]
    pub const fn special(self) -> Self {
        Self(self.0 | Bits::SPECIAL.bits())
    }

    /// The same without the right to write: what a private page that may be shared is mapped with.
    #[inline(always)]
    pub const fn read_only(self) -> Self {
        Self(self.0 & !Bits::W.bits())
    }
}

impl fmt::Debug for Prot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prot({:?})", Bits::from_bits_retain(self.0))
    }
}

/// Where a page went that is not in memory: which swap area, and which page of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SwapEntry {
    /// The number of the swap area, below [`SwapEntry::MAX_TYPES`].
    pub area: u8,
    /// The page's index in the area, below 2^[`SwapEntry::OFFSET_BITS`].
    pub offset: u64,
    /// Whether the page was, and will be, exclusive to this mapping.
    pub exclusive: bool,
}

impl SwapEntry {
    /// How many swap areas an entry can tell apart.
    pub const MAX_TYPES: u8 = 32;
    /// Bits of an offset.
    pub const OFFSET_BITS: u32 = 48;
}

/// A page that is being moved to another frame; who faults on it waits for the folio's lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Migration {
    /// The frame that it moves from.
    pub pfn: Pfn,
    /// The mapping could write.
    pub writable: bool,
    /// The page is exclusive to this mapping.
    pub exclusive: bool,
    /// The mapping had A set.
    pub young: bool,
    /// The mapping had D set.
    pub dirty: bool,
}

/// Why an entry without a page is not empty (Linux: `pte_marker`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Marker {
    /// The page's content is lost: SIGBUS (`PTE_MARKER_POISONED`).
    Poisoned = 1,
    /// Write-protected before it was ever there (`PTE_MARKER_UFFD_WP`).
    WriteProtected = 2,
    /// A guard: SIGSEGV.
    Guard = 3,
}

/// What an entry with V = 0 says, unless it is empty or prot-none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NonPresent {
    /// In swap.
    Swap(SwapEntry),
    /// On its way to another frame.
    Migration(Migration),
    /// The frame has a memory error: SIGBUS (Linux: `hwpoison_entry`).
    Poison(Pfn),
    /// No page at all, but not empty.
    Marker(Marker),
}

const SWAP: u64 = 1;
const MIGRATION: u64 = 2;
const POISON: u64 = 3;
const MARKER: u64 = 4;
const KIND_SHIFT: u32 = 1;
/// In swap and migration entries, where a leaf has U.
const EXCLUSIVE: u64 = Bits::U.bits();
/// In migration entries, above the frame number.
const MIGRATION_WRITABLE: u64 = 1 << (PFN_SHIFT + 44);
const SWAP_OFFSET_SHIFT: u32 = 15;

impl NonPresent {
    /// The entry that says so, at any level.
    pub const fn encode(self) -> u64 {
        match self {
            Self::Swap(swap) => {
                debug_assert!(swap.area < SwapEntry::MAX_TYPES && swap.offset >> SwapEntry::OFFSET_BITS == 0);
                SWAP << KIND_SHIFT
                    | if swap.exclusive { EXCLUSIVE } else { 0 }
                    | (swap.area as u64) << PFN_SHIFT
                    | swap.offset << SWAP_OFFSET_SHIFT
            }
            Self::Migration(migration) => {
                MIGRATION << KIND_SHIFT
                    | migration.pfn.get() << PFN_SHIFT
                    | if migration.exclusive { EXCLUSIVE } else { 0 }
                    | if migration.writable { MIGRATION_WRITABLE } else { 0 }
                    | if migration.young { Bits::A.bits() } else { 0 }
                    | if migration.dirty { Bits::D.bits() } else { 0 }
            }
            Self::Poison(pfn) => POISON << KIND_SHIFT | pfn.get() << PFN_SHIFT,
            Self::Marker(marker) => MARKER << KIND_SHIFT | (marker as u64) << PFN_SHIFT,
        }
    }

    /// The inverse, for bits with V = 0 and G = 0; `None` for what [`NonPresent::encode`] never makes.
    const fn decode(bits: u64) -> Option<Self> {
        let pfn = Pfn::new((bits & PFN_MASK) >> PFN_SHIFT);
        Some(match (bits & RIGHTS) >> KIND_SHIFT {
            SWAP => Self::Swap(SwapEntry {
                area: (bits >> PFN_SHIFT & 31) as u8,
                offset: bits >> SWAP_OFFSET_SHIFT & ((1 << SwapEntry::OFFSET_BITS) - 1),
                exclusive: bits & EXCLUSIVE != 0,
            }),
            MIGRATION => Self::Migration(Migration {
                pfn,
                writable: bits & MIGRATION_WRITABLE != 0,
                exclusive: bits & EXCLUSIVE != 0,
                young: bits & Bits::A.bits() != 0,
                dirty: bits & Bits::D.bits() != 0,
            }),
            POISON => Self::Poison(pfn),
            MARKER => Self::Marker(match bits >> PFN_SHIFT & 7 {
                1 => Marker::Poisoned,
                2 => Marker::WriteProtected,
                3 => Marker::Guard,
                _ => return None,
            }),
            _ => return None,
        })
    }
}

/// One entry of a table of level `L`, as a value.
#[repr(transparent)]
pub struct Entry<L: Level = Pte>(u64, PhantomData<L>);

impl<L: Level> Clone for Entry<L> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<L: Level> Copy for Entry<L> {}

impl<L: Level> PartialEq for Entry<L> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<L: Level> Eq for Entry<L> {}

impl<L: Level> Default for Entry<L> {
    fn default() -> Self {
        Self::NONE
    }
}

/// An [`Entry`] taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind<L: Level = Pte> {
    /// Nothing was ever mapped here, or it is gone.
    None,
    /// A table of the level below; never at the lowest level.
    Table(L::Child),
    /// The hardware translates: the frame of the first of the pages that it covers.
    Leaf(Pfn),
    /// A leaf that traps on every use, `PROT_NONE`.
    ProtNone(Pfn),
    /// Traps, and says why.
    NonPresent(NonPresent),
}

impl<L: Level> Entry<L> {
    /// The empty entry.
    pub const NONE: Self = Self(0, PhantomData);

    /// What an entry that leads to a table has beside the table's frame.
    pub(super) const TABLE: Bits = Bits::V;

    /// The entry with these bits.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits, PhantomData)
    }

    /// The bits.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// A leaf, or with [`Prot::NONE`] a prot-none entry, for the frames from `pfn` on, which is aligned to
    /// what the level covers. A and D are as in `prot`: none for user space.
    #[inline(always)]
    pub const fn leaf(pfn: Pfn, prot: Prot) -> Self {
        debug_assert!(pfn.get() & (L::BYTES / 4096 - 1) == 0);
        Self(pfn.get() << PFN_SHIFT | prot.0, PhantomData)
    }

    /// The leaf for the frames `entries` further on: 1 for those that follow this one's.
    #[inline(always)]
    pub(super) const fn forward(self, entries: u64) -> Self {
        Self(self.0 + ((entries * (L::BYTES / 4096)) << PFN_SHIFT), PhantomData)
    }

    /// An entry that leads to the table at `pfn`, of the level below.
    #[inline(always)]
    pub(super) const fn table(pfn: Pfn) -> Self {
        Self(pfn.get() << PFN_SHIFT | Self::TABLE.bits(), PhantomData)
    }

    /// The frame of the table that it leads to. As [`Entry::pfn`], and cheaper: it has nothing above the frame.
    #[inline(always)]
    pub(super) const fn table_pfn(self) -> Pfn {
        debug_assert!(self.0 & !PFN_MASK == Self::TABLE.bits());
        Pfn::new(self.0 >> PFN_SHIFT)
    }

    /// An entry that is not present.
    #[inline]
    pub const fn non_present(what: NonPresent) -> Self {
        Self(what.encode(), PhantomData)
    }

    /// What it is.
    #[inline]
    pub fn kind(self) -> Kind<L> {
        if self.0 & Bits::V.bits() != 0 {
            if self.0 & RIGHTS == 0
                && let Some(table) = L::child(self.pfn())
            {
                return Kind::Table(table);
            }
            Kind::Leaf(self.pfn())
        } else if self.0 == 0 {
            Kind::None
        } else if self.0 & Bits::G.bits() != 0 {
            Kind::ProtNone(self.pfn())
        } else {
            // What we never wrote is memory gone bad: whoever touches it gets SIGBUS.
            Kind::NonPresent(NonPresent::decode(self.0).unwrap_or(NonPresent::Marker(Marker::Poisoned)))
        }
    }

    /// Whether it is [`Kind::None`].
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether the hardware takes it: a table or a leaf.
    #[inline(always)]
    pub const fn is_valid(self) -> bool {
        self.0 & Bits::V.bits() != 0
    }

    /// Whether it leads to a table. Never at the lowest level.
    #[inline(always)]
    pub const fn is_table(self) -> bool {
        L::NUMBER > 0 && self.0 & (Bits::V.bits() | RIGHTS) == Bits::V.bits()
    }

    /// Whether a page is mapped: a leaf or prot-none (Linux: `pte_present`). Meaningless for a table.
    #[inline(always)]
    pub const fn is_present(self) -> bool {
        self.0 & (Bits::V.bits() | Bits::G.bits()) != 0
    }

    /// Whether it is prot-none.
    #[inline(always)]
    pub const fn is_prot_none(self) -> bool {
        self.0 & (Bits::V.bits() | Bits::G.bits()) == Bits::G.bits()
    }

    /// The frame; of a leaf, a prot-none entry, a table, or an entry under migration or poisoned.
    #[inline(always)]
    pub const fn pfn(self) -> Pfn {
        Pfn::new((self.0 & PFN_MASK) >> PFN_SHIFT)
    }

    /// Whether all of `bits` are set.
    #[inline(always)]
    pub const fn has(self, bits: Bits) -> bool {
        self.0 & bits.bits() == bits.bits()
    }

    /// Whether writing is allowed.
    #[inline(always)]
    pub const fn is_writable(self) -> bool {
        self.has(Bits::V.union(Bits::W))
    }

    /// Whether A is set.
    #[inline(always)]
    pub const fn is_young(self) -> bool {
        self.has(Bits::A)
    }

    /// Whether D is set.
    #[inline(always)]
    pub const fn is_dirty(self) -> bool {
        self.has(Bits::D)
    }

    /// Whether no `Page` is counted for it.
    #[inline(always)]
    pub const fn is_special(self) -> bool {
        self.has(Bits::SPECIAL)
    }

    /// With `bits` set.
    #[inline(always)]
    pub const fn with(self, bits: Bits) -> Self {
        Self(self.0 | bits.bits(), PhantomData)
    }

    /// With `bits` cleared.
    #[inline(always)]
    pub const fn without(self, bits: Bits) -> Self {
        Self(self.0 & !bits.bits(), PhantomData)
    }

    /// With A.
    #[inline(always)]
    pub const fn young(self) -> Self {
        self.with(Bits::A)
    }

    /// With A and D: about to be written, so that Svade does not trap again.
    #[inline(always)]
    pub const fn dirty(self) -> Self {
        self.with(Bits::A.union(Bits::D))
    }

    /// With W (and R, which it needs).
    #[inline(always)]
    pub const fn writable(self) -> Self {
        self.with(Bits::W.union(Bits::R))
    }

    /// Without W.
    #[inline(always)]
    pub const fn read_only(self) -> Self {
        self.without(Bits::W)
    }

    /// The same page with the rights of `prot`; A, D, the software bits and those of Svpbmt and Svnapot stay
    /// (Linux: `pte_modify`). Between a leaf and prot-none too.
    #[inline(always)]
    pub const fn with_prot(self, prot: Prot) -> Self {
        Self(self.0 & !PROT_MASK | prot.0, PhantomData)
    }
}

impl<L: Level> fmt::Debug for Entry<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let low = Bits::from_bits_truncate(self.0 & 0x3ff);
        write!(f, "{:?}[level {} {low:?} {:#x}]", self.kind(), L::NUMBER, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::level::{Pmd, Pud};
    use super::*;

    const PFN: Pfn = Pfn::new(0x80000);

    #[test]
    fn every_kind_comes_back() {
        let kinds = [
            NonPresent::Swap(SwapEntry { area: 31, offset: (1 << 48) - 1, exclusive: true }),
            NonPresent::Swap(SwapEntry { area: 0, offset: 0, exclusive: false }),
            NonPresent::Migration(Migration {
                pfn: PFN,
                writable: true,
                exclusive: false,
                young: true,
                dirty: false,
            }),
            NonPresent::Migration(Migration {
                pfn: PFN,
                writable: false,
                exclusive: true,
                young: false,
                dirty: true,
            }),
            NonPresent::Poison(PFN),
            NonPresent::Marker(Marker::Poisoned),
            NonPresent::Marker(Marker::WriteProtected),
            NonPresent::Marker(Marker::Guard),
        ];
        for what in kinds {
            let entry = Entry::<Pmd>::non_present(what);
            assert_eq!(entry.kind(), Kind::NonPresent(what), "{entry:?}");
            assert!(!entry.is_valid() && !entry.is_present() && !entry.is_table() && !entry.is_none());
        }
    }

    #[test]
    fn leaves_tables_and_prot_none_are_told_apart_at_every_level() {
        fn check<L: Level>() {
            for prot in [Prot::USER_R, Prot::USER_RW, Prot::USER_X, Prot::USER_RX, Prot::USER_RWX] {
                let entry = Entry::<L>::leaf(PFN, prot);
                assert_eq!(entry.kind(), Kind::Leaf(PFN));
                assert!(entry.is_present() && entry.is_valid() && !entry.is_table() && !entry.is_prot_none());
                let none = entry.dirty().with_prot(Prot::NONE);
                assert_eq!(none.kind(), Kind::ProtNone(PFN));
                assert!(none.is_present() && !none.is_valid() && none.is_dirty() && !none.is_writable());
                assert_eq!(none.with_prot(prot), entry.dirty());
            }
        }
        check::<Pte>();
        check::<Pmd>();
        check::<Pud>();
        assert!(matches!(Entry::<Pmd>::table(PFN).kind(), Kind::Table(table) if table.pfn() == PFN));
        assert_eq!(Entry::<Pmd>::NONE.kind(), Kind::None);
    }

    #[test]
    fn a_change_of_rights_carries_the_rest_along() {
        let high = 1 << 63 | 3 << 61 | Bits::SOFT.bits() | Bits::SPECIAL.bits();
        let entry = Entry::<Pte>::from_bits(Entry::<Pte>::leaf(PFN, Prot::USER_RW).young().bits() | high);
        let changed = entry.with_prot(Prot::USER_R);
        assert_eq!(changed.bits(), entry.bits() & !Bits::W.bits());
        assert_eq!(changed.pfn(), PFN);
    }
}
