//! Taking a block of 2 MiB out of circulation, so that whoever empties it (compaction, hot-unplug) is not
//! raced by new allocations; and putting it back (Linux: `mm/page_isolation.c`).

use core::sync::atomic::Ordering::Relaxed;

use super::steal::looks_movable;
use super::{BLOCK_ORDER, FreeLists, MigrateType, Zone};
use crate::addr::Order;
use crate::page::{Count, PageFlags, PagePtr};

/// Why a block cannot be isolated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotIsolated {
    /// There is no memory, or none that the allocator was given.
    #[error("no memory of the allocator's")]
    Absent,
    /// Somebody else isolated it.
    #[error("isolated already")]
    Already,
    /// A page in it cannot be moved.
    #[error("a page in it cannot be moved")]
    Unmovable,
}

impl Zone {
    /// Isolates the block of `page`: its free pages are handed out no more and do not count, and pages that
    /// are freed stay. Says what it was. Pages on harts' lists come when those are drained.
    pub(crate) fn isolate_block(&self, page: PagePtr) -> Result<MigrateType, NotIsolated> {
        let first = page.align_down(BLOCK_ORDER);
        let mut lists = self.lists.lock();
        let was = MigrateType::from_index(first.block_kind());
        if was == MigrateType::Isolate {
            return Err(NotIsolated::Already);
        }
        if was != MigrateType::HighAtomic && has_unmovable(first) {
            return Err(NotIsolated::Unmovable);
        }
        lists.split_around(first);
        let moved = lists.move_block(first, MigrateType::Isolate);
        self.sub_free(moved);
        if was == MigrateType::HighAtomic {
            let block = BLOCK_ORDER.pages() as u64;
            self.set_highatomic(self.highatomic.load(Relaxed).saturating_sub(block));
        }
        self.isolated_blocks.store(self.isolated_blocks.load(Relaxed) + 1, Relaxed);
        lists.rehome(first, MigrateType::Isolate);
        Ok(was)
    }

    /// Puts an isolated block back into circulation, as `kind`'s. Says whether it was isolated.
    pub(crate) fn undo_isolate(&self, page: PagePtr, kind: MigrateType) -> bool {
        let first = page.align_down(BLOCK_ORDER);
        let mut lists = self.lists.lock();
        if first.block_kind() != MigrateType::Isolate as u32 {
            return false;
        }
        let kind = if MigrateType::merges(kind as u32) { kind } else { MigrateType::Movable };
        let moved = lists.move_block(first, kind);
        self.add_free(moved);
        self.isolated_blocks.store(self.isolated_blocks.load(Relaxed) - 1, Relaxed);
        lists.rehome(first, kind);
        true
    }

    /// How many blocks are isolated.
    pub fn isolated_blocks(&self) -> u64 {
        self.isolated_blocks.load(Relaxed)
    }
}

/// Whether a page of the block that starts with `first` is in use for something that cannot be moved (Linux:
/// `has_unmovable_pages`).
fn has_unmovable(first: PagePtr) -> bool {
    let mut at = 0;
    while at < BLOCK_ORDER.pages() {
        let page = first.nth(at);
        at += match page.count().buddy_order() {
            Some(order) => order.pages(),
            None => 1,
        };
        let tail = page.flags().contains(PageFlags::TAIL);
        if page.count().raw() != 0 && page.count().buddy_order().is_none() && !looks_movable(page) && !tail
            || page.flags().contains(PageFlags::RESERVED)
        {
            return true;
        }
    }
    false
}

impl FreeLists {
    /// Where a free block of the largest order covers the block `first` starts and the one beside it, halves it.
    fn split_around(&mut self, first: PagePtr) {
        let whole = first.align_down(Order::MAX);
        if whole.count().raw() != Count::buddy_word(Order::MAX.get()) {
            return;
        }
        self.remove(whole);
        for half in [whole, whole.nth(BLOCK_ORDER.pages())] {
            self.push(half, BLOCK_ORDER, half.block_kind());
        }
    }

    /// Says of all pages of a block where they go when they are freed.
    fn rehome(&mut self, first: PagePtr, kind: MigrateType) {
        let home = self.home(kind as u32);
        (0..BLOCK_ORDER.pages()).for_each(|index| first.nth(index).home.set(home));
    }
}

const _: () = assert!(Order::MAX.get() == BLOCK_ORDER.get() + 1);
