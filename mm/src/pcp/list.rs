//! One list of a hart: a hot stack that frees push on and allocations pop from, and behind it chunks that were
//! sealed when it grew long. Allocations take the newest chunk back, and what goes to the zone comes from
//! the oldest: what was not used for longest. So one link a block is enough, and a zone's lock is taken
//! once for many blocks.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::addr::Order;
use crate::page::arm::{Arm, FreeArm};
use crate::page::{Page, PagePtr, PageType};
use crate::zone::Zone;

/// The blocks of one zone, mobility and order.
///
/// Written by its hart alone; atomic, since others read the counts.
#[repr(C, align(64))]
pub(crate) struct List {
    hot: AtomicPtr<Page>,
    /// Frees until somebody looks whether there are too many. Below 0 is now.
    room: AtomicI32,
    /// Blocks in the chunks.
    parked: AtomicU32,
    newest: AtomicPtr<Page>,
    oldest: AtomicPtr<Page>,
    /// Blocks ever popped: the event `pgalloc`.
    pops: AtomicU64,
    /// All the room ever given: less what is left of it, the blocks ever pushed.
    granted: AtomicU64,
    /// Blocks that came from the zone less those that went there.
    filled: AtomicU32,
    /// Blocks in the list when its hart last looked.
    counted: AtomicU32,
    /// Pushes when its hart last looked.
    seen: AtomicU32,
    /// The zone; see [`List::DIRECT`].
    tag: AtomicU32,
}

const _: () = assert!(size_of::<List>() == 64);

/// First block of a chunk.
#[repr(C)]
struct ChunkArm {
    /// As in every block of a stack.
    next: AtomicPtr<Page>,
    newer: AtomicPtr<Page>,
    older: AtomicPtr<Page>,
    count: AtomicU32,
    unused: AtomicU32,
}

const _: () = assert!(size_of::<ChunkArm>() <= crate::page::arm::ARM_SIZE);
const _: () = assert!(core::mem::offset_of!(ChunkArm, next) == core::mem::offset_of!(FreeArm, next));

// SAFETY: `repr(C)` of atomics; the size is asserted above.
unsafe impl Arm for ChunkArm {
    const TYPE: Option<PageType> = None;
}

/// What happened to a list since its hart last looked, in blocks.
pub(super) struct News {
    pub(super) pushes: u32,
    pub(super) pops: u32,
    /// How many more there are.
    pub(super) more: i32,
}

#[inline(always)]
fn link(page: PagePtr) -> &'static AtomicPtr<Page> {
    // SAFETY: descriptors live as long as the machine.
    unsafe { &(*page.as_ptr()).arm_unchecked::<FreeArm>().next }
}

fn chunk(page: PagePtr) -> &'static ChunkArm {
    // SAFETY: as above.
    unsafe { (*page.as_ptr()).arm_unchecked::<ChunkArm>() }
}

fn page(at: *mut Page) -> Option<PagePtr> {
    // SAFETY: the stacks hold pointers of `PagePtr`s.
    unsafe { PagePtr::from_ptr(at) }
}

impl List {
    /// The tag of a list that keeps nothing: each push is looked at.
    pub(super) const DIRECT: u32 = u32::MAX;

    pub(super) const fn new() -> Self {
        Self {
            hot: AtomicPtr::new(null_mut()),
            room: AtomicI32::new(0),
            parked: AtomicU32::new(0),
            newest: AtomicPtr::new(null_mut()),
            oldest: AtomicPtr::new(null_mut()),
            pops: AtomicU64::new(0),
            granted: AtomicU64::new(0),
            filled: AtomicU32::new(0),
            counted: AtomicU32::new(0),
            seen: AtomicU32::new(0),
            tag: AtomicU32::new(0),
        }
    }

    pub(super) fn set_tag(&self, tag: u32) {
        self.tag.store(tag, Relaxed);
    }

    /// The number of the zone, or [`List::DIRECT`].
    pub(super) fn tag(&self) -> u32 {
        self.tag.load(Relaxed)
    }

