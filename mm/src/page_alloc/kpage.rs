//! What a frame is, as `/proc/kpagecount` and `/proc/kpageflags` show it (Linux: `fs/proc/page.c`,
//! `include/uapi/linux/kernel-page-flags.h`). Looked at from afar: what is seen may be past when it is read.

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::{Order, Pfn};
use crate::page::{FolioArm, MappingWord, Page, PageFlags, PageType, pfn_to_online_page};

/// How many entries map the frame; 0 where there is no memory.
pub fn page_count(pfn: Pfn) -> u64 {
    pfn_to_online_page(pfn).map_or(0, |page| page.mapcount().into())
}

/// Bits of `/proc/kpageflags`; the numbers are the interface's.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Kpf {
    Locked = 0,
    Error = 1,
    Referenced = 2,
    Uptodate = 3,
    Dirty = 4,
    Lru = 5,
    Active = 6,
    Slab = 7,
    Writeback = 8,
    Reclaim = 9,
    Buddy = 10,
    Mmap = 11,
    Anon = 12,
    SwapCache = 13,
    SwapBacked = 14,
    CompoundHead = 15,
    CompoundTail = 16,
    Unevictable = 18,
    Hwpoison = 19,
    NoPage = 20,
    Thp = 22,
    ZeroPage = 24,
    PgTable = 26,
    Reserved = 32,
    Mlocked = 33,
    Private = 35,
    OwnerPrivate = 37,
}

/// The page of a frame as a set of the interface's bits.
pub fn page_flags(pfn: Pfn) -> u64 {
    match pfn_to_online_page(pfn) {
        Some(page) => stable_flags(&page),
        None => 1 << Kpf::NoPage as u32,
    }
}

fn stable_flags(page: &Page) -> u64 {
    const FLAGS: [(PageFlags, Kpf); 17] = [
        (PageFlags::LOCKED, Kpf::Locked),
        (PageFlags::ERROR, Kpf::Error),
        (PageFlags::REFERENCED, Kpf::Referenced),
        (PageFlags::UPTODATE, Kpf::Uptodate),
        (PageFlags::DIRTY, Kpf::Dirty),
        (PageFlags::LRU, Kpf::Lru),
        (PageFlags::ACTIVE, Kpf::Active),
        (PageFlags::WRITEBACK, Kpf::Writeback),
        (PageFlags::RECLAIM, Kpf::Reclaim),
        (PageFlags::SWAPCACHE, Kpf::SwapCache),
        (PageFlags::SWAPBACKED, Kpf::SwapBacked),
        (PageFlags::UNEVICTABLE, Kpf::Unevictable),
        (PageFlags::RESERVED, Kpf::Reserved),
        (PageFlags::MLOCKED, Kpf::Mlocked),
        (PageFlags::PRIVATE, Kpf::Private),
        (PageFlags::OWNER_PRIV, Kpf::OwnerPrivate),
        (PageFlags::HWPOISON, Kpf::Hwpoison),
    ];
    let mut bits = 0;
    let mut set = |bit: Kpf| bits |= 1u64 << bit as u32;
    // Of a tail, the folio's state is its head's.
    let head = page.head_at_a_glance();
    let (own, folio) = (page.flags(), head.flags());
    for (flag, bit) in FLAGS {
        let from = if PageFlags::PER_PAGE.contains(flag) { own } else { folio };
        if from.contains(flag) {
            set(bit);
        }
    }
    match page.page_type() {
        Some(PageType::Buddy) => set(Kpf::Buddy),
        None if head.refcount() == 0 && in_free_block(page) => set(Kpf::Buddy),
        Some(PageType::Slab) => set(Kpf::Slab),
        Some(PageType::Table) => set(Kpf::PgTable),
        Some(_) => {}
        None if head.refcount() != 0 => {
            if page.mapcount() != 0 {
                set(Kpf::Mmap);
            }
            // What is not on a list and not mapped need not be a folio, and has no mapping to speak of.
            let user = folio.intersects(PageFlags::LRU | PageFlags::SWAPBACKED) || page.mapcount() != 0;
            if user && is_anon(&head) {
                set(Kpf::Anon);
            }
            // Of any size, as Linux has it.
            if user && folio.contains(PageFlags::HEAD) {
                set(Kpf::Thp);
            }
            if super::zero::is_zero_page(page) {
                set(Kpf::ZeroPage);
            }
        }
        None => {}
    }
    if own.contains(PageFlags::HEAD) {
        set(Kpf::CompoundHead);
    }
    if own.contains(PageFlags::TAIL) {
        set(Kpf::CompoundTail);
    }
    bits
}

/// Whether a page that was a folio's head a moment ago is of anonymous memory.
fn is_anon(head: &Page) -> bool {
    let mapping = head.arm_unchecked::<FolioArm>().mapping.load(Relaxed);
    matches!(MappingWord::from_bits(mapping), MappingWord::Anon(_))
}

/// Whether the page is within a free block that another page is the first of (Linux: `is_free_buddy_page`).
fn in_free_block(page: &Page) -> bool {
    let pfn = page.pfn();
    Order::all().any(|order| {
        let first = pfn_to_online_page(Pfn::new(pfn.get() & !(order.pages() as u64 - 1)));
        first.and_then(|first| first.count().buddy_order()).is_some_and(|free| free >= order)
    })
}
