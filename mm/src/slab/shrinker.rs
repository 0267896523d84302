//! Who else can give memory back: caches of the kernel that say how many objects they could free, and free
//! some when asked (Linux: `mm/shrinker.c`, `include/linux/shrinker.h`).
//!
//! The list's lock is not held while a shrinker works: it may sleep, take its own locks, and register
//! others. One that is unregistered meanwhile ends its work first, as each caller has a share of it.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rux_machine::cold;

use super::state::drain_all;
use super::{KArc, KVec};
use crate::addr::Order;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::memory::memory;
use crate::stat::{self, Item};

/// The priority to begin with: a 4096th part of all is scanned. 0 scans all (Linux: `DEF_PRIORITY`).
pub const PRIORITY_DEFAULT: u32 = 12;

/// What a shrinker is asked.
#[derive(Clone, Copy, Debug)]
pub struct ShrinkControl {
    /// What it may do: without `FS` it enters no file system, without `IO` it starts no I/O.
    pub gfp: Gfp,
    /// How many objects to look at. Of [`Shrinker::count`] meaningless.
    pub to_scan: usize,
    /// How many it looked at, if that is another number; [`Shrinker::scan`] sets it.
    pub scanned: usize,
}

/// A cache whose objects can be had again at some cost.
pub trait Shrinker: Send + Sync {
    /// How many objects it could free. Must be quick; need not be exact. 0: there is nothing to do.
    fn count(&self, control: &ShrinkControl) -> usize;

    /// Looks at `to_scan` objects and frees those that can go; says how many. `None`: no progress can be
    /// made now, as of a lock that is taken (Linux: `SHRINK_STOP`).
    fn scan(&self, control: &mut ShrinkControl) -> Option<usize>;

    /// What it costs to have an object again, 2 being ordinary and 0 nothing (Linux: `seeks`).
    fn seeks(&self) -> usize {
        2
    }

    /// How many objects it is asked for at once.
    fn batch(&self) -> usize {
        128
    }
}

/// A shrinker that is registered.
struct Entry {
    /// Ascending along the list.
    id: u64,
    name: &'static str,
    shrinker: KArc<dyn Shrinker>,
    /// Objects that should have been scanned but were not: next time.
    deferred: AtomicUsize,
}

/// All that are registered.
pub(super) struct Shrinkers {
    entries: KVec<KArc<Entry>>,
    next_id: u64,
}

/// See [`EmptySlabs`], which is always registered.
#[derive(Debug)]
pub(super) struct OwnDeferred(AtomicUsize);

impl OwnDeferred {
    pub(super) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }
}

impl core::fmt::Debug for Shrinkers {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| entry.name)).finish()
    }
}

impl Shrinkers {
    pub(super) const fn new() -> Self {
        Self { entries: KVec::new(), next_id: 1 }
    }
}

/// Keeps a shrinker registered.
#[must_use = "the shrinker is unregistered once this is dropped"]
#[derive(Debug)]
pub struct Registration(u64);

impl Registration {
    /// Keeps it registered for ever.
    pub fn keep(self) {
        core::mem::forget(self);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut shrinkers = memory().slab.shrinkers.lock();
        let at = shrinkers.entries.iter().position(|entry| entry.id == self.0);
        let entry = at.map(|at| shrinkers.entries.remove(at));
        drop(shrinkers);
        // Not under the lock, as the shrinker may end with it.
        drop(entry);
    }
}

/// Registers a shrinker, which is asked when memory is short (Linux: `shrinker_register`).
///
/// # Errors
/// No memory.
pub fn register_shrinker(
    name: &'static str,
    shrinker: KArc<dyn Shrinker>,
) -> Result<Registration, AllocError> {
    let mut room = KVec::new();
    let mut entry = KArc::new(Entry { id: 0, name, shrinker, deferred: AtomicUsize::new(0) }, Gfp::KERNEL)?;
    loop {
        let mut shrinkers = memory().slab.shrinkers.lock();
        if shrinkers.entries.len() == shrinkers.entries.capacity()
            && room.capacity() <= shrinkers.entries.len()
        {
            let wanted = shrinkers.entries.len() * 2 + 4;
            drop(shrinkers);
            room = KVec::with_capacity(wanted, Gfp::KERNEL)?;
            continue;
        }
        if shrinkers.entries.len() == shrinkers.entries.capacity() {
            let all = 0..shrinkers.entries.len();
            for entry in shrinkers.entries.drain(all) {
                // There is room: it was made.
                let _ = room.push_within_capacity(entry);
            }
            core::mem::swap(&mut shrinkers.entries, &mut room);
        }
        let id = shrinkers.next_id;
        shrinkers.next_id += 1;
        if let Some(entry) = KArc::get_mut(&mut entry) {
            entry.id = id;
        }
        // There is room, as was seen.
        return match shrinkers.entries.push_within_capacity(entry) {
            Ok(()) => Ok(Registration(id)),
            Err(_) => Err(AllocError),
        };
    }
}

