//! What descriptors say of where their pages belong: words that are written under the zone's lock, and that a hart
//! reads without it when it frees a page. Who changes them and must not be missed has the harts' lists drained then:
//! from there on each hart sees the change. `mm/tests/loom` models that with this very source.

use super::shim::{AtomicU32, Ordering::Relaxed};

const KIND_MASK: u32 = 7;
const ZONE_SHIFT: u32 = 4;

/// What a block's first page knows of the block: the numbers of its mobility and of its zone.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct BlockWord(AtomicU32);

impl BlockWord {
    #[cfg(loom)]
    #[allow(dead_code)]
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The number of the mobility.
    #[inline(always)]
    pub(super) fn kind(&self) -> u32 {
        self.0.load(Relaxed) & KIND_MASK
    }

    /// The number of the zone, which never changes while anybody has a page of it.
    #[inline(always)]
    pub(super) fn zone(&self) -> u32 {
        self.0.load(Relaxed) >> ZONE_SHIFT
    }

    /// Says what the block is. At boot, or when the memory is new.
    pub(super) fn init(&self, zone: u32, kind: u32) {
        self.0.store(zone << ZONE_SHIFT | kind, Relaxed);
    }

    /// Sets the mobility. Under the zone's lock.
    pub(super) fn set_kind(&self, kind: u32) {
        self.0.store(self.0.load(Relaxed) & !KIND_MASK | kind, Relaxed);
    }
}

/// Of the first page of an allocated block: where a hart's list is that it goes to when it is freed, in
/// bytes from the hart's first list; kept here so that a free need not work it out.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Home(AtomicU32);

impl Home {
    #[cfg(loom)]
    #[allow(dead_code)]
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Bytes.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Relaxed) as usize
    }

    /// Under the zone's lock.
    #[inline(always)]
    pub(super) fn set(&self, bytes: u32) {
        self.0.store(bytes, Relaxed);
    }
}
