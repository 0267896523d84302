//! Who has objects: of one cache when it goes, and of all caches at the end (Linux: "Objects remaining in
//! %s on __kmem_cache_shutdown()", and `alloc_traces` in debugfs).

use core::ops::Range;

use arrayvec::ArrayVec;
use rux_machine::cold::{self, Who};

use super::check::{FreeSet, chain};
use super::slot::Slot;
use super::track::Caller;
use super::{DebugFlags, KmemCache};
use crate::memory::memory;
use crate::page::PagePtr;
use crate::slab::freelist::Links;
use crate::slab::kmem::Objects;
use crate::slab::pages::slab_word;

/// The most owners of a cache that are told apart.
const OWNERS_MOST: usize = 32;
/// The most objects of a cache that are told one by one.
const TOLD_MOST: usize = 16;

/// The objects of a slab that are in use.
fn in_use(cache: &'static KmemCache, slab: PagePtr) -> impl Iterator<Item = Slot> {
    let sound = chain(cache, slab).is_ok();
    let free = if sound { Some(FreeSet::of(cache, slab)) } else { None };
    let links = Objects::of(cache, slab);
    let objects = if sound { 0..slab_word(slab).objects() } else { 0..0 };
    objects
        .filter(move |index| free.is_some_and(|free| !free.contains(*index as usize)))
        .map(move |index| Slot::of(cache, slab, links.nth(index)))
}

/// Tells which objects keep a cache from going.
pub(in crate::slab) fn report_remaining(cache: &'static KmemCache, count: usize) {
    let name = cache.shape.name;
    log::error!("BUG {name}: Objects remaining in {name} when it is destroyed: {count}");
    if cache.geometry().debug.is_empty() {
        return;
    }
    let lists = cache.lists.lock();
    let slabs = lists.partial.iter().chain(lists.full.iter());
    for slot in slabs.flat_map(|slab| in_use(cache, slab)).take(TOLD_MOST) {
        log::error!("Object {:p} size={} requested={}", slot.object(), cache.shape.size, slot.requested());
        if let Some(track) = slot.allocated() {
            log::error!("Allocated in {track}");
            track.callers().skip(1).for_each(|caller| log::error!("  {}", Caller(caller)));
        }
    }
}

/// What one owner has.
struct Owner {
    caller: usize,
    objects: usize,
    bytes: usize,
    /// When the first and the last of them were allocated.
    when: Range<u64>,
    last: Who,
}

/// Tells the objects that are in use of each cache whose users are stored, by owner, the one with the most
/// first; says how many objects there are. When all work is done, that is what leaked.
pub fn report_owners() -> usize {
    let stored = memory().slab.iter().filter(|cache| cache.geometry().debug.contains(DebugFlags::STORE_USER));
    stored.map(report_cache).sum()
}

fn report_cache(cache: &'static KmemCache) -> usize {
    let name = cache.shape.name;
    let mut owners = ArrayVec::<Owner, OWNERS_MOST>::new();
    let (mut all, mut others) = (0, 0);
    let lists = cache.lists.lock();
    for slot in lists.partial.iter().chain(lists.full.iter()).flat_map(|slab| in_use(cache, slab)) {
        let Some(track) = slot.allocated() else { continue };
        all += 1;
        match owners.iter_mut().find(|owner| owner.caller == track.owner()) {
            Some(owner) => {
                owner.objects += 1;
                owner.bytes += slot.requested();
                owner.when = owner.when.start.min(track.when())..owner.when.end.max(track.when());
                owner.last = track.who();
            }
            None => {
                let when = track.when()..track.when();
                let new = Owner {
                    caller: track.owner(),
                    objects: 1,
                    bytes: slot.requested(),
                    when,
                    last: track.who(),
                };
                others += owners.try_push(new).is_err() as usize;
            }
        }
    }
    drop(lists);
    owners.sort_unstable_by_key(|owner| core::cmp::Reverse(owner.objects));
    let now = cold::now();
    for owner in &owners {
        let age = |when: u64| now.saturating_sub(when) / 1_000_000;
        let who = owner.last;
        log::warn!(
            "slab: {name}: {} objects in use, {} bytes, of {} age={}-{}ms tid={} ({})",
            owner.objects,
            owner.bytes,
            Caller(owner.caller),
            age(owner.when.end),
            age(owner.when.start),
            who.tid,
            who.name(),
        );
    }
    if others > 0 {
        log::warn!("slab: {name}: {others} objects in use of other owners");
    }
    all
}
