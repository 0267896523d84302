//! How an allocation may go about its work (Linux: `include/linux/gfp_types.h`).

use bitflags::bitflags;
use rux_machine::{Hot, Hw, Scope};

bitflags! {
    /// The flags of one allocation. Names and meaning are Linux's; the values are our own.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Gfp: u32 {
        /// Memory that the direct map need not stay pointed at: user pages may come from it.
        const HIGHMEM = 1 << 0;
        /// The page can be migrated or reclaimed by way of its mappings.
        const MOVABLE = 1 << 1;
        /// The object can be freed by a shrinker.
        const RECLAIMABLE = 1 << 2;
        /// Only memory below 4 GiB.
        const DMA32 = 1 << 3;
        /// The caller must not fail for want of the ordinary watermark (interrupts).
        const HIGH = 1 << 4;
        /// Physical I/O may be started.
        const IO = 1 << 5;
        /// The file system may be entered.
        const FS = 1 << 6;
        /// The caller may sleep for direct reclaim.
        const DIRECT_RECLAIM = 1 << 7;
        /// kswapd may be woken.
        const KSWAPD_RECLAIM = 1 << 8;
        /// The page is to be zero.
        const ZERO = 1 << 9;
        /// No warning on failure.
        const NOWARN = 1 << 10;
        /// Try again as long as something is freed, then fail.
        const RETRY_MAYFAIL = 1 << 11;
        /// Fail rather than reclaim much.
        const NORETRY = 1 << 12;
        /// May not fail: waits, of two pages at most. No site of the kernel asks for it; one that did would have to say
        /// here what it cannot do without, and what frees that.
        const NOFAIL = 1 << 13;
        /// May use the reserves below the minimum watermark.
        const MEMALLOC = 1 << 14;
        /// Never uses the reserves, whatever the thread's scope.
        const NOMEMALLOC = 1 << 15;
        /// The block is a compound page: a folio with a head and tails.
        const COMP = 1 << 16;
        /// Obeys the memory policy of the process (Linux: `__GFP_HARDWALL`).
        const HARDWALL = 1 << 17;

        /// Either kind of reclaim.
        const RECLAIM = Self::DIRECT_RECLAIM.bits() | Self::KSWAPD_RECLAIM.bits();
        /// The kernel's own data; may sleep.
        const KERNEL = Self::RECLAIM.bits() | Self::IO.bits() | Self::FS.bits();
        /// From interrupts or under a spinlock; may dip into the reserve.
        const ATOMIC = Self::HIGH.bits() | Self::KSWAPD_RECLAIM.bits();
        /// Does not sleep, and fails early.
        const NOWAIT = Self::KSWAPD_RECLAIM.bits() | Self::NOWARN.bits();
        /// May sleep but start no I/O.
        const NOIO = Self::RECLAIM.bits();
        /// May sleep and do I/O but enter no file system.
        const NOFS = Self::RECLAIM.bits() | Self::IO.bits();
        /// For user space, which the kernel also addresses.
        const USER = Self::KERNEL.bits() | Self::HARDWALL.bits();
        /// For user space only.
        const HIGHUSER = Self::USER.bits() | Self::HIGHMEM.bits();
        /// For user space, and movable: what anonymous and file pages ask for.
        const HIGHUSER_MOVABLE = Self::HIGHUSER.bits() | Self::MOVABLE.bits();
    }
}

impl Gfp {
    /// Whether the caller may sleep (Linux: `gfpflags_allow_blocking`).
    #[inline(always)]
    pub const fn may_sleep(self) -> bool {
        self.contains(Self::DIRECT_RECLAIM)
    }

    /// The flags within the running thread's scope (Linux: `current_gfp_context`).
    #[inline(always)]
    pub fn in_scope(self) -> Self {
        let scope = Hw::thread().scope();
        if scope == Scope::default() { self } else { self.narrowed(scope) }
    }

    #[cold]
    fn narrowed(mut self, scope: Scope) -> Self {
        if scope.contains(Scope::NOIO) {
            self.remove(Self::IO | Self::FS);
        }
        if scope.contains(Scope::NOFS) {
            self.remove(Self::FS);
        }
        if scope.contains(Scope::MEMALLOC) && !self.contains(Self::NOMEMALLOC) {
            self.insert(Self::MEMALLOC);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_narrows() {
        let thread = Hw::thread();
        let old = thread.enter_scope(Scope::NOIO);
        assert_eq!(Gfp::KERNEL.in_scope(), Gfp::NOIO);
        thread.set_scope(old);
        assert_eq!(Gfp::KERNEL.in_scope(), Gfp::KERNEL);
    }
}
