//! Address space identifiers, handed out in generations.
//!
//! An address space keeps its ASID for as long as its generation lasts. When all are handed out, the next
//! generation begins: every hart empties its TLB before it runs an address space of it, and what runs at that
//! moment keeps its ASID. So an ASID never names two address spaces in one TLB. Where the harts
//! have too few, all share ASID 0, and a switch empties the TLB. ASID 0 is nobody's otherwise: the kernel's own
//! tables run under it. Linux: `arch/riscv/mm/context.c`.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rux_machine::{HartMask, Hot, Hw, MAX_HARTS};

use super::flush;
use super::level::satp;
use crate::addr::Pfn;
use crate::sync::{Rank, SpinLock};

/// The most bits that `satp` has for an ASID.
const MAX_BITS: u32 = 16;
/// Where the generation starts in an [`Asids`] identifier.
const GENERATION: u64 = 1 << MAX_BITS;

/// Which are handed out.
#[derive(Debug)]
struct Map {
    used: [u64; (1 << MAX_BITS) / 64],
    /// Where the search goes on.
    next: u16,
    /// What each hart ran when the generation began.
    reserved: [u64; MAX_HARTS],
    /// Harts that have not emptied their TLB since.
    flush: HartMask,
}

/// The machine's ASIDs. An identifier is a generation, and an ASID in its low 16 bits.
#[derive(Debug)]
pub(super) struct Asids {
    /// Bits of an ASID; 0 where there are too few of them.
    bits: AtomicU32,
    generation: AtomicU64,
    /// What each hart runs; 0 when a generation has begun since it switched to that.
    active: [AtomicU64; MAX_HARTS],
    map: SpinLock<Map>,
}

impl Asids {
    pub(super) const fn new() -> Self {
        Self {
            bits: AtomicU32::new(0),
            generation: AtomicU64::new(GENERATION),
            active: [const { AtomicU64::new(0) }; MAX_HARTS],
            map: SpinLock::new(
                Rank::Asid,
                Map {
                    used: [0; (1 << MAX_BITS) / 64],
                    next: 1,
                    reserved: [0; MAX_HARTS],
                    flush: HartMask::EMPTY,
                },
            ),
        }
    }

    /// Says how many bits there are, before the first address space runs.
    pub(super) fn set_bits(&self, bits: u32) {
        self.bits.store(bits, Ordering::Relaxed);
    }

    /// Whether address spaces have ASIDs of their own.
    #[inline(always)]
    pub(super) fn are_kept(&self) -> bool {
        self.bits.load(Ordering::Relaxed) != 0
    }

    /// The ASID that `hart` is to run the address space of identifier `id` under; a new one, if its generation is
    /// over. May empty this hart's TLB. Pre-emption is off.
    #[inline]
    pub(super) fn activate(&self, id: &AtomicU64, hart: usize) -> u16 {
        if !self.are_kept() {
            return 0;
        }
        let active = &self.active[hart % MAX_HARTS];
        let now = id.load(Ordering::SeqCst);
        let before = active.load(Ordering::Relaxed);
        // A generation that begins right now takes `active` away; if it was 0 then, we would not be reserved.
        if before != 0
            && now & !(GENERATION - 1) == self.generation.load(Ordering::Acquire)
            && active.compare_exchange(before, now, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        {
            return now as u16;
        }
        self.renew(id, hart)
    }

    #[cold]
    fn renew(&self, id: &AtomicU64, hart: usize) -> u16 {
        let mut map = self.map.lock();
        let mut now = id.load(Ordering::SeqCst);
        if now & !(GENERATION - 1) != self.generation.load(Ordering::Relaxed) {
            now = self.assign(&mut map, now);
            id.store(now, Ordering::SeqCst);
        }
        if map.flush.contains(hart) {
            map.flush = map.flush.without(hart);
            flush::all();
        }
        self.active[hart % MAX_HARTS].store(now, Ordering::SeqCst);
        now as u16
    }

    /// An identifier of this generation for an address space that had `old`.
    fn assign(&self, map: &mut Map, old: u64) -> u64 {
        let generation = self.generation.load(Ordering::Relaxed);
        let asid = old as u16;
        if asid != 0 {
            // It ran when the generation began, on one or more harts: it keeps its ASID.
            let kept = generation | asid as u64;
            let mut runs = false;
            for reserved in map.reserved.iter_mut().filter(|reserved| **reserved == old) {
                *reserved = kept;
                runs = true;
            }
            // Or nobody took it yet in this generation.
            if runs || map.take(asid) {
                return kept;
            }
        }
        let last = (1u32 << self.bits.load(Ordering::Relaxed)) - 1;
        if let Some(asid) = map.find(last as u16) {
            return generation | asid as u64;
        }
        let generation = generation + GENERATION;
        self.generation.store(generation, Ordering::SeqCst);
        self.begin(map);
        // There are more ASIDs than harts: `probe_asids` sees to that.
        let asid = map.find(last as u16).unwrap_or(last as u16);
        generation | asid as u64
    }

    /// Begins a generation: only what runs is kept.
    fn begin(&self, map: &mut Map) {
        map.used.fill(0);
        map.next = 1;
        for (active, reserved) in self.active.iter().zip(&mut map.reserved) {
            // 0: the hart has not switched since the generation before; what it ran then it runs still.
            let ran = active.swap(0, Ordering::SeqCst);
            if ran != 0 {
                *reserved = ran;
            }
        }
        for index in 0..MAX_HARTS {
            let asid = map.reserved[index] as u16;
            if asid != 0 {
                map.take(asid);
            }
        }
        map.flush = HartMask::first(MAX_HARTS);
    }
}

impl Map {
    /// Takes `asid`; says whether it was free.
    fn take(&mut self, asid: u16) -> bool {
        let word = &mut self.used[asid as usize / 64];
        let bit = 1 << (asid % 64);
        let free = *word & bit == 0;
        *word |= bit;
        free
    }

