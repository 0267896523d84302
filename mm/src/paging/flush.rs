//! Fences of this hart's TLB and requests to other harts for theirs, each counted for `/proc/vmstat` (Linux:
//! `arch/riscv/mm/tlbflush.c`, counted as under `CONFIG_DEBUG_TLBFLUSH`).
//!
//! Boot fences before there is memory to count in, and so does not come through here.

use rux_machine::cold::{self, Fence};
use rux_machine::{HartMask, Hot, Hw};

use crate::addr::PAGE_SIZE;
use crate::stat::{self, Item};

/// Fences `pages` base pages from the virtual address `start` on, in one address space.
#[inline(always)]
pub(super) fn pages(start: u64, pages: usize, asid: u16) {
    for page in 0..pages {
        Hw::fence_page(start + (page * PAGE_SIZE) as u64, asid);
    }
    stat::add(Item::TlbLocalFlushOne, pages as i64);
}

/// Fences one address space.
#[inline(always)]
pub(super) fn space(asid: u16) {
    Hw::fence_asid(asid);
    stat::inc(Item::TlbLocalFlushAll);
}

/// Fences everything.
pub(super) fn all() {
    Hw::fence_all();
    stat::inc(Item::TlbLocalFlushAll);
}

/// Has `harts`, this one left out, fence; returns once they have done it.
#[inline(always)]
pub(super) fn remote(harts: HartMask, fence: Fence) {
    if !harts.is_empty() {
        stat::inc(Item::TlbRemoteFlush);
        stat::add(Item::TlbRemoteFlushReceived, harts.iter().count() as i64);
        cold::remote_fence(harts, fence);
    }
}

/// Does what another hart asked this one for. Pre-emption is off.
pub fn serve_fence(fence: Fence) {
    match fence {
        Fence::Pages { asid, start, pages: count } => pages(start, count, asid),
        Fence::Asid(asid) => space(asid),
        Fence::All => all(),
        Fence::Instructions => Hw::fence_instructions(),
    }
}
