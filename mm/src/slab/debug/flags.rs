//! What there is to watch.

use bitflags::bitflags;

bitflags! {
    /// What a cache watches, by Linux's letters.
    #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
    pub struct DebugFlags: u8 {
        /// `F`: sanity checks. The chain of free objects leads through free objects only; what is freed is an
        /// object, and in use (Linux: `SLAB_CONSISTENCY_CHECKS`).
        const CONSISTENCY = 1 << 0;
        /// `Z`: red zones before and behind an object show who writes beside it.
        const RED_ZONE = 1 << 1;
        /// `P`: poison in free objects and between objects shows who writes to what is freed.
        const POISON = 1 << 2;
        /// `U`: who allocated an object, and who freed it, is remembered (Linux: `SLAB_STORE_USER`).
        const STORE_USER = 1 << 3;
        /// `T`: each allocation and each free is told in the log.
        const TRACE = 1 << 4;
        /// No letter: `init_on_alloc=1`. Objects are zeroed before they are handed out.
        const INIT_ON_ALLOC = 1 << 5;
        /// No letter: `init_on_free=1`. Objects are zeroed when they are freed, and are so when they are handed out.
        const INIT_ON_FREE = 1 << 6;
    }
}

impl DebugFlags {
    /// What `slab_debug` without letters means.
    pub const DEFAULT: Self =
        Self::CONSISTENCY.union(Self::RED_ZONE).union(Self::POISON).union(Self::STORE_USER);

    /// What wipes objects and looks at nothing.
    const WIPING: Self = Self::INIT_ON_ALLOC.union(Self::INIT_ON_FREE);

    /// What takes room beside an object.
    pub(super) const WITH_ROOM: Self = Self::RED_ZONE.union(Self::POISON).union(Self::STORE_USER);

    /// Whether anything is looked at, so that something is remembered of each object.
    pub(in crate::slab) const fn looks(self) -> bool {
        !self.difference(Self::WIPING).is_empty()
    }
}