    /// Takes a free one up to `last`, searching on from where the last search ended.
    fn find(&mut self, last: u16) -> Option<u16> {
        let mut asid = self.next as u32;
        while asid <= last as u32 {
            let free = !self.used[asid as usize / 64] >> (asid % 64);
            if free == 0 {
                asid = (asid / 64 + 1) * 64;
                continue;
            }
            asid += free.trailing_zeros();
            if asid > last as u32 {
                break;
            }
            let asid = asid as u16;
            self.take(asid);
            self.next = asid.saturating_add(1);
            return Some(asid);
        }
        self.next = last;
        None
    }
}

/// How many bits of an ASID this hart keeps: all ones are written to `satp` and read back.
///
/// The hart runs on the kernel's tables at `root`; afterwards too, under ASID 0.
pub(super) fn probe_bits(mode: super::level::Mode, root: Pfn) -> u32 {
    // SAFETY: the same tables as before under another ASID, whose translations are dropped again.
    unsafe { Hw::set_satp(satp(mode, root, u16::MAX)) };
    let kept = (Hw::satp() >> 44) as u16;
    // SAFETY: as above.
    unsafe { Hw::set_satp(satp(mode, root, 0)) };
    Hw::fence_all();
    kept.trailing_ones()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asids(bits: u32) -> Box<Asids> {
        let asids = Box::new(Asids::new());
        asids.set_bits(bits);
        asids
    }

    #[test]
    fn an_asid_is_kept_within_a_generation() {
        let asids = asids(4);
        let spaces: Vec<AtomicU64> = (0..15).map(|_| AtomicU64::new(0)).collect();
        let first: Vec<u16> = spaces.iter().map(|id| asids.activate(id, 0)).collect();
        let again: Vec<u16> = spaces.iter().map(|id| asids.activate(id, 1)).collect();
        assert_eq!(first, again);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 15);
        assert!(!sorted.contains(&0));
    }

    #[test]
    fn what_runs_keeps_its_asid_over_generations() {
        let asids = asids(4);
        let running = AtomicU64::new(0);
        let asid = asids.activate(&running, 1);
        for _ in 0..100 {
            let other = AtomicU64::new(0);
            assert_ne!(asids.activate(&other, 0), asid);
        }
        // On another hart, in a later generation, while it still runs on hart 1.
        assert_eq!(asids.activate(&running, 2), asid);
        assert_eq!(asids.activate(&running, 1), asid);
    }

    #[test]
    fn without_asids_all_are_zero() {
        let asids = asids(0);
        assert_eq!(asids.activate(&AtomicU64::new(0), 0), 0);
    }

    #[test]
    fn two_that_run_at_once_never_share() {
        let asids = asids(3);
        let holders: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
        let rounds = if cfg!(miri) { 15 } else { 5000 };
        std::thread::scope(|scope| {
            for hart in 0..3 {
                let (asids, holders) = (&asids, &holders);
                scope.spawn(move || {
                    let spaces: Vec<AtomicU64> = (0..5).map(|_| AtomicU64::new(0)).collect();
                    for round in 0..rounds {
                        let mine = hart as u64 * 1000 + 1 + (round % 5) as u64;
                        let asid = asids.activate(&spaces[round % 5], hart);
                        let holder = holders[asid as usize].swap(mine, Ordering::SeqCst);
                        assert_eq!(holder, 0, "asid {asid} runs twice");
                        std::thread::yield_now();
                        holders[asid as usize].store(0, Ordering::SeqCst);
                        // The hart runs it until it activates the next: nobody else may get it before.
                    }
                });
            }
        });
    }
}
