//! Giving pages back, and catching those that must not come (Linux: `free_pages_prepare`, `bad_page`).
//!
//! A page that is wrong (locked, mapped, typed, free already) is a bug of the kernel, not of a program:
//! debug builds panic with the page; a release build says so in the log and never uses the page again.

#[cfg(debug_assertions)]
use core::sync::atomic::Ordering;

use core::mem::MaybeUninit;

use arrayvec::ArrayVec;
use rux_machine::IrqGuard;

use super::{FolioRef, compound, debug, device};
use crate::addr::Order;
use crate::lru;
use crate::memory::{memory, this_hart};
use crate::page::{More, PageFlags, PagePtr, Put};
use crate::pcp;
use crate::stat::{self, Item};

/// How many references are put under one lock.
const AT_ONCE: usize = 32;

/// What needs more than a look: flags that must not be there, and compound pages.
const UNUSUAL: PageFlags = PageFlags::BAD_AT_FREE.union(PageFlags::HEAD);

/// Frees a block whose last reference went; `order` is that of a raw block, and of no account for a
/// compound page.
#[inline(always)]
pub(super) fn free(page: PagePtr, order: Order) {
    if !pcp::has_list(order) {
        return free_large(page, order);
    }
    // Another hart may put the page on an LRU list just now, and so change its flags; one of two bits is set then.
    if page.flags().intersects(UNUSUAL) {
        return free_listed(page, order);
    }
    page.init_flags(PageFlags::empty());
    give(page, order);
}

/// As [`free`], of a page that is on an LRU list or is unusual otherwise.
#[inline(never)]
fn free_listed(page: PagePtr, order: Order) {
    if page.flags().intersects(PageFlags::LISTED) {
        lru::forget(page, &mut None);
    }
    // SAFETY: the last reference is gone, and no list has the page.
    if unsafe { page.flags_alone() }.intersects(UNUSUAL) {
        return free_unusual(page, order);
    }
    page.init_flags(PageFlags::empty());
    give(page, order);
}

/// Puts many references at once: what is on LRU lists leaves those under one lock for many (Linux:
/// `folios_put_refs`).
///
/// # Safety
/// All of `folios` are given away here.
pub(crate) unsafe fn put_all(folios: &[MaybeUninit<FolioRef>]) {
    for some in folios.chunks(AT_ONCE) {
        let mut gone = ArrayVec::<PagePtr, AT_ONCE>::new();
        let mut lists = None;
        for folio in some {
            // SAFETY: given away by the caller.
            let page = unsafe { folio.assume_init_read() }.into_head();
            match page.count().put_last() {
                Ok(()) => {
                    if page.flags().intersects(PageFlags::LISTED) {
                        lru::forget(page, &mut lists);
                    }
                    gone.push(page);
                }
                Err(more) => put_more(page, more),
            }
        }
        drop(lists);
        for &page in &gone {
            free(page, Order::ZERO);
        }
    }
}

/// As [`free`], of a raw block, which has no flags as a rule, and so none to clear.
#[inline(always)]
pub(super) fn free_raw(page: PagePtr, order: Order) {
    // SAFETY: the last reference is gone.
    if pcp::has_list(order) && unsafe { page.flags_alone() }.is_empty() {
        give(page, order);
    } else {
        free_other(page, order);
    }
}

/// The rest of [`free_raw`]: one call, so that what is inlined stays small. The block has flags, or is of an order
/// that harts have no lists of.
#[inline(never)]
fn free_other(page: PagePtr, order: Order) {
    // SAFETY: the last reference is gone.
    if unsafe { page.flags_alone() }.is_empty() {
        return give_large(page, order);
    }
    free_flagged(page, order);
}

#[cold]
#[inline(never)]
fn free_flagged(page: PagePtr, order: Order) {
    free(page, order);
}

/// As [`free`], for orders that harts have no lists of.
#[inline(never)]
fn free_large(page: PagePtr, order: Order) {
    // SAFETY: the last reference is gone.
    if unsafe { page.flags_alone() }.intersects(UNUSUAL) {
        return free_unusual(page, order);
    }
    page.init_flags(PageFlags::empty());
    give_large(page, order);
}

