//! Pages on their way to the lists, some on each hart, so that the lists' lock is taken once for many (Linux:
//! `folio_batch_add_and_move`, `mm/swap.c`).
//!
//! Unlike on Linux a batch has no references: whoever frees a page takes it out, by exchanging the slot's word for
//! nothing, wherever the page is. So what was unmapped is free, and a count of one means one, with no batch in the way;
//! and what lives shortly never comes to a list. Slots are filled by their own hart alone, with interrupts off. They
//! are emptied under the lists' lock, by any hart, or by who frees the page.

use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use rux_machine::{HotExt, Hw, IrqGuard, MAX_HARTS};

use super::list::PlaceOf;
use super::{LruGuard, lock};
use crate::memory::{memory, this_hart};
use crate::page::{Folio, FolioArm, Page, PageFlags};

/// Pages of a batch (Linux: `PAGEVEC_SIZE`).
const SLOTS: usize = 31;
/// Numbers of slots that a hart has.
const PER_HART: usize = SLOTS + 1;

/// One hart's.
#[derive(Debug)]
pub(crate) struct Batch {
    /// How many slots were used since the hart itself emptied them.
    used: AtomicU32,
    /// Places of pages; 0 for none.
    slots: [AtomicU32; SLOTS],
}

impl Batch {
    pub(crate) const fn new() -> Self {
        Self { used: AtomicU32::new(0), slots: [const { AtomicU32::new(0) }; SLOTS] }
    }

    /// Puts what is in it on the lists.
    pub(super) fn drain(&self, lists: &mut LruGuard<'_>) {
        for slot in &self.slots {
            if slot.load(Relaxed) == 0 {
                continue;
            }
            // Acquire: the page as it was put in. Who frees it may have been quicker.
            if let Some(page) = PlaceOf::to_page(slot.swap(0, Acquire)) {
                lists.put_on(page.folio());
            }
        }
    }

    /// The pages in it, and each one's number for [`take_out`].
    pub(super) fn pages(&self, hart: usize) -> impl Iterator<Item = (u32, crate::page::PagePtr)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(move |(at, slot)| Some((number(hart, at), PlaceOf::to_page(slot.load(Acquire))?)))
    }
}

#[inline(always)]
fn number(hart: usize, at: usize) -> u32 {
    (hart * PER_HART + at) as u32
}

/// Puts a folio that is on no list on its way to one, by its flags: anonymous, `SWAPBACKED`, or a file's; `ACTIVE` or
/// not. The caller has a reference and nobody else can have added it (Linux: `folio_add_lru`).
#[inline]
pub fn add(folio: &Folio) {
    debug_assert!(!folio.flags().intersects(PageFlags::LISTED | PageFlags::UNEVICTABLE));
    let irqs = IrqGuard::new();
    let batch = &this_hart().lru;
    let used = batch.used.load(Relaxed) as usize;
    let Some(slot) = batch.slots.get(used) else { return add_to_full(irqs, folio) };
    fill(batch, used, slot, folio);
}

#[inline(always)]
fn fill(batch: &Batch, used: usize, slot: &AtomicU32, folio: &Folio) {
    folio.arm().lru_next.store(number(Hw::hart(), used), Relaxed);
    folio.set_flags(PageFlags::LRU_BATCH);
    // Release: to who empties the slot.
    slot.store(PlaceOf::page(folio.as_page()).number(), Release);
    batch.used.store(used as u32 + 1, Relaxed);
}

#[inline(never)]
fn add_to_full(irqs: IrqGuard, folio: &Folio) {
    let batch = &this_hart().lru;
    batch.drain(&mut lock());
    fill(batch, 0, &batch.slots[0], folio);
    drop(irqs);
}

/// Takes a page out of the batch that its flags say it is in. `false`: it has been put on a list meanwhile, as is seen
/// under the lists' lock. Nobody but the caller takes it out, or the lock is held.
#[inline(never)]
pub(super) fn take_out(page: &Page) -> bool {
    // A link already, if it has been put on a list: then there is no slot with the page.
    let number = page.arm_unchecked::<FolioArm>().lru_next.load(Relaxed) as usize;
    let (hart, at) = (number / PER_HART, number % PER_HART);
    if hart >= MAX_HARTS {
        return false;
    }
    let Some(slot) = memory().hart(hart).lru.slots.get(at) else { return false };
    let taken = slot.compare_exchange(PlaceOf::page(page).number(), 0, Relaxed, Relaxed).is_ok();
    if taken {
        page.clear_flags(PageFlags::LRU_BATCH);
    }
    taken
}

/// Puts what this hart has in its batch on the lists (Linux: `lru_add_drain`). From anywhere that the lists' lock may
/// be taken.
pub fn drain() {
    let _irqs = IrqGuard::new();
    let batch = &this_hart().lru;
    batch.drain(&mut lock());
    batch.used.store(0, Relaxed);
}

/// Puts what all harts have in their batches at this moment on the lists, without troubling them (Linux:
/// `lru_add_drain_all`).
pub fn drain_all() {
    drain();
    memory().harts().for_each(|hart| hart.lru.drain(&mut lock()));
}
