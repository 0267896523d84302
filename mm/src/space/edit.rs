//! Changes to the set of mappings that keep everything that knows of them in step: the store, the
//! links of the file, the figures (Linux: `mm/vma.c`).
//!
//! Each either happens as a whole or fails before it changed anything. A mapping is locked before the links are, and
//! stays locked until `mmap_lock` is given back.

use super::limits::MAX_MAP_COUNT;
use super::{Layout, MmError};
use crate::addr::{VirtAddr, VirtRange};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::rmap::{AnonRef, Family, FileMapsGuard, Link, Place, Promise, SpaceCore, SpareLink, new_link};
use crate::vma::{Attributes, Backing, Merge, RemovedVmas, VmFlags, Vma, VmaBox};

/// What knows of mappings beside the store, locked: several changes are one to whoever walks there.
struct Ties<'a> {
    file: Option<FileMapsGuard<'a>>,
    anon: Option<Family<'a>>,
}

impl<'a> Ties<'a> {
    /// Of mappings of one file, and of one family.
    fn lock(backing: &'a Backing, family: Option<&'a AnonRef>) -> Self {
        let file = backing.mapping().map(|mapping| mapping.maps().lock());
        Self { file, anon: family.map(AnonRef::lock) }
    }

    /// The mapping goes.
    fn unlink(&mut self, core: &SpaceCore, vma: &Vma) {
        if let Some(file) = &mut self.file {
            file.remove(core, vma.place());
        }
        if let Some(anon) = &mut self.anon {
            vma.anon.unlink_in(anon, core, vma.place());
        }
    }

    /// The mapping is at `to` from now on.
    fn resize(&mut self, core: &SpaceCore, vma: &Vma, to: Place) {
        if let Some(file) = &mut self.file {
            file.resize(core, vma.place(), to);
        }
        if let Some(anon) = &mut self.anon {
            vma.anon.resize_in(anon, core, vma.place(), to);
        }
    }
}

/// What a new mapping takes, made before anything changes.
pub(crate) enum Prepared<'a> {
    /// Nothing: it becomes one with these neighbours.
    Merge(Merge),
    /// A mapping of its own, for which the store has room, and its file a link.
    Alone(VmaBox, Option<Promise<'a>>),
}

impl Layout {
    /// Splits the mapping that `addr` is inside of, if any, so that one starts there (Linux:
    /// `split_vma`).
    ///
    /// # Errors
    /// No memory, or as many mappings as there may be.
    pub(crate) fn split_at(&mut self, addr: VirtAddr) -> Result<(), MmError> {
        let Some(vma) = self.vmas.lookup(addr).filter(|vma| vma.start() < addr) else { return Ok(()) };
        if self.vmas.len() >= MAX_MAP_COUNT {
            return Err(MmError::NoMemory);
        }
        let low = Place { range: VirtRange::new(vma.start(), addr), pgoff: vma.pgoff() };
        let high = Place { range: VirtRange::new(addr, vma.end()), pgoff: vma.page_index(addr) };
        let (backing, flags) = (vma.backing().clone(), vma.flags());
        let family = vma.anon.family();
        let mut upper = VmaBox::new(Vma::new(high.range, flags, high.pgoff, backing.clone()), Gfp::KERNEL)?;
        self.vmas.reserve()?;
        let link = backing.mapping().map(|_| self.link(high, flags)).transpose()?;
        let Some(vma) = self.vmas.lock(low.range.start) else { return Err(MmError::Fault) };
        // For a moment both show the upper part, which is no harm to a walk.
        upper.anon = vma.anon.duplicate(&self.core, high)?;
        {
            let mut ties = Ties::lock(&backing, family.as_ref());
            ties.resize(&self.core, vma, low);
            if let (Some(file), Some(link)) = (&mut ties.file, link) {
                file.insert(link);
            }
        }
        let split = self.vmas.split(upper);
        debug_assert!(split.is_ok(), "nobody made room for a mapping");
        Ok(())
    }

    /// A link for a mapping of a file.
    fn link(&self, place: Place, flags: VmFlags) -> Result<SpareLink, AllocError> {
        new_link(Link { core: self.core.clone(), place, writes: flags.writes_file() })
    }

    /// Puts a mapping in for which the store has room.
    fn insert_reserved(&mut self, vma: VmaBox) {
        let inserted = self.vmas.insert(vma);
        debug_assert!(inserted.is_ok(), "nobody made room for a mapping");
    }

