//! What a hart remembers of page tables: as much as the specification allows, until it is told to forget.
//!
//! Leaves, entries that lead to tables, and invalid entries, each with the ASID it was read under ("The RISC-V
//! Instruction Set Manual", volume II, "Supervisor Memory-Management Fence Instruction"). Entries
//! go when a fence says so, and now and then by themselves; two for the same address may live side by side, and
//! either may be used.

use crate::rng::Rng;

/// What was read at the end of a walk, or on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// A leaf, with its bits as they were.
    Leaf { entry: u64 },
    /// Entry of that level that leads to the table in frame `pfn`.
    Table { pfn: u64, epoch: u64 },
    /// Nothing valid.
    Invalid,
}

/// One thing remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cached {
    pub(crate) asid: u16,
    /// For all address spaces.
    pub(crate) global: bool,
    /// Level of the entry that was read: 0 for 4 KiB.
    pub(crate) level: u32,
    /// First address that the entry covers.
    pub(crate) start: u64,
    /// Where the entry is, a physical address.
    pub(crate) from: u64,
    /// How often the frame that a leaf leads to had been allocated.
    pub(crate) epoch: u64,
    pub(crate) what: What,
}

impl Cached {
    fn bytes(&self) -> u64 {
        4096 << (9 * self.level)
    }

    fn covers(&self, virt: u64) -> bool {
        virt.wrapping_sub(self.start) < self.bytes()
    }
}

/// One hart's.
#[derive(Debug)]
pub(crate) struct Tlb {
    entries: Vec<Cached>,
    rng: Rng,
    capacity: usize,
    /// Once in so many times something goes by itself, or is not used though it is there; 0: never.
    forgets: u64,
}

impl Tlb {
    pub(crate) fn new(seed: u64, capacity: usize, forgets: u64) -> Self {
        Self { entries: Vec::new(), rng: Rng::new(seed), capacity, forgets }
    }

    /// What it knows of `virt`: a leaf, an invalid entry, or where a walk can go on; any of them, by chance.
    pub(crate) fn find(&mut self, virt: u64, asid: u16) -> Option<Cached> {
        if !self.entries.is_empty() && self.forgets != 0 && self.rng.one_in(self.forgets) {
            let index = self.rng.below(self.entries.len() as u64) as usize;
            self.entries.swap_remove(index);
        }
        let fits = |cached: &&Cached| cached.covers(virt) && (cached.global || cached.asid == asid);
        let found: Vec<&Cached> = self.entries.iter().filter(fits).collect();
        // Once in a while the hart walks although it would not have to.
        if found.is_empty() || self.forgets != 0 && self.rng.one_in(self.forgets) {
            return None;
        }
        if self.forgets == 0 {
            // What answers at once comes before what only shortens a walk.
            return found.iter().min_by_key(|cached| cached.level).map(|cached| **cached);
        }
        Some(**self.rng.pick(&found))
    }

    pub(crate) fn keep(&mut self, cached: Cached) {
        if self.entries.contains(&cached) {
            return;
        }
        if self.entries.len() >= self.capacity {
            let index = self.rng.below(self.entries.len() as u64) as usize;
            self.entries.swap_remove(index);
        }
        self.entries.push(cached);
    }

    /// Forgets this very thing.
    pub(crate) fn forget(&mut self, cached: &Cached) {
        self.entries.retain(|entry| entry != cached);
    }

    /// `sfence.vma virt, asid`: leaves, and invalid entries where a leaf was looked for, not the way there; none that
    /// is global.
    pub(crate) fn fence_page(&mut self, virt: u64, asid: u16) {
        self.entries.retain(|entry| {
            let leaf = !matches!(entry.what, What::Table { .. });
            !(leaf && !entry.global && entry.asid == asid && entry.covers(virt))
        });
    }

    /// `sfence.vma x0, asid`: all that is not global.
    pub(crate) fn fence_asid(&mut self, asid: u16) {
        self.entries.retain(|entry| entry.global || entry.asid != asid);
    }

    /// `sfence.vma`.
    pub(crate) fn fence_all(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
}
