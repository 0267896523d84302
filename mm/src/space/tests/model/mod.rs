//! Random operations against a model: a map from page to contents, rights and sharing.

mod resident;

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use super::*;
use resident::Kept;

/// Pages in which everything happens, across the border of two tables.
const BASE: u64 = (2 << 20) - 24 * PAGE;
const PAGES: u64 = 48;
const FILE_PAGES: u64 = 8;
const PROCESSES: usize = 4;

/// A small generator of random numbers (xorshift).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// What one page of a process is.
#[derive(Clone)]
struct Page {
    prot: u32,
    /// The object and the page in it; `None` for private memory of nobody else.
    object: Option<(usize, u64)>,
    shared: bool,
    /// A private copy's byte.
    own: Option<u8>,
    wiped: bool,
    left_out: bool,
    kept: Kept,
}

/// A file, or shared memory: a byte a page, and how many pages it has.
struct Object {
    bytes: Vec<u8>,
    file: Option<(KArc<Mapping>, KArc<dyn VmFile>)>,
}

impl Page {
    /// What a load finds; `None` beyond the end of the object.
    fn byte(&self, objects: &[Object]) -> Option<u8> {
        match (self.own, self.object) {
            (Some(own), _) => Some(own),
            (None, None) => Some(0),
            (None, Some((object, index))) => objects[object].bytes.get(index as usize).copied(),
        }
    }

    /// One of the same mapping, `pages` behind it.
    fn after(&self, pages: u64) -> Self {
        Self { object: self.object.map(|(object, page)| (object, page + pages)), own: None, ..self.clone() }
    }
}

struct World {
    spaces: Vec<Option<KArc<Space>>>,
    models: Vec<BTreeMap<u64, Page>>,
    objects: Vec<Object>,
    random: Random,
    seed: u64,
    /// The operations so far: for whoever has to find out why one went wrong.
    log: Vec<std::string::String>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = self.log.len().saturating_sub(40);
            std::eprintln!("seed {}, after {} operations; the last:", self.seed, self.log.len());
            self.log[last..].iter().for_each(|line| std::eprintln!("  {line}"));
        }
    }
}

impl World {
    fn note(&mut self, what: core::fmt::Arguments<'_>) {
        self.log.push(std::fmt::format(what));
    }

    fn new(seed: u64) -> Self {
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let file = |byte: u8| {
            let (mapping, file) = new_file(&[], true);
            mapping.write(0, &vec![byte; (FILE_PAGES * PAGE) as usize]).unwrap();
            Object { bytes: vec![byte; FILE_PAGES as usize], file: Some((mapping, file)) }
        };
        let mut world = Self {
            spaces: (0..PROCESSES).map(|_| None).collect(),
            models: vec![BTreeMap::new(); PROCESSES],
            objects: vec![file(101), file(102)],
            random,
            seed,
            log: Vec::new(),
        };
        world.spaces[0] = Some(new_space());
        world
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random.below(n)
    }

    /// A live process.
    fn process(&mut self) -> usize {
        loop {
            let process = self.below(PROCESSES as u64) as usize;
            if self.spaces[process].is_some() {
                return process;
            }
        }
    }

    /// A range of pages.
    fn range(&mut self) -> (u64, u64) {
        let start = self.below(PAGES);
        let len = 1 + self.below((PAGES - start).min(12));
        (start, len)
    }

    fn prot(&mut self) -> u32 {
        [0, abi::PROT_READ, RW, RW, RW][self.below(5) as usize]
    }

    fn step(&mut self) {
        match self.below(100) {
            0..=13 => self.map(),
            14..=19 => self.unmap(),
            20..=29 => self.protect(),
            30..=33 => self.drop_pages(),
            34..=39 => self.remap(),
            40..=43 => self.fork(),
            44..=45 => self.exit(),
            46..=47 => self.truncate(),
            48..=50 => self.advise_fork(),
            51..=53 => self.lock(),
            54..=56 => self.populate(),
            57..=58 => self.punch(),
            59..=61 => self.duplicate(),
            62 => self.lock_all(),
            63..=64 => self.advise(),
            65..=80 => self.load(),
            _ => self.store(),
        }
    }

