//! Translation by the bytes of the page tables, as "The RISC-V Instruction Set Manual", volume II,
//! "Virtual Address Translation Process" says; no Svpbmt, no Svnapot.

use std::sync::atomic::{AtomicU64, Ordering};

use rux_machine::{Hot, Hw};
use rux_mm::addr::{Pfn, PhysAddr};
use rux_mm::page::{PageType, pfn_to_online_page};

use crate::hart::Access;
use crate::machine::{AdMode, Shared};
use crate::tlb::{Cached, Tlb, What};

const V: u64 = 1 << 0;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
const G: u64 = 1 << 5;
const A: u64 = 1 << 6;
const D: u64 = 1 << 7;
const RESERVED: u64 = 0x3ff << 54;

/// A hart's `satp`, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Satp {
    pub(crate) levels: u32,
    pub(crate) asid: u16,
    pub(crate) root: u64,
}

impl Satp {
    /// Of the hart that this thread is.
    pub(crate) fn now() -> Option<Self> {
        let satp = Hw::satp();
        let levels = match satp >> 60 {
            8 => 3,
            9 => 4,
            10 => 5,
            _ => return None,
        };
        Some(Self { levels, asid: (satp >> 44) as u16, root: satp & ((1 << 44) - 1) })
    }
}

fn pfn_of(entry: u64) -> u64 {
    (entry >> 10) & ((1 << 44) - 1)
}

/// The word at a physical address of RAM.
fn word<'a>(phys: u64) -> &'a AtomicU64 {
    // SAFETY: the caller checked that the frame is RAM; it is aligned.
    unsafe { &*Hw::phys_to_virt(phys).cast::<AtomicU64>() }
}

/// Checks that a frame is a page table now.
///
/// # Panics
/// It is not: a walk went through a table that was freed.
fn check_table(shared: &Shared, pfn: u64, virt: u64, how: &str) -> u64 {
    let Some(page) = pfn_to_online_page(Pfn::new(pfn)) else {
        panic!("{how}: a walk for {virt:#x} came to {pfn:#x}, which is no memory");
    };
    let is_table = page.page_type() == Some(PageType::Table) || shared.is_kernel_table(pfn);
    assert!(is_table && page.refcount() > 0, "{how}: a walk for {virt:#x} came to the freed table {page:?}");
    page.epoch()
}

/// Whether `access` by user mode may use a leaf, A and D aside.
fn allows(entry: u64, access: Access) -> bool {
    let right = match access {
        Access::Load => R,
        Access::Store => W,
        Access::Fetch => X,
    };
    entry & right != 0 && entry & U != 0
}

/// What a leaf, remembered or read, says about an access.
enum Verdict {
    /// It may.
    Go,
    /// It may not.
    Fault,
    /// A or D has to be set first.
    Mark,
}

fn judge(entry: u64, access: Access) -> Verdict {
    if !allows(entry, access) {
        Verdict::Fault
    } else if entry & A == 0 || access == Access::Store && entry & D == 0 {
        Verdict::Mark
    } else {
        Verdict::Go
    }
}

/// The physical address of `virt` for `access`; `None` for a page fault. The TLB learns.
pub(crate) fn translate(
    shared: &Shared,
    tlb: &mut Tlb,
    satp: Satp,
    virt: u64,
    access: Access,
) -> Option<PhysAddr> {
    let bits = 12 + 9 * satp.levels;
    if ((virt << (64 - bits)) as i64 >> (64 - bits)) as u64 != virt {
        return None;
    }
    for _ in 0..1000 {
        let from = match tlb.find(virt, satp.asid) {
            Some(Cached { what: What::Invalid, .. }) => return None,
            Some(cached @ Cached { what: What::Leaf { entry }, .. }) => match judge(entry, access) {
                Verdict::Go => {
                    let phys = phys_of(entry, cached.level, virt);
                    check_page(phys, cached.epoch, virt, "TLB");
                    return Some(phys);
                }
                Verdict::Fault => return None,
                // The entry is looked at anew, and this one forgotten.
                Verdict::Mark if shared.ad == AdMode::Hardware => {
                    tlb.forget(&cached);
                    None
                }
                Verdict::Mark => return None,
            },
            Some(cached @ Cached { what: What::Table { .. }, .. }) => Some(cached),
            None => None,
        };
        match walk(shared, tlb, satp, virt, access, from) {
            Walked::Phys(phys) => return Some(phys),
            Walked::Fault => return None,
            Walked::Again => {}
        }
    }
    panic!("the entry of {virt:#x} changes all the time");
}

