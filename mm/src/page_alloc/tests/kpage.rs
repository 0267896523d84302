//! What `/proc/kpageflags` and `/proc/kpagecount` say of frames.

use super::*;
use crate::page::TailArm;
use crate::page_alloc::kpage::{page_count, page_flags};
use std::sync::atomic::Ordering::Relaxed;

/// The set of these bits.
fn bits<const N: usize>(bits: [u32; N]) -> u64 {
    bits.iter().fold(0, |all, bit| all | 1 << bit)
}

/// The numbers are those of `include/uapi/linux/kernel-page-flags.h` and `include/linux/kernel-page-flags.h`.
#[test]
fn each_state_has_linuxs_number() {
    let machine = HostMachine::new(RAM, 1);
    let page = alloc_folio(Gfp::HIGHUSER_MOVABLE, Order::ZERO).unwrap();
    assert_eq!(page_flags(page.pfn()), 0);
    for (flag, bit) in [
        (PageFlags::LOCKED, 0),
        (PageFlags::REFERENCED, 2),
        (PageFlags::UPTODATE, 3),
        (PageFlags::DIRTY, 4),
        (PageFlags::LRU, 5),
        (PageFlags::ACTIVE, 6),
        (PageFlags::WRITEBACK, 8),
        (PageFlags::RECLAIM, 9),
        (PageFlags::SWAPBACKED, 14),
        (PageFlags::UNEVICTABLE, 18),
        (PageFlags::HWPOISON, 19),
        (PageFlags::RESERVED, 32),
        (PageFlags::MLOCKED, 33),
        (PageFlags::PRIVATE, 35),
        (PageFlags::OWNER_PRIV, 37),
    ] {
        page.set_flags(flag);
        assert_eq!(page_flags(page.pfn()), bits([bit]), "{flag:?}");
        page.clear_flags(flag);
    }
    // Anonymous and mapped; whose alone it is, is not told.
    assert_eq!(page.map_page(0), Some(0));
    page.set_mapping(MappingWord::Anon(64));
    page.set_flags(PageFlags::SWAPBACKED | PageFlags::ANON_EXCLUSIVE);
    assert_eq!((page_flags(page.pfn()), page_count(page.pfn())), (bits([11, 12, 14]), 1));
    assert_eq!(page.unmap_page(0), 0);
    page.clear_flags(PageFlags::ANON_EXCLUSIVE);
    page.set_mapping(MappingWord::None);
    drop(page);
    // Any large folio of a user is said to be a huge page.
    for size in [2, 9] {
        let large = alloc_folio(Gfp::HIGHUSER_MOVABLE, order(size)).unwrap();
        large.set_flags(PageFlags::SWAPBACKED);
        assert_eq!(page_flags(large.pfn()), bits([14, 15, 22]));
        assert_eq!(page_flags(large.pfn() + 1), bits([14, 16, 22]));
        large.clear_flags(PageFlags::SWAPBACKED);
        drop(large);
    }
    drain_pcp();
    assert_eq!(page_flags(RAM_BASE.pfn() + 5) & bits([10]), bits([10]), "within a free block");
    assert_eq!((page_flags(Pfn::new(3)), page_count(Pfn::new(3))), (bits([20]), 0));
    drop(machine);
}

/// Who looks at a page that it has no reference to may find the flags of one owner and the words of the next.
#[test]
fn words_that_changed_meanwhile_lead_nowhere() {
    let machine = HostMachine::new(RAM, 1);
    let folio = alloc_folio(Gfp::HIGHUSER_MOVABLE, order(2)).unwrap();
    let pfn = folio.pfn() + 2;
    let tail = folio.page(2);
    let own = tail.as_ptr().addr();
    let word = &tail.arm::<TailArm>().head;
    let head = word.load(Relaxed);
    for odd in [0, 8, 0x1234_5678_9abc_def0, own + 64, own - 8, own - (64 << 20)] {
        word.store(head.with_addr(odd), Relaxed);
        assert_eq!(page_flags(pfn), bits([16]), "{odd:#x}");
        assert_eq!(page_count(pfn), 0);
        assert!(FolioRef::try_get(pfn).is_none(), "{odd:#x}");
    }
    word.store(head, Relaxed);
    assert!(FolioRef::try_get(pfn).is_some_and(|other| other == folio));
    drop(folio);
    drop(machine);
}
