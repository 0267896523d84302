//! One object of a cache that is watched, with what is around it.

use core::ops::Range;
use core::ptr::NonNull;

use super::track::Track;
use super::{DebugFlags, KmemCache};
use crate::page::PagePtr;
use crate::slab::freelist::Object;
use crate::slab::geometry::{Geometry, UNIT};
use crate::slab::kmem::Objects;

// The bytes are Linux's (`include/linux/poison.h`), as people know them by sight.
/// A red zone beside a free object.
pub(super) const ZONE_FREE: u8 = 0xbb;
/// A red zone beside an object in use.
pub(super) const ZONE_USED: u8 = 0xcc;
/// In a free object.
pub(super) const POISON: u8 = 0x6b;
/// The last byte of a free object.
pub(super) const POISON_END: u8 = 0xa5;
/// Between objects.
pub(super) const PADDING: u8 = 0x5a;

/// What is remembered of an object, behind it.
#[repr(C)]
struct Record {
    /// Bytes that were asked for.
    requested: usize,
    /// Only with [`DebugFlags::STORE_USER`].
    tracks: [Track; 2],
}

/// Bytes of what is remembered.
pub(in crate::slab) const fn record_size(debug: DebugFlags) -> usize {
    if debug.contains(DebugFlags::STORE_USER) { size_of::<Record>() } else { size_of::<usize>() }
}

/// An object in its slab. Who has one holds the lock of the cache's lists, or has the slab alone.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    at: NonNull<u8>,
    geometry: &'static Geometry,
}

impl Slot {
    pub(super) fn of(cache: &'static KmemCache, slab: PagePtr, object: Object) -> Self {
        // By way of the slab, not of a pointer that somebody handed in, which may be good for the object only.
        let at = Objects::of(cache, slab).pointer(object);
        Self { at: NonNull::new(at).unwrap_or(NonNull::dangling()), geometry: cache.geometry() }
    }

    pub(super) fn object(self) -> *mut u8 {
        self.at.as_ptr()
    }

    /// Where from the object's start on things are: what is before it is negative.
    pub(super) fn left_zone(self) -> Range<isize> {
        -(self.geometry.start as isize)..0
    }

    /// While it is in use, what was not asked for belongs to the zone.
    pub(super) fn right_zone(self, in_use: bool) -> Range<isize> {
        let start = if in_use { self.requested() } else { self.geometry.size };
        start as isize..self.geometry.link as isize
    }

    pub(super) fn body(self) -> Range<isize> {
        0..self.geometry.size as isize
    }

    /// What is behind the record, up to the next object.
    pub(super) fn padding(self) -> Range<isize> {
        let geometry = self.geometry;
        let end = geometry.stride - geometry.start;
        (geometry.record + record_size(geometry.debug)) as isize..end as isize
    }

    pub(super) fn byte(self, at: isize) -> u8 {
        // SAFETY: within the slab. Somebody may write at the same time, by mistake: so whatever is there is good.
        unsafe { self.object().offset(at).read_volatile() }
    }

    pub(super) fn fill(self, range: Range<isize>, byte: u8) {
        let len = (range.end - range.start).max(0) as usize;
        // SAFETY: within the slab, and no part of it is in use by right.
        unsafe { self.object().offset(range.start).write_bytes(byte, len) };
    }

    fn record(self) -> *mut Record {
        self.object().wrapping_add(self.geometry.record).cast()
    }

    /// Bytes that were asked for; no more than there are, should somebody have overwritten it.
    pub(super) fn requested(self) -> usize {
        // SAFETY: the room is there, and aligned to 8 bytes.
        unsafe { (&raw const (*self.record()).requested).read() }.min(self.geometry.size)
    }

    fn track(self, index: usize) -> Option<*mut Track> {
        // SAFETY: the room is there if users are stored.
        self.geometry
            .debug
            .contains(DebugFlags::STORE_USER)
            .then(|| unsafe { (&raw mut (*self.record()).tracks[index]) })
    }

    pub(super) fn clear_record(self) {
        if self.geometry.debug.looks() {
            // SAFETY: the room is there; zeroes are a valid record.
            unsafe { self.record().cast::<u8>().write_bytes(0, record_size(self.geometry.debug)) };
        }
    }

    /// Who has it, or had it last.
    pub(super) fn allocated(self) -> Option<Track> {
        // SAFETY: a track, zeroed at first.
        self.track(0).map(|track| unsafe { track.read() }).filter(Track::is_set)
    }

    /// Who freed it last.
    pub(super) fn freed(self) -> Option<Track> {
        // SAFETY: a track, zeroed at first.
        self.track(1).map(|track| unsafe { track.read() }).filter(Track::is_set)
    }

    pub(super) fn set_allocated(self, by: Track) {
        if let Some(track) = self.track(0) {
            // SAFETY: room for a track.
            unsafe { track.write(by) };
        }
    }

    pub(super) fn set_freed(self, by: Track) {
        if let Some(track) = self.track(1) {
            // SAFETY: room for a track.
            unsafe { track.write(by) };
        }
    }

    /// Marks it as in use, for a request of that many bytes, and zeroes it if it has to be.
    pub(super) fn make_used(self, requested: usize) {
        let Geometry { debug, link, .. } = *self.geometry;
        if debug.looks() {
            // SAFETY: the room is there.
            unsafe { (&raw mut (*self.record()).requested).write(requested) };
        }
        if debug.contains(DebugFlags::INIT_ON_ALLOC) {
            self.fill(self.body(), 0);
        } else if debug.contains(DebugFlags::INIT_ON_FREE) {
            // All else is zero since it was freed.
            self.fill(link as isize..(link + UNIT) as isize, 0);
        }
        if debug.contains(DebugFlags::RED_ZONE) {
            self.fill(self.left_zone(), ZONE_USED);
            self.fill(self.right_zone(true), ZONE_USED);
        }
    }

    /// Marks it as free.
    pub(super) fn make_free(self) {
        if self.geometry.debug.contains(DebugFlags::INIT_ON_FREE) {
            self.fill(self.body(), 0);
        }
        if self.geometry.debug.contains(DebugFlags::RED_ZONE) {
            self.fill(self.left_zone(), ZONE_FREE);
            self.fill(self.right_zone(false), ZONE_FREE);
        }
        if self.geometry.debug.contains(DebugFlags::POISON) {
            let body = self.body();
            self.fill(body.start..body.end - 1, POISON);
            self.fill(body.end - 1..body.end, POISON_END);
        }
    }
}
