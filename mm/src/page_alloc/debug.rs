//! What is checked and wiped as pages come and go, when the command line asks for it (Linux: `page_owner=on`,
//! `page_poison=1`, `init_on_alloc=1`, `init_on_free=1`; `mm/page_owner.c`, `mm/page_poison.c`).
//!
//! Off, it costs nothing: the fast path has no question for it. On, every page goes to a list that keeps nothing
//! when it is freed, and so is looked at; and since the lists that allocations try first stay empty, these go
//! the long way too. Page owner keeps 32 bytes for each frame, beside the descriptors.

use core::fmt;
use core::panic::Location;
use core::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use bitflags::bitflags;
use rux_machine::{HotExt, Hw, cold};

use super::free::bad;
use crate::addr::{Order, PAGE_SIZE, Pfn};
use crate::early::EarlyMemory;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::memory::memory;
use crate::page::{Memmap, PAGES_PER_SECTION, PagePtr, SECTIONS, pfn_to_page};

bitflags! {
    /// What the command line asks for.
    #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
    pub struct Checks: u32 {
        /// Who took a page and who freed it is kept, and told when something is wrong with it.
        const OWNER = 1 << 0;
        /// Free pages hold [`POISON`], and are looked at before they are handed out.
        const POISON = 1 << 1;
        /// Pages, and the slab's objects, are zeroed before they are handed out.
        const INIT_ON_ALLOC = 1 << 2;
        /// Pages, and the slab's objects, are zeroed when they are freed.
        const INIT_ON_FREE = 1 << 3;
    }
}

/// What a free page is full of (Linux: `PAGE_POISON`).
pub const POISON: u8 = 0xaa;

/// Who had a page last.
#[repr(C)]
struct Record {
    /// Where it was allocated; null as long as it never was.
    site: AtomicPtr<Location<'static>>,
    /// When, in ms since boot, and by which thread.
    taken: [AtomicU32; 2],
    /// The same of when it was freed.
    freed: [AtomicU32; 2],
    gfp: AtomicU32,
    order: AtomicU8,
    in_use: AtomicU8,
    unused: [AtomicU8; 2],
}

const _: () = assert!(size_of::<Record>() == 32);

/// One section's records; null where there is no memory.
type Sections = [AtomicPtr<Record>; SECTIONS];

/// What is on, and the records.
pub(crate) struct State {
    checks: AtomicU32,
    sections: AtomicPtr<Sections>,
}

impl State {
    pub(crate) const fn new() -> Self {
        Self { checks: AtomicU32::new(0), sections: AtomicPtr::new(core::ptr::null_mut()) }
    }

    /// What is on.
    pub(crate) fn checks(&self) -> Checks {
        Checks::from_bits_retain(self.checks.load(Relaxed))
    }

    /// Whether any is on.
    pub(crate) fn is_on(&self) -> bool {
        self.checks.load(Relaxed) != 0
    }

    /// At boot, before any page is free.
    pub(crate) fn init(
        &self,
        mut checks: Checks,
        memmap: &Memmap,
        early: &mut EarlyMemory,
    ) -> Result<(), AllocError> {
        if checks.contains(Checks::POISON) {
            // It takes precedence, as on Linux.
            checks -= Checks::INIT_ON_ALLOC | Checks::INIT_ON_FREE;
        }
        if checks.contains(Checks::OWNER) {
            let sections = zeroed::<Sections>(early, 1)?;
            // SAFETY: just made, and all zeroes are null pointers.
            let table = unsafe { &*sections };
            for first in memmap.sections() {
                let records = zeroed::<Record>(early, PAGES_PER_SECTION as usize)?;
                let section = (first.get() / PAGES_PER_SECTION) as usize;
                table[section].store(records, Relaxed);
            }
            self.sections.store(sections, Release);
        }
        if !checks.is_empty() {
            log::info!("memory: {checks:?}");
        }
        self.checks.store(checks.bits(), Relaxed);
        Ok(())
    }

    /// Makes frames that were never given out look as if they had been freed.
    pub(crate) fn wipe(&self, start: Pfn, end: Pfn) {
        let checks = self.checks();
        if checks.intersects(Checks::POISON | Checks::INIT_ON_FREE) {
            (start.get()..end.get()).for_each(|pfn| fill(pfn_to_page(Pfn::new(pfn)), checks));
        }
    }

    fn record(&self, pfn: Pfn) -> Option<&'static Record> {
        // SAFETY: null or what `init` made, which stays.
        let sections = unsafe { self.sections.load(Acquire).as_ref() }?;
        let records = sections.get((pfn.get() / PAGES_PER_SECTION) as usize)?.load(Relaxed);
        if records.is_null() {
            return None;
        }
        // SAFETY: a section's records are one for each of its frames.
        Some(unsafe { &*records.add((pfn.get() % PAGES_PER_SECTION) as usize) })
    }
}

/// Zeroed memory for `count` of `T`, of which all zeroes is a value.
fn zeroed<T>(early: &mut EarlyMemory, count: usize) -> Result<*mut T, AllocError> {
    let bytes = count * size_of::<T>();
    let at = early.alloc(bytes as u64, PAGE_SIZE as u64)?.as_ptr();
    // SAFETY: taken just now, so nobody else's, and mapped.
    unsafe { at.write_bytes(0, bytes) };
    Ok(at.cast())
}

