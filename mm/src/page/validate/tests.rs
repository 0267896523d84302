//! That sound pages pass, and that each thing that can be wrong with one is found.

use super::*;
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::page_alloc::{FolioRef, alloc_folio, alloc_pages, drain_pcp};

/// Miri takes its time for each descriptor that is looked at.
const RAM: usize = if cfg!(miri) { 1 << 20 } else { 16 << 20 };

fn order(order: usize) -> Order {
    Order::new(order).unwrap()
}

/// What is found wrong.
#[track_caller]
fn wrong() -> &'static str {
    validate().expect_err("something is wrong").what
}

/// Does something to the page's words, and checks that it is found; puts them back.
#[track_caller]
fn found(page: PagePtr, what: &str, harm: impl FnOnce(PagePtr)) {
    assert_eq!(validate(), Ok(()));
    let (raw, flags) = (page.count().raw(), page.flags());
    harm(page);
    assert_eq!(wrong(), what);
    page.count().set_raw(raw);
    page.init_flags(flags);
    assert_eq!(validate(), Ok(()));
}

fn user_folio(order: Order) -> FolioRef {
    let folio = alloc_folio(Gfp::HIGHUSER_MOVABLE, order).unwrap();
    folio.set_flags(PageFlags::UPTODATE | PageFlags::SWAPBACKED);
    folio
}

#[test]
fn free_and_reserved_pages() {
    let machine = HostMachine::new(RAM, 1);
    drop(alloc_pages(Gfp::KERNEL, Order::ZERO).unwrap());
    drain_pcp();
    let block = {
        let section = memory().memmap.sections().next().unwrap();
        let pages = (0..PAGES_PER_SECTION).map(|index| pfn_to_page(section + index));
        pages
            .into_iter()
            .find(|page| page.count().buddy_order().is_some_and(|order| order.get() > 0))
            .unwrap()
    };
    found(block.nth(1), "a page is free and in use", |page| page.count().set_first());
    found(block.nth(1), "a page is free and in use", |page| page.init_flags(PageFlags::DIRTY));
    found(block, "a free block is not as it should be", |page| page.init_flags(PageFlags::LOCKED));
    found(block, "fewer pages are free than the zones count", |page| page.count().set_raw(0));
    let page = alloc_pages(Gfp::KERNEL, Order::ZERO).unwrap();
    found(page.page(), "the reserved pages are not as many as is said", |page| {
        page.count().set_raw(0);
        page.init_flags(PageFlags::RESERVED);
    });
    found(page.page(), "a reserved page is in use", |page| page.init_flags(PageFlags::RESERVED));
    found(page.page(), "a page that nobody has has flags", |page| {
        page.count().set_raw(0);
        page.init_flags(PageFlags::UPTODATE);
    });
    drop((page, machine));
}

#[test]
fn references_and_types() {
    let machine = HostMachine::new(RAM, 1);
    let page = alloc_pages(Gfp::KERNEL, Order::ZERO).unwrap();
    found(page.page(), "there are too many references to a page", |page| page.count().set_raw(0xc000_0000));
    found(page.page(), "a page is of no known type", |page| page.count().set_raw(1 | 0x8000_0009 << 32));
    found(page.page(), "a kernel page has a user page's flags", |page| {
        page.count().set_type(PageType::Table);
        page.init_flags(PageFlags::ANON_EXCLUSIVE);
    });
    found(page.page(), "nr_slab is too low", |page| page.count().set_type(PageType::Slab));
    drop((page, machine));
}

#[test]
fn mapped_pages() {
    let machine = HostMachine::new(RAM, 1);
    let folio = user_folio(Order::ZERO);
    folio.set_mapping(MappingWord::Anon(64));
    assert_eq!(folio.map_page(0), Some(0));
    assert_eq!(wrong(), "a page of a program is on no LRU list");
    lru::add(&folio);
    assert_eq!(wrong(), "nr_anon_pages is wrong");
    stat::inc(Item::AnonMapped);
    let head = folio.head();
    found(head, "a page is mapped that nobody has", |page| page.count().set_raw(1 << 32));
    found(head, "a folio has more mappings than references", |page| page.count().set_raw(1 | 2 << 32));
    found(head, "a page that is one's alone is mapped twice", |page| {
        page.count().set_raw(2 | 2 << 32);
        page.set_anon_exclusive();
    });
    folio.set_mapping(MappingWord::None);
    assert_eq!(wrong(), "nr_anon_pages is wrong");
    stat::dec(Item::AnonMapped);
    assert_eq!(wrong(), "nr_mapped is wrong");
    assert_eq!(folio.unmap_page(0), 0);
    folio.set_mapping(MappingWord::File(64));
    assert_eq!(wrong(), "nr_shmem is wrong");
    folio.clear_flags(PageFlags::SWAPBACKED);
    assert_eq!(wrong(), "nr_file_pages is wrong");
    stat::inc(Item::FilePages);
    assert_eq!(validate(), Ok(()));
    stat::inc(Item::PageTable);
    assert_eq!(wrong(), "nr_page_table_pages is wrong");
    drop((folio, machine));
}

#[test]
fn listed_pages() {
    let machine = HostMachine::new(RAM, 1);
    let folio = user_folio(Order::ZERO);
    let head = folio.head();
    folio.set_flags(PageFlags::LRU_BATCH);
    assert_eq!(wrong(), "an LRU batch is wrong");
    folio.clear_flags(PageFlags::LRU_BATCH);
    lru::add(&folio);
    found(head, "a page is on an LRU list and in a batch", |page| {
        page.set_flags(PageFlags::LRU);
    });
    lru::drain();
    assert_eq!(validate(), Ok(()));
    found(head, "an LRU counter is wrong", |page| {
        page.set_flags(PageFlags::ACTIVE);
    });
    lru::mlock(&folio);
    let what = "a page is kept in memory and not locked, or the other way about";
    found(head, what, |page| {
        page.clear_flags(PageFlags::MLOCKED);
    });
    let what = "a page is kept in memory that is not counted";
    found(head, what, |page| {
        page.clear_flags(PageFlags::LRU);
    });
    lru::munlock(&folio);
    assert_eq!(validate(), Ok(()));
    drop((folio, machine));
}

#[test]
fn compound_pages() {
    let machine = HostMachine::new(RAM, 1);
    let folio = user_folio(order(2));
    let (head, tail) = (folio.head(), folio.page(2));
    found(tail, "a page of a compound page is no tail", |page| page.init_flags(PageFlags::empty()));
    found(tail, "a tail has references", |page| page.count().set_first());
    found(tail, "a tail has references", |page| page.count().set_type(PageType::Slab));
    found(tail, "a folio's mappings are not those of its pages", |page| page.count().set_raw(1 << 32));
    found(head, "a tail has references", |page| page.init_flags(PageFlags::TAIL));
    // Without their head the tails are nobody's.
    found(head, "a page that nobody has has flags", |page| page.init_flags(PageFlags::empty()));
    let arm = tail.arm::<TailArm>();
    arm.head.store(tail.as_ptr(), Relaxed);
    assert_eq!(wrong(), "a tail is another's");
    arm.head.store(head.as_ptr(), Relaxed);
    let first = folio.page(1);
    let arm = first.arm::<FirstTailArm>();
    arm.order.store(0, Relaxed);
    assert_eq!(wrong(), "a compound page has no order");
    arm.order.store(2, Relaxed);
    assert_eq!(validate(), Ok(()));
    drop((folio, machine));
}
