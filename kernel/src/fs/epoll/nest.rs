//! How sets may be in sets: neither in circles nor deep (Linux: `ep_loop_check`, `ep_get_upwards_depth_proc`).
//!
//! Every new edge between two sets is looked at under one lock, and a look marks the sets that it has been at, so
//! that it takes as long as there are entries, not as there are paths.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};
use rux_mm::sync::{Mutex, MutexGuard, Rank, SpinLock};

use super::{Epoll, EpollFile};
use crate::errno::{Errno, Result};
use crate::fs::current;

/// How many edges one after the other lead from set to set at most (Linux: `EP_MAX_NESTS`).
pub(super) const MAX_DEPTH: u32 = 4;

/// The number of the last look.
static LOOKS: Mutex<u64> = Mutex::new(Rank::PollSets, 0);

/// Edges between sets stay as they are, but for those that a closed file takes away.
pub(super) struct Edges(MutexGuard<'static, u64>);

/// A set's place among others.
pub(super) struct Place {
    /// The sets that this one is in.
    above: SpinLock<KVec<KArc<Epoll>>>,
    /// The last look that was here, and what it found: edges below, or above. Under [`LOOKS`].
    look: AtomicU64,
    found: AtomicU32,
}

impl Place {
    /// In no other set.
    pub(super) const fn new() -> Self {
        Self {
            above: SpinLock::new(Rank::Names, KVec::new()),
            look: AtomicU64::new(0),
            found: AtomicU32::new(0),
        }
    }

    /// The set is now in `outer`, too.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn enter(&self, outer: &KArc<Epoll>) -> Result<()> {
        Ok(self.above.lock().push(outer.clone(), Gfp::NOWAIT)?)
    }

    /// The set is in `outer` no more, or in it once less.
    pub(super) fn leave(&self, outer: &Epoll) {
        let mut above = self.above.lock();
        let gone = above
            .iter()
            .position(|set| core::ptr::eq(KArc::as_ptr(set), outer))
            .map(|at| above.swap_remove(at));
        drop(above);
        drop(gone);
    }

    /// The set is in no other any more.
    pub(super) fn leave_all(&self) {
        let above = core::mem::take(&mut *self.above.lock());
        drop(above);
    }
}

impl Edges {
    /// Nobody else adds an edge.
    pub(super) fn lock() -> Self {
        Self(LOOKS.lock())
    }

    /// Whether `inner` may be put into `outer`.
    ///
    /// # Errors
    /// `ELOOP` where a circle would close or too many sets be in each other, `EINTR` to who is being killed.
    pub(super) fn check(&mut self, outer: &Epoll, inner: &Epoll) -> Result<()> {
        *self.0 += 1;
        let below = self.below(inner, outer, MAX_DEPTH)?;
        *self.0 += 1;
        let above = self.above(outer, MAX_DEPTH)?;
        if below + 1 + above > MAX_DEPTH { Err(Errno::ELOOP) } else { Ok(()) }
    }

    fn seen(&self, set: &Epoll) -> Option<u32> {
        (set.place.look.load(Relaxed) == *self.0).then(|| set.place.found.load(Relaxed))
    }

    fn note(&self, set: &Epoll, found: u32) -> u32 {
        set.place.look.store(*self.0, Relaxed);
        set.place.found.store(found, Relaxed);
        found
    }

    /// How many edges lead down from `set`, on the longest way; not to `wanted`.
    fn below(&self, set: &Epoll, wanted: &Epoll, left: u32) -> Result<u32> {
        if core::ptr::eq(set, wanted) {
            return Err(Errno::ELOOP);
        }
        if let Some(found) = self.seen(set) {
            return Ok(found);
        }
        let mut longest = 0;
        let mut n = 0;
        loop {
            // One set after the other is locked, never two at once.
            let file = match set.items.lock().get(n) {
                None => return Ok(self.note(set, longest)),
                Some(item) => item.hold(),
            };
            if current::is_killed() {
                return Err(Errno::EINTR);
            }
            if let Some(file) = file
                && let Ok(inner) = EpollFile::of(&file)
            {
                let left = left.checked_sub(1).ok_or(Errno::ELOOP)?;
                longest = longest.max(1 + self.below(&inner.0, wanted, left)?);
            }
            n += 1;
        }
    }

    /// How many edges lead up from `set`, on the longest way.
    fn above(&self, set: &Epoll, left: u32) -> Result<u32> {
        if let Some(found) = self.seen(set) {
            return Ok(found);
        }
        let mut longest = 0;
        let mut n = 0;
        loop {
            let Some(outer) = set.place.above.lock().get(n).cloned() else {
                return Ok(self.note(set, longest));
            };
            if current::is_killed() {
                return Err(Errno::EINTR);
            }
            let left = left.checked_sub(1).ok_or(Errno::ELOOP)?;
            longest = longest.max(1 + self.above(&outer, left)?);
            n += 1;
        }
    }
}