/// Straight to the zone.
#[inline(always)]
fn give_large(page: PagePtr, order: Order) {
    #[cfg(debug_assertions)]
    check_freed(page, order);
    if memory().debug.is_on() {
        return give_checked(page, order);
    }
    stat::add(Item::PgFree, order.pages() as i64);
    let block = page.block_word();
    memory().zone(block.zone_id()).free_fit(page, order, block);
}

/// As [`give_large`], where pages are looked at.
#[cold]
#[inline(never)]
fn give_checked(page: PagePtr, order: Order) {
    debug::freed(page, order);
    stat::add(Item::PgFree, order.pages() as i64);
    memory().zone(page.zone_id()).free_block(page, order);
}

#[inline(always)]
fn give(page: PagePtr, order: Order) {
    #[cfg(debug_assertions)]
    check_freed(page, order);
    let irqs = IrqGuard::new();
    this_hart().pcp.push(irqs, page, order);
}

/// The rest of a put that was not the last one.
#[inline(never)]
pub(super) fn put_more(page: PagePtr, more: More) {
    if page.count().put_more(more) == Put::Bad {
        bad(page, "put too often, or while it is mapped or has a type");
    }
}

/// As [`put_more`], for the owner of a raw block.
#[cold]
#[inline(never)]
pub(super) fn put_more_of_block(page: PagePtr, order: Order, more: More) {
    match page.count().put_more(more) {
        Put::Shared => free_all_but_first(page, order),
        _ => bad(page, "put too often, or while it is mapped or has a type"),
    }
}

#[cold]
#[inline(never)]
fn free_unusual(page: PagePtr, mut order: Order) {
    if page.flags().contains(PageFlags::RESERVED) && device::freed(page) {
        return;
    }
    if page.flags().intersects(PageFlags::BAD_AT_FREE) {
        return bad(page, "freed with a flag that must not be set");
    }
    if page.flags().contains(PageFlags::HEAD) {
        order = compound::order(page);
        if let Err(tail) = compound::unmake(page, order) {
            return bad(tail, "a tail is not as it should be");
        }
    }
    page.init_flags(PageFlags::empty());
    free(page, order);
}

/// What is left of a raw block, when its owner is done but somebody looked at its first page just then
/// and still has a reference: all but that page is freed, the page by the other's put.
fn free_all_but_first(page: PagePtr, order: Order) {
    if page.flags().contains(PageFlags::HEAD) {
        return;
    }
    for half in Order::all().take_while(|&half| half < order) {
        let rest = page.nth(half.pages());
        rest.init_flags(PageFlags::empty());
        give_large(rest, half);
    }
}

/// Says that a page is not as it should be. Nothing is done with it any more.
#[cold]
#[inline(never)]
pub(super) fn bad(page: PagePtr, what: &str) {
    let history = debug::History(page);
    log::error!("bad page: {what}: {history}");
    if cfg!(debug_assertions) {
        panic!("bad page: {what}: {history}");
    }
}

/// That the pages of a block that goes back are nobody's.
#[cfg(debug_assertions)]
fn check_freed(page: PagePtr, order: Order) {
    for index in 0..order.pages() {
        let each = page.nth(index);
        each.epoch.fetch_add(1, Ordering::Relaxed);
        if each.count().raw() != 0 || !each.flags().is_empty() {
            bad(each, "freed with a reference, a mapping, a type or a flag");
        }
    }
}

/// That the pages of a block that goes out were nobody's.
#[cfg(debug_assertions)]
pub(super) fn check_new(page: PagePtr, order: Order) {
    for index in 0..order.pages() {
        let each = page.nth(index);
        let count = if index == 0 { 1 } else { 0 };
        // Somebody who tries every frame (`try_get`) may have a reference to the first page already.
        let raw = each.count().raw();
        if raw != count && !(index == 0 && raw >> 32 == 0 && raw > 1) || !each.flags().is_empty() {
            bad(each, "not free, but on a free list");
        }
    }
}
