//! Operations that make pages resident, or take them: what a program sees of that is when a private copy is made, since
//! changes of the file after that are not in it.

use super::*;

/// What `mlock` has said of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kept {
    No,
    /// In memory from now on, copies made beforehand.
    Full,
    /// From its first use on.
    OnFault,
}

/// `MCL_*` of asm-generic.
const MCL_CURRENT: u32 = 1;
const MCL_ONFAULT: u32 = 4;

impl Page {
    /// What populating does with it, as for a program that may store to it if `write`; whether it could be had.
    fn ready(&mut self, objects: &[Object], write: bool) -> bool {
        let byte = self.byte(objects);
        if write && !self.shared {
            self.own = byte;
        }
        byte.is_some()
    }

    /// As `mlock` and what populates a locked mapping; whether it could be had.
    pub(super) fn keep(&mut self, objects: &[Object], kept: Kept) -> bool {
        self.kept = kept;
        kept != Kept::Full || self.prot != 0 && self.ready(objects, self.prot & abi::PROT_WRITE != 0)
    }

    /// As `mprotect`, which makes the copies of a locked private mapping that may be written from now on.
    pub(super) fn protect(&mut self, objects: &[Object], prot: u32) {
        let gained = prot & !self.prot & abi::PROT_WRITE != 0;
        self.prot = prot;
        if gained && !self.shared {
            self.keep(objects, self.kept);
        }
    }
}

impl World {
    pub(super) fn lock(&mut self) {
        let process = self.process();
        let (start, len) = self.range();
        let space = self.spaces[process].clone().unwrap();
        let addr = at(BASE + start * PAGE);
        let (done, kept) = match self.below(3) {
            0 => (space.mlock(addr, len * PAGE, 0), Kept::Full),
            1 => (space.mlock(addr, len * PAGE, abi::MLOCK_ONFAULT), Kept::OnFault),
            _ => (space.munlock(addr, len * PAGE), Kept::No),
        };
        self.note(format_args!("{process}: {kept:?} for {len} at {start}: {done:?}"));
        let model = &mut self.models[process];
        for page in start..start + len {
            let Some(page) = model.get_mut(&page) else { return assert_eq!(done, Err(MmError::NoMemory)) };
            page.kept = kept;
        }
        for page in start..start + len {
            if !model.get_mut(&page).unwrap().keep(&self.objects, kept) {
                return assert_eq!(done, Err(MmError::NoMemory));
            }
        }
        assert_eq!(done, Ok(()));
    }

    pub(super) fn lock_all(&mut self) {
        let process = self.process();
        let space = self.spaces[process].clone().unwrap();
        let kept = match self.below(3) {
            0 => {
                assert_eq!(space.mlockall(MCL_CURRENT), Ok(()));
                Kept::Full
            }
            1 => {
                assert_eq!(space.mlockall(MCL_CURRENT | MCL_ONFAULT), Ok(()));
                Kept::OnFault
            }
            _ => {
                space.munlockall();
                Kept::No
            }
        };
        self.note(format_args!("{process}: {kept:?} for all"));
        for page in self.models[process].values_mut() {
            page.keep(&self.objects, kept);
        }
    }

    pub(super) fn populate(&mut self) {
        let process = self.process();
        let (start, len) = self.range();
        let write = self.below(2) == 0;
        let space = self.spaces[process].clone().unwrap();
        let advice = if write { abi::MADV_POPULATE_WRITE } else { abi::MADV_POPULATE_READ };
        self.note(format_args!("{process}: advice {advice} for {len} at {start}"));
        let done = space.madvise(at(BASE + start * PAGE), len * PAGE, advice);
        let wanted = if write { abi::PROT_WRITE } else { abi::PROT_READ };
        for page in start..start + len {
            let Some(page) = self.models[process].get_mut(&page) else {
                return assert_eq!(done, Err(MmError::NoMemory));
            };
            if page.prot & wanted == 0 {
                return assert_eq!(done, Err(MmError::Invalid));
            }
            if !page.ready(&self.objects, write) {
                return assert_eq!(done, Err(MmError::Fault));
            }
        }
        assert_eq!(done, Ok(()));
    }

    /// `fallocate(FALLOC_FL_PUNCH_HOLE)`: private copies stay.
    pub(super) fn punch(&mut self) {
        let (object, first) = (self.below(2) as usize, self.below(FILE_PAGES));
        let end = first + 1 + self.below(FILE_PAGES - first);
        self.note(format_args!("punch {first}..{end} of file {object}"));
        let object = &mut self.objects[object];
        object.file.as_ref().unwrap().0.punch_hole(first * PAGE, end * PAGE).unwrap();
        object.bytes.iter_mut().take(end as usize).skip(first as usize).for_each(|byte| *byte = 0);
    }

    /// `mremap` of nothing: the same shared pages a second time.
    pub(super) fn duplicate(&mut self) {
        let process = self.process();
        let (from, to, len) = (self.below(PAGES), self.below(PAGES - 8), 1 + self.below(8));
        let space = self.spaces[process].clone().unwrap();
        let flags = abi::MREMAP_MAYMOVE | abi::MREMAP_FIXED;
        self.note(format_args!("{process}: duplicate {len} of {from} at {to}"));
        let (addr, target) = (at(BASE + from * PAGE), at(BASE + to * PAGE));
        let done = space.mremap(addr, 0, len * PAGE, flags, target);
        let model = &mut self.models[process];
        if !model.contains_key(&from) {
            return assert_eq!(done, Err(MmError::Fault));
        }
        if to < from && from < to + len {
            return assert_eq!(done, Err(MmError::Invalid));
        }
        // Whatever comes of it, the target is gone.
        model.retain(|page, _| !(to..to + len).contains(page));
        match model.get(&from).cloned() {
            None => assert_eq!(done, Err(MmError::Fault)),
            Some(page) if !page.shared => assert_eq!(done, Err(MmError::Invalid)),
            Some(page) => {
                assert_eq!(done, Ok(target));
                model.extend((0..len).map(|index| (to + index, page.after(index))));
            }
        }
    }

    /// Advice that takes pages, or does nothing that a program sees.
    pub(super) fn advise(&mut self) {
        let process = self.process();
        let (start, len) = self.range();
        let all = [abi::MADV_DONTNEED, abi::MADV_FREE, abi::MADV_COLD, abi::MADV_PAGEOUT, abi::MADV_WILLNEED];
        let advice = all[self.below(all.len() as u64) as usize];
        self.note(format_args!("{process}: advice {advice} for {len} at {start}"));
        let space = self.spaces[process].clone().unwrap();
        let done = space.madvise(at(BASE + start * PAGE), len * PAGE, advice);
        let mut holes = Ok(());
        for page in start..start + len {
            let Some(page) = self.models[process].get_mut(&page) else {
                holes = Err(MmError::NoMemory);
                continue;
            };
            let refused = match advice {
                abi::MADV_WILLNEED => false,
                abi::MADV_FREE => page.kept != Kept::No || page.object.is_some(),
                _ => page.kept != Kept::No,
            };
            if refused {
                return assert_eq!(done, Err(MmError::Invalid), "{advice}");
            }
            if matches!(advice, abi::MADV_DONTNEED | abi::MADV_FREE) {
                page.own = None;
            }
        }
        assert_eq!(done, holes, "{advice}");
    }
}