    #[inline(always)]
    pub(super) fn pop(&self) -> Option<PagePtr> {
        let first = page(self.hot.load(Relaxed))?;
        self.hot.store(link(first).load(Relaxed), Relaxed);
        self.pops.store(self.pops.load(Relaxed).wrapping_add(1), Relaxed);
        Some(first)
    }

    /// Pushes; says whether it is time to look whether there are too many.
    #[inline(always)]
    #[must_use]
    pub(super) fn push(&self, page: PagePtr) -> bool {
        link(page).store(self.hot.load(Relaxed), Relaxed);
        self.hot.store(page.as_ptr(), Relaxed);
        let room = self.room.load(Relaxed).wrapping_sub(1);
        self.room.store(room, Relaxed);
        room < 0
    }

    /// Takes the last push back, as if it had not been: of a list that keeps nothing.
    pub(super) fn unpush(&self) -> Option<PagePtr> {
        let first = page(self.hot.load(Relaxed))?;
        self.hot.store(link(first).load(Relaxed), Relaxed);
        self.room.store(0, Relaxed);
        Some(first)
    }

    pub(super) fn pops(&self) -> u64 {
        self.pops.load(Relaxed)
    }

    /// Blocks ever pushed. Exact for its hart, and for others when that is still: else a few less or more.
    pub(super) fn pushes(&self) -> u64 {
        let pushes = self.granted.load(Relaxed) as i64 - i64::from(self.room.load(Relaxed));
        pushes.max(0) as u64
    }

    /// Blocks in the list. Exact as [`List::pushes`] is.
    pub(super) fn count(&self) -> u32 {
        let (pushes, pops) = (self.pushes() as u32, self.pops() as u32);
        let count = self.filled.load(Relaxed).wrapping_add(pushes).wrapping_sub(pops);
        (count as i32).max(0) as u32
    }

    #[cfg(test)]
    pub(super) fn hot_is_empty(&self) -> bool {
        self.hot.load(Relaxed).is_null()
    }

    fn hot_count(&self) -> u32 {
        self.count() - self.parked.load(Relaxed)
    }

    /// Looks what happened since the last time.
    pub(super) fn news(&self) -> News {
        let (count, counted) = (self.count(), self.counted.load(Relaxed));
        let pushed = self.pushes() as u32;
        let pushes = pushed.wrapping_sub(self.seen.load(Relaxed));
        self.seen.store(pushed, Relaxed);
        self.counted.store(count, Relaxed);
        let more = count.wrapping_sub(counted) as i32;
        News { pushes, pops: pushes.wrapping_sub(more as u32), more }
    }

    /// Gives room for `blocks` more pushes. There is none.
    pub(super) fn grant(&self, blocks: u32) {
        self.room.store(self.room.load(Relaxed) + blocks as i32, Relaxed);
        self.granted.store(self.granted.load(Relaxed).wrapping_add(blocks.into()), Relaxed);
    }

    /// Puts a block from the zone on the hot stack; [`List::filled`] counts them.
    pub(super) fn fill(&self, page: PagePtr) {
        link(page).store(self.hot.load(Relaxed), Relaxed);
        self.hot.store(page.as_ptr(), Relaxed);
    }

    /// Counts blocks that came from the zone, or went there if below 0.
    pub(super) fn filled(&self, blocks: i32) {
        self.filled.store(self.filled.load(Relaxed).wrapping_add_signed(blocks), Relaxed);
        self.counted.store(self.counted.load(Relaxed).wrapping_add_signed(blocks), Relaxed);
    }

    /// Makes a chunk of the hot stack if it has at least `least` blocks, one at least.
    pub(super) fn seal(&self, least: u32) {
        let count = self.hot_count();
        let Some(first) = page(self.hot.load(Relaxed)).filter(|_| count >= least) else { return };
        let older = self.newest.load(Relaxed);
        let arm = chunk(first);
        arm.newer.store(null_mut(), Relaxed);
        arm.older.store(older, Relaxed);
        arm.count.store(count, Relaxed);
        match page(older) {
            Some(older) => chunk(older).newer.store(first.as_ptr(), Relaxed),
            None => self.oldest.store(first.as_ptr(), Relaxed),
        }
        self.newest.store(first.as_ptr(), Relaxed);
        self.hot.store(null_mut(), Relaxed);
        self.parked.store(self.parked.load(Relaxed) + count, Relaxed);
    }

