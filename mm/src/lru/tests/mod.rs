//! What the lists say, and what they are to say.

mod model;
mod threads;

use super::list::PlaceOf;
use super::*;
use crate::addr::Order;
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::page_alloc::{FolioRef, alloc_folio, free_pages_count};

const RAM: usize = if cfg!(miri) { 2 << 20 } else { 8 << 20 };
/// Pages of a hart's batch, and one more.
const MANY: usize = 32;

fn anon() -> FolioRef {
    let folio = alloc_folio(Gfp::HIGHUSER_MOVABLE, Order::ZERO).unwrap();
    folio.set_flags(PageFlags::SWAPBACKED | PageFlags::UPTODATE);
    folio
}

fn file() -> FolioRef {
    alloc_folio(Gfp::HIGHUSER_MOVABLE, Order::ZERO).unwrap()
}

/// A folio that is on its list.
fn listed(folio: FolioRef) -> FolioRef {
    add(&folio);
    drain();
    assert!(folio.flags().contains(PageFlags::LRU));
    folio
}

fn pages(list: LruList) -> u64 {
    stat::read(list.item())
}

fn all_pages() -> [u64; LruList::COUNT] {
    LruList::ALL.map(pages)
}

fn check() {
    assert_eq!(validate(), Ok(()));
    // Which takes Miri a thousand times longer.
    if !cfg!(miri) {
        assert_eq!(crate::page::validate(), Ok(()));
    }
}

/// The pages of a list from the front on.
fn order_of(list: LruList) -> Vec<u64> {
    lock().lists.iter(list as u32).map(|(page, _)| page.pfn().get()).collect()
}

#[test]
fn a_full_batch_goes_to_the_lists_newest_first() {
    let _machine = HostMachine::new(RAM, 1);
    let folios: Vec<_> = (0..MANY).map(|_| anon()).collect();
    folios[..MANY - 1].iter().for_each(|folio| add(folio));
    assert_eq!(all_pages(), [0; 5]);
    check();
    add(&folios[MANY - 1]);
    assert_eq!(all_pages(), [0, 0, MANY as u64 - 1, 0, 0]);
    check();
    drain();
    assert_eq!(pages(LruList::InactiveAnon), MANY as u64);
    let newest_first: Vec<_> = folios.iter().rev().map(|folio| folio.pfn().get()).collect();
    assert_eq!(order_of(LruList::InactiveAnon), newest_first);
    check();
    drop(folios);
    assert_eq!(all_pages(), [0; 5]);
    check();
}

/// No batch has a reference: what nobody has is free.
#[test]
fn a_page_in_a_batch_is_freed_at_once() {
    let machine = HostMachine::new(RAM, 2);
    let before = free_pages_count();
    let (here, there) = (anon(), anon());
    add(&here);
    machine.enter(1);
    add(&there);
    assert_eq!((here.refcount(), there.refcount()), (1, 1));
    drop(here);
    drop(there);
    assert_eq!(free_pages_count(), before);
    check();
    // The slots are not used again before the batch is emptied, and nothing comes of them.
    drain_all();
    assert_eq!(all_pages(), [0; 5]);
    check();
}

#[test]
fn flags_say_which_list_a_page_goes_to() {
    let _machine = HostMachine::new(RAM, 1);
    let folios = [file(), file(), anon(), anon()];
    folios[1].set_flags(PageFlags::ACTIVE);
    folios[3].set_flags(PageFlags::ACTIVE);
    folios.iter().for_each(|folio| add(folio));
    drain();
    assert_eq!(all_pages(), [1, 1, 1, 1, 0]);
    for (folio, list) in folios.iter().zip(LruList::ALL) {
        assert_eq!(LruList::of(folio.flags()), list);
        assert_eq!(order_of(list), [folio.pfn().get()]);
    }
    check();
}

#[test]
fn a_page_used_twice_becomes_active() {
    let _machine = HostMachine::new(RAM, 1);
    let folios = [listed(file()), listed(anon())];
    for folio in &folios {
        mark_accessed(folio);
        assert!(folio.flags().contains(PageFlags::REFERENCED | PageFlags::LRU));
        assert!(!folio.flags().contains(PageFlags::ACTIVE));
        mark_accessed(folio);
        assert!(folio.flags().contains(PageFlags::ACTIVE) && !folio.flags().contains(PageFlags::REFERENCED));
        mark_accessed(folio);
        mark_accessed(folio);
        assert!(folio.flags().contains(PageFlags::ACTIVE | PageFlags::REFERENCED));
    }
    assert_eq!(all_pages(), [0, 1, 0, 1, 0]);
    assert_eq!(stat::read(Item::PgActivate), 2);
    check();
    folios.iter().for_each(|folio| deactivate(folio));
    assert!(folios.iter().all(|folio| !folio.flags().intersects(PageFlags::ACTIVE | PageFlags::REFERENCED)));
    assert_eq!((all_pages(), stat::read(Item::PgDeactivate)), ([1, 0, 1, 0, 0], 2));
    check();
}

