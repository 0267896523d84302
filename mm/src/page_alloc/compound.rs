//! Making one page of many, and single pages again (Linux: `prep_compound_page`, `free_tail_page_prepare`).

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Order;
use crate::page::{FirstTailArm, PageFlags, PagePtr, TailArm};

/// Makes a compound page of a block that nobody else has; `order` is not 0.
#[inline(never)]
pub(super) fn make(head: PagePtr, order: Order) {
    for index in 1..order.pages() {
        let tail = head.nth(index);
        tail.arm::<TailArm>().head.store(head.as_ptr(), Relaxed);
        tail.init_flags(PageFlags::TAIL);
    }
    let first = head.nth(1);
    let arm = first.arm::<FirstTailArm>();
    arm.order.store(order.get() as u32, Relaxed);
    arm.entire_mapcount.store(0, Relaxed);
    arm.large_mapcount.store(0, Relaxed);
    arm.pincount.store(0, Relaxed);
    head.init_flags(PageFlags::HEAD);
}

/// The order of a compound page.
pub(super) fn order(head: PagePtr) -> Order {
    Order::new(head.nth(1).arm::<FirstTailArm>().order.load(Relaxed) as usize).unwrap_or_default()
}

/// Makes single pages of a compound page that nobody has a reference to. Says which of them is not as
/// it should be, mapped for example, if one is not.
#[inline(never)]
pub(super) fn unmake(head: PagePtr, order: Order) -> Result<(), PagePtr> {
    let mut bad = None;
    let large_mapcount = head.nth(1).arm::<FirstTailArm>().large_mapcount.load(Relaxed);
    if large_mapcount != 0 {
        bad = Some(head);
    }
    for index in 1..order.pages() {
        let tail = head.nth(index);
        let flags = tail.flags() - PageFlags::PER_PAGE;
        if tail.count().raw() != 0
            || flags != PageFlags::TAIL
            || tail.arm::<TailArm>().head.load(Relaxed) != head.as_ptr()
        {
            bad = bad.or(Some(tail));
        }
        tail.init_flags(PageFlags::empty());
    }
    bad.map_or(Ok(()), Err)
}