    /// Makes the newest chunk the hot stack, which is empty; says whether there was one.
    pub(super) fn unseal(&self) -> bool {
        let Some(first) = page(self.newest.load(Relaxed)) else { return false };
        let arm = chunk(first);
        let older = arm.older.load(Relaxed);
        match page(older) {
            Some(older) => chunk(older).newer.store(null_mut(), Relaxed),
            None => self.oldest.store(null_mut(), Relaxed),
        }
        self.newest.store(older, Relaxed);
        self.parked.store(self.parked.load(Relaxed) - arm.count.load(Relaxed), Relaxed);
        self.hot.store(first.as_ptr(), Relaxed);
        true
    }

    /// Gives up to `most` blocks to the zone, those that were not used for longest first as far as chunks tell;
    /// says how many there were.
    pub(super) fn shed(&self, zone: &Zone, order: Order, most: u32) -> u32 {
        let mut left = most;
        while left != 0 {
            if self.oldest.load(Relaxed).is_null() {
                self.seal(1);
            }
            let Some(first) = page(self.oldest.load(Relaxed)) else { break };
            let arm = chunk(first);
            let (newer, count) = (arm.newer.load(Relaxed), arm.count.load(Relaxed));
            let taken = count.min(left);
            let mut rest = first.as_ptr();
            let blocks = (0..taken).map_while(|_| {
                let block = page(rest)?;
                // Before the block is given away.
                rest = link(block).load(Relaxed);
                Some(block)
            });
            let freed = zone.free_chain(blocks, order);
            debug_assert_eq!(freed, taken as usize);
            // What is left of the chunk stands where it stood.
            let stands = page(rest).filter(|_| taken < count);
            if let Some(rest) = stands {
                let arm = chunk(rest);
                arm.newer.store(newer, Relaxed);
                arm.older.store(null_mut(), Relaxed);
                arm.count.store(count - taken, Relaxed);
            }
            let oldest = stands.map_or(newer, PagePtr::as_ptr);
            let below = stands.map_or(null_mut(), PagePtr::as_ptr);
            self.oldest.store(oldest, Relaxed);
            match page(newer) {
                Some(newer) => chunk(newer).older.store(below, Relaxed),
                None => self.newest.store(oldest, Relaxed),
            }
            self.parked.store(self.parked.load(Relaxed) - taken, Relaxed);
            self.filled(-(taken as i32));
            left -= taken;
        }
        most - left
    }

    /// All blocks, for a look while its hart is still.
    pub(super) fn blocks(&self) -> impl Iterator<Item = PagePtr> {
        let mut next = self.hot.load(Relaxed);
        let mut behind = self.newest.load(Relaxed);
        core::iter::from_fn(move || {
            if next.is_null() {
                next = behind;
                behind = chunk(page(behind)?).older.load(Relaxed);
            }
            let block = page(next)?;
            next = link(block).load(Relaxed);
            Some(block)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another hart may look between two stores. What it sees is added up, so that it must not be below nothing.
    #[test]
    fn a_look_in_between_is_not_absurd() {
        let list = List::new();
        // A grant is half done.
        list.room.store(60, Relaxed);
        assert_eq!((list.pushes(), list.count()), (0, 0));
        list.granted.store(60, Relaxed);
        assert_eq!((list.pushes(), list.count()), (0, 0));
        // A page was pushed and popped after the pushes were read.
        list.pops.store(1, Relaxed);
        assert_eq!(list.count(), 0);
        list.room.store(58, Relaxed);
        assert_eq!((list.pushes(), list.count()), (2, 1));
    }
}