    fn map(&mut self) {
        let process = self.process();
        let (start, len) = self.range();
        let prot = self.prot();
        let space = self.spaces[process].clone().unwrap();
        let addr = BASE + start * PAGE;
        let kind = self.below(5);
        let file = self.below(2) as usize;
        let first = self.below(FILE_PAGES - 1);
        self.note(format_args!(
            "{process}: map {len} at {start}, rights {prot}, kind {kind}, file {file} from {first}"
        ));
        let object = match kind {
            0 | 1 => {
                map(&space, addr, len, prot, PRIVATE | FIXED).unwrap();
                None
            }
            2 => {
                map(&space, addr, len, prot, SHARED | FIXED).unwrap();
                self.objects.push(Object { bytes: vec![0; len as usize], file: None });
                Some((self.objects.len() - 1, 0))
            }
            _ => {
                let flags = if kind == 3 { abi::MAP_PRIVATE } else { abi::MAP_SHARED };
                let behind = self.objects[file].file.as_ref().unwrap().1.clone();
                map_file(&space, &behind, addr, len, prot, flags | FIXED, first * PAGE).unwrap();
                Some((file, first))
            }
        };
        for page in 0..len {
            let object = object.map(|(object, first)| (object, first + page));
            let new = Page {
                prot,
                object,
                shared: matches!(kind, 2 | 4),
                own: None,
                wiped: false,
                left_out: false,
                kept: Kept::No,
            };
            self.models[process].insert(start + page, new);
        }
    }

    fn unmap(&mut self) {
        let process = self.process();
        let (start, len) = self.range();
        self.note(format_args!("{process}: unmap {len} at {start}"));
        let space = self.spaces[process].clone().unwrap();
        space.munmap(at(BASE + start * PAGE), len * PAGE).unwrap();
        self.models[process].retain(|page, _| !(start..start + len).contains(page));
    }

    fn protect(&mut self) {
        let process = self.process();
        let (start, len) = self.range();
        let prot = self.prot();
        self.note(format_args!("{process}: protect {len} at {start}, rights {prot}"));
        let space = self.spaces[process].clone().unwrap();
        let done = space.mprotect(at(BASE + start * PAGE), len * PAGE, prot);
        let model = &mut self.models[process];
        for page in start..start + len {
            let Some(page) = model.get_mut(&page) else {
                assert_eq!(done, Err(MmError::NoMemory));
                return;
            };
            page.protect(&self.objects, prot);
        }
        assert_eq!(done, Ok(()));
    }

    fn drop_pages(&mut self) {
        let process = self.process();
        let (start, len) = self.range();
        self.note(format_args!("{process}: drop {len} at {start}"));
        let space = self.spaces[process].clone().unwrap();
        let done = space.madvise(at(BASE + start * PAGE), len * PAGE, abi::MADV_DONTNEED_LOCKED);
        let model = &mut self.models[process];
        let holes = (start..start + len).any(|page| !model.contains_key(&page));
        assert_eq!(done, if holes { Err(MmError::NoMemory) } else { Ok(()) });
        for page in start..start + len {
            if let Some(page) = model.get_mut(&page) {
                page.own = None;
            }
        }
    }

