//! Whether objects and slabs are as they should be.
//!
//! What is not is reported and put right; the answer says whether the object may be used on.

use core::ops::Range;
use core::ptr::NonNull;

use super::report::Fault;
use super::slot::{PADDING, POISON, POISON_END, Slot, ZONE_FREE, ZONE_USED};
use super::{DebugFlags, is_slab_of};
use crate::memory::memory;
use crate::page::PagePtr;
use crate::slab::freelist::{Links, Object};
use crate::slab::geometry::UNIT;
use crate::slab::kmem::{KmemCache, Objects};
use crate::slab::pages::{slab_order_of, slab_word};

/// The most objects of a slab of a cache that is watched.
pub(in crate::slab) const OBJECTS_MOST: usize = 512;

/// Which objects of a slab are free.
#[derive(Clone, Copy)]
pub(super) struct FreeSet([u64; OBJECTS_MOST / 64]);

impl FreeSet {
    /// Of a slab whose chain is sound.
    pub(super) fn of(cache: &KmemCache, slab: PagePtr) -> Self {
        let mut set = Self([0; OBJECTS_MOST / 64]);
        let (word, links) = (slab_word(slab), Objects::of(cache, slab));
        let mut object = word.first();
        for _ in word.in_use()..word.carved() {
            let Some(index) = index_of(cache, slab, object) else { break };
            set.insert(index);
            object = links.next(object);
        }
        (word.carved() as usize..word.objects() as usize).for_each(|index| set.insert(index));
        set
    }

    fn insert(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    pub(super) fn contains(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 != 0)
    }
}

/// The number of an object in its slab; `None` if there is none.
fn index_of(cache: &KmemCache, slab: PagePtr, object: Object) -> Option<usize> {
    let geometry = cache.geometry();
    let offset = ((object as usize).checked_sub(1)? * UNIT).checked_sub(geometry.start)?;
    let index = offset / geometry.stride;
    (offset % geometry.stride == 0 && index < slab_word(slab).objects() as usize).then_some(index)
}

/// Whether the chain of free objects leads through as many as it should, each once.
pub(super) fn chain(cache: &KmemCache, slab: PagePtr) -> Result<(), &'static str> {
    if !is_slab_of(cache, slab) {
        return Err("not a slab of the cache");
    }
    let (word, links) = (slab_word(slab), Objects::of(cache, slab));
    let fits = cache.geometry().objects_in(slab_order_of(slab));
    if word.in_use() > word.carved() || word.carved() > word.objects() || word.objects() as usize != fits {
        return Err("the counts make no sense");
    }
    let mut seen = FreeSet([0; OBJECTS_MOST / 64]);
    let mut object = word.first();
    for _ in word.in_use()..word.carved() {
        match index_of(cache, slab, object) {
            Some(index) if index < word.carved() as usize && !seen.contains(index) => seen.insert(index),
            _ => return Err("a free object names one that is none"),
        }
        object = links.next(object);
    }
    if object != 0 { Err("more objects on it than are free") } else { Ok(()) }
}

/// Whether `pointer` is where an object of that slab starts.
pub(super) fn is_object(cache: &KmemCache, slab: PagePtr, pointer: NonNull<u8>) -> bool {
    let offset = pointer.addr().get() - slab.pfn().as_ptr().addr();
    offset.is_multiple_of(UNIT) && index_of(cache, slab, (offset / UNIT + 1) as Object).is_some()
}

/// Whether an object is free.
pub(super) fn is_free(cache: &KmemCache, slab: PagePtr, object: Object) -> bool {
    index_of(cache, slab, object).is_some_and(|index| FreeSet::of(cache, slab).contains(index))
}

/// That an object is as a free one is.
pub(super) fn free_object(cache: &'static KmemCache, slab: PagePtr, slot: Slot) -> bool {
    let watch = cache.geometry().debug;
    let mut good = zones(cache, slab, slot, false);
    if watch.contains(DebugFlags::POISON) {
        let body = slot.body();
        let poison = [(body.start..body.end - 1, POISON), (body.end - 1..body.end, POISON_END)];
        good &= bytes(cache, slab, slot, "Poison", &poison) & padding(cache, slab, slot);
    }
    good
}

/// That an object is as one in use is.
pub(super) fn used_object(cache: &'static KmemCache, slab: PagePtr, slot: Slot) -> bool {
    let watch = cache.geometry().debug;
    if watch.contains(DebugFlags::RED_ZONE) && slot.left_zone().all(|at| slot.byte(at) == ZONE_FREE) {
        Fault::AlreadyFree.report(cache, slab, Some(slot));
        return false;
    }
    zones(cache, slab, slot, true) & (!watch.contains(DebugFlags::POISON) || padding(cache, slab, slot))
}

fn zones(cache: &'static KmemCache, slab: PagePtr, slot: Slot, in_use: bool) -> bool {
    let zone = if in_use { ZONE_USED } else { ZONE_FREE };
    !cache.geometry().debug.contains(DebugFlags::RED_ZONE)
        || bytes(cache, slab, slot, "Left Redzone", &[(slot.left_zone(), zone)])
            & bytes(cache, slab, slot, "Right Redzone", &[(slot.right_zone(in_use), zone)])
}

fn padding(cache: &'static KmemCache, slab: PagePtr, slot: Slot) -> bool {
    bytes(cache, slab, slot, "Object padding", &[(slot.padding(), PADDING)])
}

/// That the bytes of ranges are as they should be.
fn bytes(
    cache: &'static KmemCache,
    slab: PagePtr,
    slot: Slot,
    what: &'static str,
    ranges: &[(Range<isize>, u8)],
) -> bool {
    let wrong = || {
        let all = ranges.iter().flat_map(|(range, byte)| range.clone().map(|at| (at, *byte)));
        all.filter(|(at, byte)| slot.byte(*at) != *byte)
    };
    let Some((first, expected)) = wrong().next() else { return true };
    let end = wrong().next_back().map_or(first, |(at, _)| at) + 1;
    let fault = Fault::Overwritten { what, range: first..end, found: slot.byte(first), expected };
    fault.report(cache, slab, Some(slot));
    for (range, byte) in ranges {
        slot.fill(range.clone(), *byte);
    }
    false
}

/// Checks all objects of a slab, of which nothing moves meanwhile; says how many are not as they should be.
pub(in crate::slab) fn check_slab(cache: &'static KmemCache, slab: PagePtr) -> usize {
    if let Err(what) = chain(cache, slab) {
        super::report::chain(cache, slab, what);
        return 1;
    }
    let free = FreeSet::of(cache, slab);
    let links = Objects::of(cache, slab);
    let bad = (0..slab_word(slab).objects()).filter(|index| {
        let slot = Slot::of(cache, slab, links.nth(*index));
        let good = match free.contains(*index as usize) {
            true => free_object(cache, slab, slot),
            false => used_object(cache, slab, slot),
        };
        !good
    });
    bad.count()
}

/// Checks all objects of all caches that are watched (Linux: `/sys/kernel/slab/*/validate`); says how many
/// faults were found and reported.
pub fn check_objects() -> usize {
    let watched = memory().slab.iter().filter(|cache| !cache.geometry().debug.is_empty());
    watched
        .map(|cache| {
            let lists = cache.lists.lock();
            lists.partial.iter().chain(lists.full.iter()).map(|slab| check_slab(cache, slab)).sum::<usize>()
        })
        .sum()
}
