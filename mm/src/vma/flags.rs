//! The flags of a mapping, and how `PROT_*` and `MAP_*` turn into them.
//!
//! The values are Linux's (`include/linux/mm.h`), since `/proc/PID/smaps` prints their names.

use bitflags::bitflags;
use linux_raw_sys::general as abi;

use crate::paging::{Bits, Prot};

bitflags! {
    /// What a mapping allows and how it behaves (Linux: `vm_flags_t`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
    pub struct VmFlags: u64 {
        /// Loads are allowed.
        const READ = 0x1;
        /// Stores are allowed.
        const WRITE = 0x2;
        /// Instructions may be fetched.
        const EXEC = 0x4;
        /// Stores reach the file and everybody who maps it.
        const SHARED = 0x8;
        /// `mprotect` may add `READ`.
        const MAYREAD = 0x10;
        /// `mprotect` may add `WRITE`.
        const MAYWRITE = 0x20;
        /// `mprotect` may add `EXEC`.
        const MAYEXEC = 0x40;
        /// Mapped with `MAP_SHARED`, even where the file's mode forbids to write.
        const MAYSHARE = 0x80;
        /// A stack: a fault below it makes it grow.
        const GROWSDOWN = 0x100;
        /// Frames without the manager's accounting: no reference, no mapcount, no rss.
        const PFNMAP = 0x400;
        /// Pages stay in memory (`mlock`).
        const LOCKED = 0x2000;
        /// Device memory.
        const IO = 0x4000;
        /// `MADV_SEQUENTIAL`.
        const SEQ_READ = 0x8000;
        /// `MADV_RANDOM`.
        const RAND_READ = 0x1_0000;
        /// Left out at fork.
        const DONTCOPY = 0x2_0000;
        /// `mremap` may not make it larger.
        const DONTEXPAND = 0x4_0000;
        /// `MLOCK_ONFAULT`: pages stay once they are in.
        const LOCKONFAULT = 0x8_0000;
        /// Counted in what is committed.
        const ACCOUNT = 0x10_0000;
        /// `MAP_NORESERVE`.
        const NORESERVE = 0x20_0000;
        /// Pages of a hugetlb pool.
        const HUGETLB = 0x40_0000;
        /// Zeroes, not copies, in a child.
        const WIPEONFORK = 0x200_0000;
        /// Left out of a core dump.
        const DONTDUMP = 0x400_0000;
        /// Written since `clear_refs`; nobody asks, so it is always there, as in Linux.
        const SOFTDIRTY = 0x800_0000;
        /// `MADV_HUGEPAGE`.
        const HUGEPAGE = 0x2000_0000;
        /// `MADV_NOHUGEPAGE`.
        const NOHUGEPAGE = 0x4000_0000;
        /// Pages may go away when memory is short (`MAP_DROPPABLE`).
        const DROPPABLE = 1 << 40;
        /// `MADV_MERGEABLE`.
        const MERGEABLE = 0x8000_0000;

        /// The three rights.
        const ACCESS = Self::READ.bits() | Self::WRITE.bits() | Self::EXEC.bits();
        /// The three rights that `mprotect` may give.
        const MAYACCESS = Self::MAYREAD.bits() | Self::MAYWRITE.bits() | Self::MAYEXEC.bits();
        /// Either way of being locked.
        const LOCKED_MASK = Self::LOCKED.bits() | Self::LOCKONFAULT.bits();
        /// Never merged and never locked (Linux: `VM_SPECIAL`).
        const SPECIAL = Self::IO.bits() | Self::DONTEXPAND.bits() | Self::PFNMAP.bits();
    }
}

impl VmFlags {
    /// The rights of `PROT_READ | PROT_WRITE | PROT_EXEC`.
    #[inline]
    pub const fn of_prot(prot: u32) -> Self {
        Self::from_bits_truncate((prot & (abi::PROT_READ | abi::PROT_WRITE | abi::PROT_EXEC)) as u64)
    }

    /// The rights as `PROT_*`.
    #[inline]
    pub const fn to_prot(self) -> u32 {
        (self.bits() & Self::ACCESS.bits()) as u32
    }

    /// Whether each page is locked in memory as it is mapped (Linux: `mlock_vma_folio`).
    #[inline]
    pub const fn locks_pages(self) -> bool {
        self.bits() & (Self::LOCKED.bits() | Self::SPECIAL.bits()) == Self::LOCKED.bits()
    }

    /// The `MAY*` flags of the rights in here.
    #[inline]
    pub const fn may(self) -> Self {
        Self::from_bits_truncate((self.bits() & Self::ACCESS.bits()) << 4)
    }

    /// Whether `rights`, of [`VmFlags::ACCESS`], have all their `MAY*` flags in here.
    #[inline]
    pub const fn may_have(self, rights: Self) -> bool {
        self.contains(rights.may())
    }

    /// What the entries of a page allow at the most: `WRITE` implies `READ`, as RISC-V has no pages
    /// that are only written.
    #[inline]
    pub fn page_prot(self) -> Prot {
        let mut rights = Bits::empty();
        if self.intersects(Self::READ | Self::WRITE) {
            rights |= Bits::R;
        }
        if self.contains(Self::WRITE) {
            rights |= Bits::W;
        }
        if self.contains(Self::EXEC) {
            rights |= Bits::X;
        }
        Prot::user(rights)
    }

    /// Private and writable, or may become so: what is counted as data and is committed
    /// (Linux: `is_cow_mapping`).
    #[inline]
    pub const fn is_cow(self) -> bool {
        self.contains(Self::MAYWRITE) && !self.contains(Self::SHARED)
    }

    /// Whether stores reach a file, or may once rights change.
    #[inline]
    pub const fn writes_file(self) -> bool {
        self.contains(Self::SHARED.union(Self::MAYWRITE))
    }

    /// Private, writable, not growing (Linux: `is_data_mapping`).
    #[inline]
    pub const fn is_data(self) -> bool {
        self.contains(Self::WRITE) && !self.intersects(Self::SHARED.union(Self::GROWSDOWN))
    }

    /// A stack (Linux: `is_stack_mapping`).
    #[inline]
    pub const fn is_stack(self) -> bool {
        self.contains(Self::GROWSDOWN)
    }

    /// Code (Linux: `is_exec_mapping`).
    #[inline]
    pub const fn is_exec(self) -> bool {
        self.contains(Self::EXEC) && !self.intersects(Self::WRITE.union(Self::GROWSDOWN))
    }
}
