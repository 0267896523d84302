//! What is told of a fault (Linux: `print_trailer`, `slab_err`, `slab_fix` in `mm/slub.c`).

use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::slot::Slot;
use super::track::{Caller, Track};
use super::{DebugFlags, KmemCache};
use crate::memory::memory;
use crate::page::PagePtr;
use crate::slab::pages::slab_word;

/// The most bytes of an object that are shown.
const SHOWN: isize = 128;
/// Bytes of a line.
const LINE: isize = 16;

/// What is wrong.
#[derive(Debug)]
pub(super) enum Fault {
    /// Bytes at `range` from the object's start are not what they should be.
    Overwritten { what: &'static str, range: Range<isize>, found: u8, expected: u8 },
    /// Freed twice.
    AlreadyFree,
    /// No object starts there.
    InvalidPointer(*mut u8),
    /// The chain of free objects is broken.
    Chain(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overwritten { what, .. } => write!(f, "{what} overwritten"),
            Self::AlreadyFree => write!(f, "Object already free"),
            Self::InvalidPointer(at) => write!(f, "Invalid object pointer {at:p}"),
            Self::Chain(what) => write!(f, "Freechain corrupt: {what}"),
        }
    }
}

impl Fault {
    /// Tells all that is known.
    #[cold]
    pub(super) fn report(&self, cache: &KmemCache, slab: PagePtr, slot: Option<Slot>) {
        memory().slab.faults.fetch_add(1, Relaxed);
        let name = cache.shape.name;
        let base = slab.pfn().as_ptr();
        log::error!("=============================================================================");
        log::error!("BUG {name}: {self}");
        if let (Self::Overwritten { range, found, expected, .. }, Some(slot)) = (self, slot) {
            let at = |offset| slot.object().wrapping_offset(offset);
            log::error!(
                "{:p}-{:p} @offset={}. First byte {found:#04x} instead of {expected:#04x}",
                at(range.start),
                at(range.end - 1),
                at(range.start).addr() - base.addr(),
            );
        }
        if let Some(slot) = slot {
            tell_track("Allocated in", slot.allocated());
            tell_track("Freed in", slot.freed());
        }
        let word = slab_word(slab);
        log::error!(
            "Slab {base:p} objects={} used={} first={} watched={:?}",
            word.objects(),
            word.in_use(),
            word.first(),
            cache.geometry().debug,
        );
        if let Some(slot) = slot {
            log::error!(
                "Object {:p} @offset={} size={} requested={}",
                slot.object(),
                slot.object().addr() - base.addr(),
                cache.shape.size,
                slot.requested(),
            );
            let (left, body, right) = (slot.left_zone(), slot.body(), slot.right_zone(false));
            dump("Redzone ", slot, left.start.max(left.end - LINE)..left.end);
            dump("Object  ", slot, body.start..body.end.min(SHOWN));
            dump("Redzone ", slot, right.start..right.end.min(right.start + LINE));
        }
        tell_track("Found in", Some(Track::new()));
        if let (Self::Overwritten { what, range, expected, .. }, Some(slot)) = (self, slot) {
            let at = |offset| slot.object().wrapping_offset(offset);
            log::error!(
                "FIX {name}: Restoring {what} {:p}-{:p}={expected:#04x}",
                at(range.start),
                at(range.end - 1)
            );
        }
    }
}

fn tell_track(what: &str, track: Option<Track>) {
    if let Some(track) = track {
        log::error!("{what} {track}");
        track.callers().skip(1).for_each(|caller| log::error!("  {}", Caller(caller)));
    }
}

fn dump(what: &str, slot: Slot, range: Range<isize>) {
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + LINE);
        log::error!("{what} {:p}: {}", slot.object().wrapping_offset(start), Bytes(slot, start..end));
        start = end;
    }
}

/// Shows bytes as numbers and as text.
struct Bytes(Slot, Range<isize>);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(slot, range) = self;
        range.clone().try_for_each(|at| write!(f, "{:02x} ", slot.byte(at)))?;
        range.clone().try_for_each(|at| match slot.byte(at) {
            byte @ b' '..=b'~' => write!(f, "{}", byte as char),
            _ => write!(f, "."),
        })
    }
}

/// Tells that the chain of a slab is broken, and that the slab is given up.
pub(super) fn chain(cache: &KmemCache, slab: PagePtr, what: &'static str) {
    Fault::Chain(what).report(cache, slab, None);
    log::error!("FIX {}: Marking all objects used", cache.shape.name);
}

/// Tells that what is freed is in no slab of the cache; neither it nor where it lies is the cache's to touch.
#[cold]
pub(super) fn stranger(cache: &KmemCache, object: NonNull<u8>) {
    memory().slab.faults.fetch_add(1, Relaxed);
    log::error!("BUG {}: Object {object:p} is of no slab of the cache", cache.shape.name);
    tell_track("Freed in", Some(Track::new()));
    not_freed(cache, object);
}

/// Tells that an object stays in use, since something is wrong with it.
pub(super) fn not_freed(cache: &KmemCache, object: NonNull<u8>) {
    log::error!("FIX {}: Object at {object:p} not freed", cache.shape.name);
}

/// [`DebugFlags::TRACE`].
pub(super) fn trace(cache: &KmemCache, slab: PagePtr, slot: Slot, what: &str) {
    debug_assert!(cache.geometry().debug.contains(DebugFlags::TRACE));
    log::info!(
        "TRACE {} {what} {:p} inuse={} by {}",
        cache.shape.name,
        slot.object(),
        slab_word(slab).in_use(),
        Track::new(),
    );
}