    /// Makes `what`, where nothing is mapped, part of its neighbours or a mapping of its own. The figures are
    /// the caller's affair (Linux: `vma_merge_new_range`, then `vm_area_alloc`).
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn insert_new(&mut self, what: &Attributes<'_>) -> Result<(), MmError> {
        let prepared = self.prepare(what)?;
        self.insert_prepared(what, prepared);
        Ok(())
    }

    /// As [`Layout::insert_new`], for pages of the mapping that `source` is in, whose group is that of `what` (Linux:
    /// `copy_vma`).
    ///
    /// # Errors
    /// As [`Layout::insert_new`].
    pub(crate) fn insert_copy(&mut self, what: &Attributes<'_>, source: VirtAddr) -> Result<(), MmError> {
        let mut prepared = self.prepare(what)?;
        if let Prepared::Alone(vma, _) = &mut prepared
            && let Some(source) = self.vmas.lookup(source)
        {
            vma.anon = source.anon.duplicate(&self.core, what.place())?;
        }
        self.insert_prepared(what, prepared);
        Ok(())
    }

    /// If `range` makes one mapping of two of which only the upper has pages, the lower is to have the same chain
    /// (Linux: `dup_anon_vma`).
    fn join_chains(&mut self, merge: Merge, range: VirtRange) -> Result<(), AllocError> {
        if merge != (Merge { left: true, right: true }) {
            return Ok(());
        }
        let (prev, next) = (self.vmas.before(range.start), self.vmas.lookup(range.end));
        let (Some(prev), Some(next)) = (prev, next) else { return Ok(()) };
        if prev.anon.is_some() || !next.anon.is_some() {
            return Ok(());
        }
        let (start, chain) = (prev.start(), next.anon.duplicate(&self.core, prev.place())?);
        if let Some(prev) = self.vmas.lookup_mut(start) {
            prev.anon = chain;
        }
        Ok(())
    }

    /// Locks the mappings that `merge` makes one around `range`; returns the family in which all of them are that have
    /// pages.
    fn lock_around(&mut self, merge: Merge, range: VirtRange) -> Option<AnonRef> {
        let mut family = None;
        if merge.left {
            family = self.vmas.lock_before(range.start).and_then(|prev| prev.anon.family());
        }
        if merge.right {
            let next = self.vmas.lock(range.end);
            family = family.or_else(|| next.and_then(|next| next.anon.family()));
        }
        family
    }