/// The first entry behind the one with number `id`.
fn behind(id: u64) -> Option<KArc<Entry>> {
    let shrinkers = memory().slab.shrinkers.lock();
    shrinkers.entries.iter().find(|entry| entry.id > id).cloned()
}

/// Asks each shrinker for its part: of what it could free, one in 2^`priority`, weighed by what it costs;
/// says how many objects were freed (Linux: `shrink_slab`). May sleep if `gfp` may.
pub fn shrink_slab(gfp: Gfp, priority: u32) -> usize {
    let mut freed = ask(&EmptySlabs, &memory().slab.own_deferred.0, gfp, priority);
    let mut id = 0;
    while let Some(entry) = behind(id) {
        id = entry.id;
        freed += ask(&*entry.shrinker, &entry.deferred, gfp, priority);
    }
    freed
}

/// Asks one shrinker (Linux: `do_shrink_slab`). `old` is what should have been scanned but was not.
fn ask(shrinker: &dyn Shrinker, old: &AtomicUsize, gfp: Gfp, priority: u32) -> usize {
    let mut control = ShrinkControl { gfp, to_scan: 0, scanned: 0 };
    let freeable = shrinker.count(&control);
    if freeable == 0 {
        return 0;
    }
    // What others left is this caller's now, so that no two scan for it.
    let deferred = old.swap(0, Relaxed);
    let part = freeable.checked_shr(priority).unwrap_or(0);
    let part = match shrinker.seeks() {
        0 => freeable / 2,
        seeks => part.saturating_mul(4) / seeks,
    };
    let mut left = (deferred.checked_shr(priority).unwrap_or(0) + part).min(freeable.saturating_mul(2));
    let batch = shrinker.batch().max(1);
    let (mut freed, mut scanned) = (0, 0);
    // Less than a batch is not worth it, unless it is all there is.
    while left >= batch || left >= freeable {
        control.to_scan = batch.min(left);
        control.scanned = control.to_scan;
        let Some(got) = shrinker.scan(&mut control) else { break };
        freed += got;
        scanned += control.scanned;
        left = left.saturating_sub(control.scanned.max(1));
        if left == 0 {
            break;
        }
        if gfp.may_sleep() {
            cold::reschedule();
        }
    }
    let rest = (deferred + part).saturating_sub(scanned).min(freeable.saturating_mul(2));
    old.fetch_add(rest, Relaxed);
    freed
}

/// The slab allocator's own cache: empty slabs that it kept.
struct EmptySlabs;

impl Shrinker for EmptySlabs {
    fn count(&self, _: &ShrinkControl) -> usize {
        memory().slab.iter().map(|cache| cache.empty_pages()).sum()
    }

    fn scan(&self, control: &mut ShrinkControl) -> Option<usize> {
        let mut freed = 0;
        for cache in memory().slab.iter() {
            if freed < control.to_scan {
                freed += cache.shrink(control.to_scan - freed);
            }
        }
        control.scanned = freed.max(1);
        Some(freed)
    }

    /// They are quick to have again.
    fn seeks(&self) -> usize {
        1
    }
}

fn slab_pages() -> u64 {
    stat::read(Item::SlabReclaimable) + stat::read(Item::SlabUnreclaimable)
}

/// What the page allocator calls when it is short of pages: what harts keep ready goes back to the slabs,
/// and the shrinkers are asked ever harder until one frees something. Says how many pages it freed, or 1 if
/// there were objects freed but no page yet: the next turn may. As `page_alloc::Reclaim`.
pub fn reclaim(gfp: Gfp, _: Order) -> usize {
    let before = slab_pages();
    // Of this hart; what the others gave back is seen in the sum.
    let mut pages = drain_all();
    for priority in (0..=PRIORITY_DEFAULT).rev() {
        let objects = shrink_slab(gfp, priority);
        if objects > 0 {
            // Their slabs, by way of the harts' sheaves.
            drain_all();
            pages = pages.max(1);
            break;
        }
    }
    pages.max(before.saturating_sub(slab_pages()) as usize)
}