/// Looks at a block that is about to be handed out.
#[inline]
pub(super) fn allocated(page: PagePtr, order: Order, gfp: Gfp, site: &'static Location<'static>) {
    let checks = memory().debug.checks();
    if !checks.is_empty() {
        allocated_slow(page, order, gfp, site, checks);
    }
}

#[cold]
#[inline(never)]
fn allocated_slow(page: PagePtr, order: Order, gfp: Gfp, site: &'static Location<'static>, checks: Checks) {
    for each in (0..order.pages()).map(|index| page.nth(index)) {
        if checks.contains(Checks::POISON) && !is_poisoned(each) {
            bad(each, "written to while it was free");
        }
        if checks.contains(Checks::INIT_ON_ALLOC) && !gfp.contains(Gfp::ZERO) {
            super::zero(each, Order::ZERO);
        }
        if let Some(record) = memory().debug.record(each.pfn()) {
            record.site.store(core::ptr::from_ref(site).cast_mut(), Relaxed);
            stamp(&record.taken);
            record.gfp.store(gfp.bits(), Relaxed);
            record.order.store(order.get() as u8, Relaxed);
            record.in_use.store(1, Relaxed);
        }
    }
}

/// Looks at a block that was freed.
#[inline]
pub(crate) fn freed(page: PagePtr, order: Order) {
    let checks = memory().debug.checks();
    if !checks.is_empty() {
        freed_slow(page, order, checks);
    }
}

#[cold]
#[inline(never)]
fn freed_slow(page: PagePtr, order: Order, checks: Checks) {
    for each in (0..order.pages()).map(|index| page.nth(index)) {
        if checks.intersects(Checks::POISON | Checks::INIT_ON_FREE) {
            fill(each, checks);
        }
        if let Some(record) = memory().debug.record(each.pfn()) {
            stamp(&record.freed);
            record.in_use.store(0, Relaxed);
        }
    }
}

fn stamp(at: &[AtomicU32; 2]) {
    at[0].store((cold::now() / 1_000_000) as u32, Relaxed);
    at[1].store(cold::thread_id(), Relaxed);
}

fn fill(page: PagePtr, checks: Checks) {
    let byte = if checks.contains(Checks::POISON) { POISON } else { 0 };
    // SAFETY: nobody has the page.
    unsafe { page.pfn().as_ptr().write_bytes(byte, PAGE_SIZE) };
}

fn is_poisoned(page: PagePtr) -> bool {
    const WORD: u64 = u64::from_ne_bytes([POISON; 8]);
    let words = page.pfn().as_ptr().cast::<u64>();
    // SAFETY: nobody has the page; it is mapped and aligned.
    (0..PAGE_SIZE / 8).all(|index| unsafe { words.add(index).read() } == WORD)
}

/// Who took a page, and who freed it last.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// Where it was allocated.
    pub site: &'static Location<'static>,
    /// When, in ms since boot.
    pub taken_ms: u32,
    /// By which thread.
    pub taken_by: u32,
    /// When it was freed last, in ms since boot; 0 if it never was.
    pub freed_ms: u32,
    /// By which thread.
    pub freed_by: u32,
    /// How it was asked for.
    pub gfp: Gfp,
    /// log2 of the pages of the block that it is of.
    pub order: u8,
    /// Whether it was not freed since.
    pub in_use: bool,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { site, taken_ms, taken_by, freed_ms, freed_by, gfp, order, in_use } = *self;
        let state = if in_use { "in use" } else { "free" };
        write!(
            f,
            "{state}; allocated with order {order}, {gfp:?}, at {site}, by thread {taken_by} at {taken_ms} ms"
        )?;
        if freed_ms != 0 || !in_use {
            write!(f, "; freed last by thread {freed_by} at {freed_ms} ms")?;
        }
        Ok(())
    }
}

/// The history of a frame, if that is kept and there is one.
pub fn owner(pfn: Pfn) -> Option<Owner> {
    let record = memory().debug.record(pfn)?;
    // SAFETY: null, or stored from a `'static` reference.
    let site = unsafe { record.site.load(Relaxed).cast_const().as_ref() }?;
    Some(Owner {
        site,
        taken_ms: record.taken[0].load(Relaxed),
        taken_by: record.taken[1].load(Relaxed),
        freed_ms: record.freed[0].load(Relaxed),
        freed_by: record.freed[1].load(Relaxed),
        gfp: Gfp::from_bits_retain(record.gfp.load(Relaxed)),
        order: record.order.load(Relaxed),
        in_use: record.in_use.load(Relaxed) != 0,
    })
}

/// Calls for every page in use that was allocated with its owner kept: for who looks for leaks.
pub fn for_each_owned(mut each: impl FnMut(Pfn, Owner)) {
    for (start, end) in memory().zones.iter().map(|zone| zone.span()) {
        for pfn in (start.get()..end.get()).map(Pfn::new) {
            if let Some(owner) = owner(pfn).filter(|owner| owner.in_use) {
                each(pfn, owner);
            }
        }
    }
}

/// The history of a page as a report has it.
pub(super) struct History(pub(super) PagePtr);

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, seen on hart {}", self.0, Hw::hart())?;
        match owner(self.0.pfn()) {
            Some(owner) => write!(f, "; {owner}"),
            None => Ok(()),
        }
    }
}