    fn remap(&mut self) {
        let process = self.process();
        let (start, old_len) = self.range();
        let new_len = 1 + self.below(8);
        let to = self.below(PAGES - new_len.min(PAGES));
        let fixed = self.below(3) != 0;
        let keep = fixed && self.below(4) == 0;
        let new_len = if keep { old_len } else { new_len };
        let flags = match (fixed, keep) {
            (true, true) => abi::MREMAP_MAYMOVE | abi::MREMAP_FIXED | abi::MREMAP_DONTUNMAP,
            (true, false) => abi::MREMAP_MAYMOVE | abi::MREMAP_FIXED,
            _ => 0,
        };
        if to + new_len > PAGES {
            return;
        }
        let space = self.spaces[process].clone().unwrap();
        self.note(format_args!("{process}: remap {old_len} at {start} to {new_len} at {to}, flags {flags}"));
        let (addr, target) = (at(BASE + start * PAGE), at(BASE + to * PAGE));
        let whole = maps(&space)
            .into_iter()
            .find(|(start, pages, _)| (*start..start + pages * PAGE).contains(&addr.get()));
        let done = space.mremap(addr, old_len * PAGE, new_len * PAGE, flags, target);
        let model = &mut self.models[process];
        let clash = start < to + new_len && to < start + old_len;
        let end = if fixed { to } else { start };
        match done {
            Err(MmError::Invalid) => return assert!(fixed && clash && model.contains_key(&start)),
            Err(MmError::Fault) => {
                // Over the border of a mapping. What was at the target, and what was cut off, is gone.
                if fixed && model.contains_key(&start) {
                    assert!(!clash);
                    model.retain(|page, _| !(to..to + new_len).contains(page));
                    if old_len > new_len {
                        model.retain(|page, _| !(start + new_len..start + old_len).contains(page));
                    }
                }
                return;
            }
            Err(MmError::NoMemory) => return assert!(!fixed && new_len > old_len),
            Err(error) => panic!("{error:?}"),
            Ok(now) => assert_eq!(now, at(BASE + end * PAGE)),
        }
        if !fixed && new_len <= old_len {
            // Only the tail goes, whatever it was.
            return model.retain(|page, _| !(start + new_len..start + old_len).contains(page));
        }
        let taken: Vec<Page> =
            (start..start + old_len.min(new_len)).map(|page| model[&page].clone()).collect();
        if keep {
            for page in start..start + old_len {
                model.get_mut(&page).unwrap().own = None;
            }
            // The whole of the mapping is locked no more.
            let (whole, pages, _) = whole.unwrap();
            let first = (whole - BASE) / PAGE;
            for page in first..first + pages {
                model.entry(page).and_modify(|page| page.kept = Kept::No);
            }
        } else {
            model.retain(|page, _| !(start..start + old_len).contains(page));
        }
        if fixed {
            model.retain(|page, _| !(to..to + new_len).contains(page));
        }
        let last = taken.last().unwrap().clone();
        for index in 0..new_len {
            let page = match taken.get(index as usize) {
                Some(page) => page.clone(),
                None => {
                    let mut new = last.after(1 + index - taken.len() as u64);
                    new.keep(&self.objects, new.kept);
                    new
                }
            };
            model.insert(end + index, page);
        }
    }

    fn fork(&mut self) {
        let parent = self.process();
        let Some(child) = (0..PROCESSES).find(|process| self.spaces[*process].is_none()) else { return };
        self.note(format_args!("{parent}: fork {child}"));
        self.spaces[child] = Some(self.spaces[parent].as_ref().unwrap().fork().unwrap());
        let mut model = self.models[parent].clone();
        model.retain(|_, page| !page.left_out);
        for page in model.values_mut() {
            page.own = page.own.filter(|_| !page.wiped);
            page.kept = Kept::No;
        }
        self.models[child] = model;
    }

    fn exit(&mut self) {
        let process = self.process();
        self.note(format_args!("{process}: exit"));
        if self.spaces.iter().filter(|space| space.is_some()).count() > 1 {
            self.spaces[process] = None;
            self.models[process].clear();
        }
    }

    fn truncate(&mut self) {
        let (object, pages) = (self.below(2) as usize, self.below(FILE_PAGES + 1));
        self.note(format_args!("truncate file {object} to {pages}"));
        self.objects[object].file.as_ref().unwrap().0.set_size(pages * PAGE).unwrap();
        self.objects[object].bytes.resize(pages as usize, 0);
        for page in self.models.iter_mut().flat_map(BTreeMap::values_mut) {
            if page.object.is_some_and(|(at, index)| at == object && index >= pages) {
                page.own = None;
            }
        }
    }

