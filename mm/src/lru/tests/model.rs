//! Random operations, and a model of vectors that does the same.

use super::*;

/// Numbers that are the same in every run (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// One folio, and what it is to be.
struct Known {
    folio: FolioRef,
    anon: bool,
    active: bool,
    referenced: bool,
    /// How often locked.
    locked: u32,
    batched: bool,
}

impl Known {
    fn list(&self) -> LruList {
        match (self.locked != 0, self.anon, self.active) {
            (true, ..) => LruList::Unevictable,
            (false, false, false) => LruList::InactiveFile,
            (false, false, true) => LruList::ActiveFile,
            (false, true, false) => LruList::InactiveAnon,
            (false, true, true) => LruList::ActiveAnon,
        }
    }
}

struct Model {
    known: Vec<Known>,
    /// Frames of each list, the newest last.
    lists: [Vec<u64>; LruList::COUNT],
    /// Frames of each hart's batch, with nothing for what was taken out.
    batches: [Vec<Option<u64>>; 2],
    hart: usize,
}

impl Model {
    fn leave_list(&mut self, at: usize) {
        let pfn = self.known[at].folio.pfn().get();
        let list = &mut self.lists[self.known[at].list() as usize];
        list.retain(|other| *other != pfn);
    }

    fn enter_list(&mut self, at: usize) {
        let pfn = self.known[at].folio.pfn().get();
        self.lists[self.known[at].list() as usize].push(pfn);
    }

    fn leave_batch(&mut self, at: usize) {
        let pfn = self.known[at].folio.pfn().get();
        self.batches.iter_mut().flatten().filter(|slot| **slot == Some(pfn)).for_each(|slot| *slot = None);
        self.known[at].batched = false;
    }

    fn drain(&mut self, hart: usize) {
        for pfn in self.batches[hart].clone().into_iter().flatten() {
            let at = self.known.iter().position(|known| known.folio.pfn().get() == pfn).unwrap();
            self.known[at].batched = false;
            self.enter_list(at);
        }
        self.batches[hart].iter_mut().for_each(|slot| *slot = None);
    }

    fn add(&mut self, known: Known) {
        if self.batches[self.hart].len() == MANY - 1 {
            self.drain(self.hart);
            self.batches[self.hart].clear();
        }
        add(&known.folio);
        self.batches[self.hart].push(Some(known.folio.pfn().get()));
        self.known.push(known);
    }

    fn free(&mut self, at: usize) {
        if self.known[at].batched {
            self.leave_batch(at);
        } else {
            self.leave_list(at);
        }
        self.known.swap_remove(at);
    }

    fn activate(&mut self, at: usize) {
        if !self.known[at].active && self.known[at].locked == 0 {
            if self.known[at].batched {
                self.known[at].active = true;
            } else {
                self.leave_list(at);
                self.known[at].active = true;
                self.enter_list(at);
            }
        }
    }

    fn mark_accessed(&mut self, at: usize) {
        mark_accessed(&self.known[at].folio);
        let known = &mut self.known[at];
        if !known.referenced {
            known.referenced = true;
        } else if !known.active && known.locked == 0 {
            known.referenced = false;
            self.activate(at);
        }
    }

    fn deactivate(&mut self, at: usize) {
        deactivate(&self.known[at].folio);
        let known = &self.known[at];
        if known.active && !known.batched && known.locked == 0 {
            self.leave_list(at);
            self.known[at].active = false;
            self.known[at].referenced = false;
            self.enter_list(at);
        }
    }

    fn mlock(&mut self, at: usize) {
        mlock(&self.known[at].folio);
        if self.known[at].locked == 0 {
            if self.known[at].batched {
                self.leave_batch(at)
            } else {
                self.leave_list(at)
            }
            self.known[at].active = false;
            self.known[at].locked = 1;
            self.enter_list(at);
        } else {
            self.known[at].locked += 1;
        }
    }

    fn munlock(&mut self, at: usize) {
        munlock(&self.known[at].folio);
        match self.known[at].locked {
            0 => {}
            1 => {
                self.leave_list(at);
                self.known[at].locked = 0;
                self.enter_list(at);
            }
            _ => self.known[at].locked -= 1,
        }
    }

    fn touch(&mut self, at: usize) {
        let known = &self.known[at];
        if !known.batched && known.locked == 0 {
            lock().touch([&*known.folio]);
            self.leave_list(at);
            self.enter_list(at);
        }
    }

    fn check(&self) {
        check();
        for list in LruList::ALL {
            let kept = &self.lists[list as usize];
            assert_eq!(pages(list), kept.len() as u64);
            if list != LruList::Unevictable {
                assert_eq!(order_of(list), kept.iter().rev().copied().collect::<Vec<_>>(), "{list:?}");
            }
        }
        assert_eq!(stat::read(Item::Mlock), self.lists[LruList::Unevictable as usize].len() as u64);
        for known in &self.known {
            let flags = known.folio.flags();
            assert_eq!(flags.contains(PageFlags::LRU_BATCH), known.batched);
            assert_eq!(flags.contains(PageFlags::REFERENCED), known.referenced);
            assert_eq!(LruList::of(flags), known.list());
            assert_eq!(known.folio.refcount(), 1);
        }
    }
}

#[test]
fn random_operations_do_what_the_model_does() {
    let machine = HostMachine::new(RAM, 2);
    let (rounds, seeds) = if cfg!(miri) { (300, 1) } else { (4_000, 4) };
    for seed in 1..=seeds {
        let mut random = Random(seed << 32 | 0x9e37_79b9);
        let mut model =
            Model { known: Vec::new(), lists: Default::default(), batches: Default::default(), hart: 0 };
        for round in 0..rounds {
            if random.below(16) == 0 {
                model.hart = random.below(2);
                machine.enter(model.hart);
            }
            let pick = random.below(model.known.len().max(1));
            match random.below(20) {
                _ if model.known.is_empty() => model.add(new(&mut random)),
                0..6 if model.known.len() < 200 => model.add(new(&mut random)),
                0..10 => model.free(pick),
                10..13 => model.mark_accessed(pick),
                13 => {
                    activate(&model.known[pick].folio);
                    model.activate(pick);
                }
                14 => model.deactivate(pick),
                15 => model.mlock(pick),
                16 | 17 => model.munlock(pick),
                18 => model.touch(pick),
                _ if random.below(8) == 0 => {
                    drain_all();
                    // In that order: this hart's first.
                    model.drain(model.hart);
                    model.batches[model.hart].clear();
                    model.drain(1 - model.hart);
                }
                _ => {
                    drain();
                    model.drain(model.hart);
                    model.batches[model.hart].clear();
                }
            }
            if round % if cfg!(miri) { 50 } else { 16 } == 0 {
                model.check();
            }
        }
        model.check();
        drop(model);
        drain_all();
        assert_eq!(all_pages(), [0; 5]);
    }
}

fn new(random: &mut Random) -> Known {
    let is_anon = random.below(2) == 0;
    let folio = if is_anon { anon() } else { file() };
    Known { folio, anon: is_anon, active: false, referenced: false, locked: 0, batched: true }
}
