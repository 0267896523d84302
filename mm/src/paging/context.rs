//! Which harts run an address space, and what their TLBs may still hold of it.
//!
//! A hart that runs an address space is fenced by a message. One that does not, but may hold translations from
//! before, gets its bit in `stale` and drops them when it comes to run it again: no message for it. Three steps in
//! this order, all sequentially consistent, make that safe. Who changed tables: (1) sets `stale` of the other
//! harts, (2) reads `running`, (3) sends to those. Who switches: (1) sets its `running`, (2) gets the ASID, (3)
//! takes its `stale`. Either the switcher sees the bit, and the changed tables with it, or the other one sees
//! it running. Linux: `arch/riscv/mm/context.c` (`icache_stale_mask` works like this), x86's `switch_mm_irqs_off`.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use rux_machine::cold::{self, Fence};
use rux_machine::{AtomicHartMask, HartMask, Hot, HotExt, Hw, MAX_HARTS, PreemptGuard};

use super::asid;
use super::flush;
use super::kernel;
use super::level::satp;
use super::tables::PageTables;
use crate::addr::{VirtAddr, VirtRange};
use crate::memory::memory;

/// Up to so many base pages are fenced by address, more as a whole (Linux: `tlb_flush_all_threshold`).
const MAX_PAGES: u64 = 64;

/// What the TLBs may hold of one address space.
#[derive(Debug)]
pub(super) struct Context {
    /// Generation and ASID; see [`super::asid`].
    id: AtomicU64,
    /// Harts whose `satp` has the root, or is about to.
    running: AtomicHartMask,
    /// Harts that fence the ASID before they run it.
    stale: AtomicHartMask,
    /// Harts that fetch instructions anew before they run it.
    stale_instructions: AtomicHartMask,
}

impl Context {
    pub(super) const fn new() -> Self {
        Self {
            id: AtomicU64::new(0),
            running: AtomicHartMask::new(),
            stale: AtomicHartMask::new(),
            stale_instructions: AtomicHartMask::new(),
        }
    }

    /// Whether no hart runs it.
    pub(super) fn is_idle(&self) -> bool {
        self.running.load().is_empty()
    }

    /// Fences here and on every other hart that runs it; the rest fence when they come to run it. What the caller
    /// wrote before is seen by all of them afterwards.
    fn fence(&self, local: impl FnOnce(u16), remote: impl FnOnce(u16) -> Fence) {
        // What was written to the tables is ordered before the reads of who runs.
        fence(Ordering::SeqCst);
        let guard = PreemptGuard::new();
        let me = guard.hart();
        let others = HartMask::first(MAX_HARTS).without(me);
        self.stale.insert(others);
        let running = self.running.load();
        let asid = self.id.load(Ordering::SeqCst) as u16;
        if running.contains(me) {
            local(asid);
        } else {
            self.stale.set(me);
        }
        flush::remote(running.without(me), remote(asid));
    }
}

impl PageTables {
    /// Makes this hart translate with these tables, and no longer with those of `previous` (`None`: the kernel's
    /// own). Pre-emption is off. Neither is dropped while a hart runs it, which includes borrowing by a kernel thread.
    pub fn switch_to(&self, previous: Option<&PageTables>) {
        if previous.is_some_and(|previous| core::ptr::eq(previous, self)) {
            return;
        }
        let hart = Hw::hart();
        let asids = &memory().paging.asids;
        self.context.running.set(hart);
        let asid = asids.activate(&self.context.id, hart);
        let stale = self.context.stale.take(hart) || !asids.are_kept();
        // SAFETY: the root maps the kernel as every root does (`PageTables::new`), and outlives the switch.
        unsafe { Hw::set_satp(satp(self.mode(), self.root(), asid)) };
        if stale {
            flush::space(asid);
        }
        if self.context.stale_instructions.take(hart) {
            Hw::fence_instructions();
        }
        if let Some(previous) = previous {
            previous.context.running.clear(hart);
        }
    }

    /// Makes this hart translate with the kernel's own tables, and no longer with these. Pre-emption is off.
    pub fn leave(&self) {
        // SAFETY: the kernel's own tables are there for good.
        unsafe { Hw::set_satp(kernel::satp_value()) };
        self.context.running.clear(Hw::hart());
    }

    /// Fences the leaves of `range` on every hart that may hold them. Spin locks may be held, but with interrupts on.
    pub fn fence_range(&self, range: VirtRange) {
        if range.pages() > MAX_PAGES {
            return self.fence_all();
        }
        let pages = range.pages() as usize;
        self.context.fence(
            |asid| flush::pages(range.start.get(), pages, asid),
            |asid| Fence::Pages { asid, start: range.start.get(), pages },
        );
    }

    /// Fences the whole address space on every hart that may hold some of it. As [`PageTables::fence_range`].
    pub fn fence_all(&self) {
        self.context.fence(flush::space, Fence::Asid);
    }

    /// Fences `addr` on this hart alone: after a fault that found the entry good already, since a hart may
    /// remember that an entry was not valid (Linux: `update_mmu_cache`). The hart runs these tables.
    pub fn fence_spurious(&self, addr: VirtAddr) {
        let asid = self.context.id.load(Ordering::Relaxed) as u16;
        flush::pages(addr.page_floor().get(), 1, asid);
    }

    /// Every hart that runs the address space fetches instructions anew before it goes on, the others when they
    /// come to run it (`riscv_flush_icache`; Linux: `flush_icache_mm`).
    pub fn fence_instructions(&self) {
        // What was written is ordered before the reads of who runs.
        fence(Ordering::SeqCst);
        let guard = PreemptGuard::new();
        let me = guard.hart();
        self.context.stale_instructions.insert(HartMask::first(MAX_HARTS).without(me));
        Hw::fence_instructions();
        cold::remote_fence(self.context.running.load().without(me), Fence::Instructions);
    }
}

/// Finds out how many bits of ASID this hart keeps, once at boot, for `harts` harts, and uses them; too few for the
/// harts are as none, 0. The hart runs on the kernel's published tables.
pub fn probe_asids(harts: usize) -> u32 {
    let found = asid::probe_bits(kernel::mode(), kernel::root());
    // What runs keeps its ASID over generations, and each switch needs one more; ASID 0 is the kernel's.
    let bits = if 1usize << found > 2 * harts + 1 { found } else { 0 };
    memory().paging.asids.set_bits(bits);
    bits
}