enum Walked {
    Phys(PhysAddr),
    Fault,
    /// The entry changed while A or D was being set.
    Again,
}

fn phys_of(entry: u64, level: u32, virt: u64) -> PhysAddr {
    let within = virt & ((4096 << (9 * level)) - 1);
    PhysAddr::new((pfn_of(entry) << 12) + within)
}

/// Checks that an access may reach a frame.
///
/// # Panics
/// It is RAM that is free, or was freed and given to somebody else since the translation was read.
pub(crate) fn check_page(phys: PhysAddr, epoch: u64, virt: u64, how: &str) {
    if let Some(page) = pfn_to_online_page(phys.pfn()) {
        let gone = page.head().refcount() == 0 || page.epoch() != epoch;
        assert!(!gone, "{how}: {virt:#x} leads to a page that was freed: {page:?}");
    }
}

fn walk(
    shared: &Shared,
    tlb: &mut Tlb,
    satp: Satp,
    virt: u64,
    access: Access,
    from: Option<Cached>,
) -> Walked {
    let (mut level, mut table, mut global, mut how) = (satp.levels - 1, satp.root, false, "walk");
    if let Some(cached @ Cached { what: What::Table { pfn, epoch }, .. }) = from {
        (level, table, global, how) = (cached.level - 1, pfn, cached.global, "walk from a remembered table");
        assert_eq!(check_table(shared, table, virt, how), epoch, "{how}: for {virt:#x}: the table was freed");
    }
    loop {
        check_table(shared, table, virt, how);
        let shift = 12 + 9 * level;
        let from = (table << 12) + ((virt >> shift) & 511) * 8;
        let entry = word(from).load(Ordering::Acquire);
        let start = virt >> shift << shift;
        let mut cached =
            Cached { asid: satp.asid, global, level, start, from, epoch: 0, what: What::Invalid };
        if entry & V == 0 || entry & (R | W) == W || entry & RESERVED != 0 {
            tlb.keep(cached);
            return Walked::Fault;
        }
        global |= entry & G != 0;
        cached.global = global;
        if entry & (R | W | X) == 0 {
            if level == 0 || entry & (A | D | U) != 0 {
                tlb.keep(cached);
                return Walked::Fault;
            }
            let epoch = check_table(shared, pfn_of(entry), virt, how);
            cached.what = What::Table { pfn: pfn_of(entry), epoch };
            tlb.keep(cached);
            (level, table) = (level - 1, pfn_of(entry));
            continue;
        }
        if pfn_of(entry) & ((1 << (9 * level)) - 1) != 0 {
            return Walked::Fault;
        }
        let phys = phys_of(entry, level, virt);
        let page = pfn_to_online_page(phys.pfn());
        cached.epoch = page.map_or(0, |page| page.epoch());
        let marked = match judge(entry, access) {
            // What may not be used for this access may be for the next.
            Verdict::Fault => {
                if entry & A != 0 {
                    cached.what = What::Leaf { entry };
                    tlb.keep(cached);
                }
                return Walked::Fault;
            }
            Verdict::Go => entry,
            Verdict::Mark if shared.ad == AdMode::Trap => return Walked::Fault,
            Verdict::Mark => {
                let marked = entry | A | if access == Access::Store { D } else { 0 };
                let set = word(from).compare_exchange(entry, marked, Ordering::AcqRel, Ordering::Acquire);
                if set.is_err() {
                    return Walked::Again;
                }
                marked
            }
        };
        check_page(phys, cached.epoch, virt, how);
        cached.what = What::Leaf { entry: marked };
        tlb.keep(cached);
        return Walked::Phys(phys);
    }
}

/// Walks for nobody, as hardware may at any time: what it finds is remembered, and A may be set, never D.
pub(crate) fn speculate(shared: &Shared, tlb: &mut Tlb, satp: Satp, virt: u64) {
    // Through what the TLB knows, or from the root.
    let from = tlb.find(virt, satp.asid).filter(|cached| matches!(cached.what, What::Table { .. }));
    let access = if tlb.rng().one_in(2) { Access::Load } else { Access::Fetch };
    walk(shared, tlb, satp, virt, access, from);
}