    /// Makes what [`Layout::insert_prepared`] needs. Mappings within the range may still be there; none
    /// reaches over its borders.
    ///
    /// # Errors
    /// No memory; `Permission`: the file was sealed meanwhile.
    pub(crate) fn prepare<'a>(&mut self, what: &Attributes<'a>) -> Result<Prepared<'a>, MmError> {
        let merge = what.merge(&self.vmas);
        if merge != (Merge { left: false, right: false }) {
            self.join_chains(merge, what.range)?;
            return Ok(Prepared::Merge(merge));
        }
        let vma = Vma::new(what.range, what.flags, what.pgoff, what.backing.clone());
        let vma = VmaBox::new(vma, Gfp::KERNEL)?;
        self.vmas.reserve()?;
        let link = || Link { core: self.core.clone(), place: what.place(), writes: what.flags.writes_file() };
        let link = what.backing.mapping().map(|mapping| mapping.maps().promise(link())).transpose()?;
        Ok(Prepared::Alone(vma, link))
    }

    /// As [`Layout::insert_new`], with what was made before. Cannot fail.
    pub(crate) fn insert_prepared(&mut self, what: &Attributes<'_>, prepared: Prepared<'_>) {
        let range = what.range;
        match prepared {
            Prepared::Merge(merge) => {
                let family = self.lock_around(merge, range);
                self.widen(merge, range, &mut Ties::lock(what.backing, family.as_ref()));
            }
            Prepared::Alone(vma, link) => {
                if let Some(link) = link {
                    link.insert();
                }
                self.insert_reserved(vma);
            }
        }
    }

    /// Lets the neighbours that `merge` names, which are locked, take `range`, where nothing is mapped any more, over.
    fn widen(&mut self, merge: Merge, range: VirtRange, ties: &mut Ties<'_>) {
        if merge.left {
            let Some(prev) = self.vmas.before(range.start) else { return };
            let (start, pgoff) = (prev.start(), prev.pgoff());
            let mut end = range.end;
            if merge.right
                && let Some(next) = self.vmas.remove(range.end)
            {
                end = next.end();
                ties.unlink(&self.core, &next);
            }
            self.resize(start, Place { range: VirtRange::new(start, end), pgoff }, ties);
        } else if merge.right {
            let Some(next) = self.vmas.lookup(range.end) else { return };
            let whole = VirtRange::new(range.start, next.end());
            let pgoff = next.pgoff().wrapping_sub(range.pages());
            self.resize(next.start(), Place { range: whole, pgoff }, ties);
        }
    }

    /// The mapping at `start`, which is locked, is at `to` from now on, which overlaps no other.
    fn resize(&mut self, start: VirtAddr, to: Place, ties: &mut Ties<'_>) {
        self.vmas.resize(start, to.range, to.pgoff, |vma| ties.resize(&self.core, vma, to));
    }

    /// As [`Layout::resize`], of a mapping alone, which is locked here.
    pub(crate) fn resize_one(&mut self, start: VirtAddr, to: Place) {
        let Some(vma) = self.vmas.lock(start) else { return };
        let (backing, family) = (vma.backing().clone(), vma.anon.family());
        self.resize(start, to, &mut Ties::lock(&backing, family.as_ref()));
    }

    /// Gives `range`, which lies within one mapping, the flags `flags`: the mapping is split, or its
    /// border moved, or it becomes one with its neighbours, as Linux does it (`vma_modify`).
    ///
    /// # Errors
    /// No memory, or as many mappings as there may be; nothing has changed.
    pub(crate) fn set_flags(&mut self, range: VirtRange, flags: VmFlags) -> Result<(), MmError> {
        let Some(vma) = self.vmas.lock(range.start) else { return Err(MmError::Fault) };
        let (old, place) = (vma.range(), vma.place());
        debug_assert!(old.start <= range.start && range.end <= old.end);
        if vma.flags() == flags {
            return Ok(());
        }
        let backing = vma.backing().clone();
        let pgoff = vma.page_index(range.start);
        let (anon, family) = (vma.anon.id(), vma.anon.family());
        let what = Attributes { range, flags, backing: &backing, pgoff, anon };
        let mut merge = what.merge(&self.vmas);
        merge.left &= range.start == old.start;
        merge.right &= range.end == old.end;
        if merge == (Merge { left: false, right: false }) {
            self.split_at(range.start)?;
            // On an error the split above stays, which nobody can see but in the list of mappings; as on Linux.
            self.split_at(range.end)?;
            if let Some(vma) = self.vmas.lookup_mut(range.start) {
                vma.flags = flags;
            }
            return Ok(());
        }
        self.join_chains(merge, range)?;
        let around = self.lock_around(merge, range);
        let family = family.or(around);
        let mut ties = Ties::lock(&backing, family.as_ref());
        // What stays of the mapping, and where.
        let rest = if range == old {
            None
        } else if range.start == old.start {
            let pgoff = pgoff.wrapping_add(range.pages());
            Some(Place { range: VirtRange::new(range.end, old.end), pgoff })
        } else {
            Some(Place { range: VirtRange::new(old.start, range.start), pgoff: place.pgoff })
        };
        match rest {
            None => {
                if let Some(vma) = self.vmas.remove(old.start) {
                    ties.unlink(&self.core, &vma);
                }
            }
            Some(rest) => self.resize(old.start, rest, &mut ties),
        }
        self.widen(merge, range, &mut ties);
        Ok(())
    }

    /// Takes the mappings of `range`, which are locked, out of the store and the links, where mappings start and end at
    /// its borders. Their pages are gone already. The figures follow.
    pub(crate) fn remove_range(&mut self, range: VirtRange, removed: &mut RemovedVmas) {
        let mut taken = RemovedVmas::new();
        self.vmas.remove_range(range, |vma| taken.push(vma));
        while let Some(vma) = taken.pop() {
            debug_assert!(range.start <= vma.start() && vma.end() <= range.end);
            if let Some(mapping) = vma.mapping() {
                mapping.maps().lock().remove(&self.core, vma.place());
            }
            vma.anon.unlink(&self.core, vma.place());
            self.uncount(vma.flags(), vma.pages());
            if vma.flags().contains(VmFlags::LOCKED) {
                self.locked_vm -= vma.pages();
            }
            removed.push(vma);
        }
    }

    /// The end of the last mapping below `range`, and the start of the next above: where tables may be freed.
    pub(crate) fn surroundings(&self, range: VirtRange) -> (VirtAddr, VirtAddr) {
        let floor = self.vmas.before(range.start).map_or(VirtAddr::ZERO, Vma::end);
        let ceiling = self.vmas.find(range.end).map_or(self.core.tables.mode().user_end(), Vma::start);
        (floor, ceiling)
    }
}