    fn advise_fork(&mut self) {
        let process = self.process();
        let (start, len) = self.range();
        let advice = [abi::MADV_WIPEONFORK, abi::MADV_KEEPONFORK, abi::MADV_DONTFORK, abi::MADV_DOFORK]
            [self.below(4) as usize];
        self.note(format_args!("{process}: advice {advice} for {len} at {start}"));
        let space = self.spaces[process].clone().unwrap();
        let done = space.madvise(at(BASE + start * PAGE), len * PAGE, advice);
        for page in start..start + len {
            let Some(page) = self.models[process].get_mut(&page) else {
                assert!(done == Err(MmError::NoMemory) || done == Err(MmError::Invalid));
                continue;
            };
            match advice {
                abi::MADV_WIPEONFORK if page.object.is_some() => {
                    return assert_eq!(done, Err(MmError::Invalid));
                }
                abi::MADV_WIPEONFORK | abi::MADV_KEEPONFORK => page.wiped = advice == abi::MADV_WIPEONFORK,
                _ => page.left_out = advice == abi::MADV_DONTFORK,
            }
        }
    }

    fn load(&mut self) {
        let (process, page) = (self.process(), self.below(PAGES));
        self.check(process, page);
    }

    fn check(&self, process: usize, page: u64) {
        let addr = at(BASE + page * PAGE);
        let got = load(self.spaces[process].as_ref().unwrap(), addr);
        assert_eq!(got, self.expected(process, page), "process {process}, page {page}");
    }

    fn expected(&self, process: usize, page: u64) -> Result<u8, Outcome> {
        let addr = at(BASE + page * PAGE);
        let Some(page) = self.models[process].get(&page) else { return Err(maperr(addr)) };
        if page.prot == 0 {
            return Err(accerr(addr));
        }
        page.byte(&self.objects).ok_or(sigbus(addr))
    }

    fn store(&mut self) {
        let (process, page) = (self.process(), self.below(PAGES));
        let value = self.below(100) as u8;
        self.note(format_args!("{process}: store {value} to {page}"));
        let addr = at(BASE + page * PAGE);
        let got = store(self.spaces[process].as_ref().unwrap(), addr, value);
        let expected = match self.models[process].get(&page) {
            Some(page) if page.prot & abi::PROT_WRITE == 0 => Err(accerr(addr)),
            _ => self.expected(process, page).map(|_| ()),
        };
        assert_eq!(got, expected, "process {process}, page {page}");
        if got.is_ok()
            && let Some(page) = self.models[process].get_mut(&page)
        {
            match page.object {
                Some((object, index)) if page.shared => self.objects[object].bytes[index as usize] = value,
                _ => page.own = Some(value),
            }
        }
    }

    fn validate(&self) {
        for (process, space) in self.spaces.iter().enumerate() {
            let Some(space) = space else { continue };
            space.validate();
            for page in 0..PAGES {
                self.check(process, page);
            }
            let pages: u64 = self.models[process].len() as u64;
            assert_eq!(space.stat().total_vm, pages);
        }
    }
}

/// Runs `steps` operations, and looks at everything after each `every` of them.
fn run(seed: u64, steps: u32, every: u32) {
    let _machine = Machine::new();
    let mut world = World::new(seed);
    for step in 0..steps {
        world.step();
        if step % every == 0 {
            world.spaces.iter().flatten().for_each(|space| space.validate());
            let all: Vec<&Space> = world.spaces.iter().flatten().map(|space| &**space).collect();
            super::rmap::compare(&all);
        }
        if step % 100 == 0 {
            world.validate();
        }
    }
    world.validate();
}

#[test]
fn random_operations_agree_with_the_model() {
    // After each step of some, since it takes a while.
    (1..=24).for_each(|seed| run(seed, 1000, if seed <= 2 { 1 } else { 16 }));
}

/// Minutes: `cargo xtask test --long`.
#[test]
#[ignore = "only under --long"]
fn a_million_random_operations_agree_with_the_model() {
    // The shared memory that a world has seen stays in it, and so a world does not last long.
    let one = |first: u64| (0..250).for_each(|world| run(1000 + 2 * world + first, 2000, 1));
    std::thread::scope(|scope| {
        scope.spawn(|| one(0));
        scope.spawn(|| one(1));
    });
}