#[test]
fn a_page_that_waits_in_a_batch_goes_to_the_active_list_if_used_meanwhile() {
    let _machine = HostMachine::new(RAM, 1);
    let folio = anon();
    add(&folio);
    mark_accessed(&folio);
    mark_accessed(&folio);
    check();
    drain();
    assert_eq!(all_pages(), [0, 0, 0, 1, 0]);
    check();
}

#[test]
fn a_touch_moves_to_the_front() {
    let _machine = HostMachine::new(RAM, 1);
    let folios: Vec<_> = (0..3).map(|_| listed(file())).collect();
    let [a, b, c] = [0, 1, 2].map(|at: usize| folios[at].pfn().get());
    assert_eq!(order_of(LruList::InactiveFile), [c, b, a]);
    lock().touch([&*folios[0]]);
    assert_eq!(order_of(LruList::InactiveFile), [a, c, b]);
    lock().touch([&*folios[2]]);
    assert_eq!(order_of(LruList::InactiveFile), [c, a, b]);
    lock().touch([&*folios[2]]);
    assert_eq!(order_of(LruList::InactiveFile), [c, a, b]);
    check();
}

#[test]
fn a_locked_page_is_counted_and_on_no_list() {
    let _machine = HostMachine::new(RAM, 1);
    // From a list, the active one too, and from a batch.
    let folios = [listed(anon()), listed(file()), anon(), listed(anon())];
    add(&folios[2]);
    activate(&folios[3]);
    folios.iter().for_each(|folio| mlock(folio));
    assert_eq!((all_pages(), stat::read(Item::Mlock)), ([0, 0, 0, 0, 4], 4));
    assert_eq!(stat::read(Item::UnevictablePgsMlocked), 4);
    check();
    // Twice locked, once unlocked: it stays.
    mlock(&folios[0]);
    munlock(&folios[0]);
    assert_eq!(stat::read(Item::Mlock), 4);
    // Use makes it no more than referenced.
    mark_accessed(&folios[0]);
    mark_accessed(&folios[0]);
    check();
    munlock(&folios[0]);
    munlock(&folios[1]);
    munlock(&folios[3]);
    assert_eq!((all_pages(), stat::read(Item::Mlock)), ([1, 0, 2, 0, 1], 1));
    // Once too often changes nothing.
    munlock(&folios[0]);
    check();
    drop(folios);
    assert_eq!((all_pages(), stat::read(Item::Mlock)), ([0; 5], 0));
    assert_eq!(stat::read(Item::UnevictablePgsCleared), 1);
    assert_eq!(stat::read(Item::UnevictablePgsMunlocked), 3);
    check();
}

/// A page that is nobody's to reclaim is left alone.
#[test]
fn what_was_never_added_is_not_locked() {
    let _machine = HostMachine::new(RAM, 1);
    let folio = anon();
    mlock(&folio);
    munlock(&folio);
    activate(&folio);
    deactivate(&folio);
    assert_eq!(folio.flags(), PageFlags::SWAPBACKED | PageFlags::UPTODATE);
    check();
}

#[test]
fn a_large_folio_counts_all_its_pages() {
    let _machine = HostMachine::new(RAM, 1);
    let folio = alloc_folio(Gfp::HIGHUSER_MOVABLE, Order::new(3).unwrap()).unwrap();
    folio.set_flags(PageFlags::SWAPBACKED);
    let folio = listed(folio);
    assert_eq!(all_pages(), [0, 0, 8, 0, 0]);
    activate(&folio);
    assert_eq!(all_pages(), [0, 0, 0, 8, 0]);
    check();
    mlock(&folio);
    assert_eq!((all_pages(), stat::read(Item::Mlock)), ([0, 0, 0, 0, 8], 8));
    check();
    let before = free_pages_count();
    drop(folio);
    assert_eq!((all_pages(), free_pages_count()), ([0; 5], before + 8));
    check();
}

#[test]
fn damage_is_seen() {
    let _machine = HostMachine::new(RAM, 1);
    let folios: Vec<_> = (0..3).map(|_| listed(file())).collect();
    let word = &folios[1].arm().lru_prev;
    let old = word.load(Relaxed);
    word.store(PlaceOf::page(folios[1].as_page()).number(), Relaxed);
    assert!(validate().is_err());
    word.store(old, Relaxed);
    check();
    folios[1].set_flags(PageFlags::ACTIVE);
    assert!(validate().is_err() && (cfg!(miri) || crate::page::validate().is_err()));
    folios[1].clear_flags(PageFlags::ACTIVE);
    change(&memory().lru.pages[folios[0].head().zone() as usize][0], 1);
    assert!(validate().is_err() && (cfg!(miri) || crate::page::validate().is_err()));
    change(&memory().lru.pages[folios[0].head().zone() as usize][0], -1);
    check();
}
