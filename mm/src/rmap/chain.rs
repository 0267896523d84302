//! What a mapping knows of its anonymous pages: the [`AnonVma`]s that they may point to (Linux: `anon_vma_chain`,
//! `anon_vma_prepare`, `anon_vma_clone`, `anon_vma_fork`, `unlink_anon_vmas`).
//!
//! The chain has the one that new pages point to, if there was a page or one was inherited, and those of the ancestors
//! that older pages point to. In each there is a link that says where the mapping is: from before the first page is
//! mapped until after the last. A chain changes under `mmap_lock` for writing and the mapping's own lock; only the
//! first page's fault has it for reading, and sets what was empty. Two mappings of one address space that have the
//! same for new pages have the same chain: parts of one, or neighbours of whom one reused the other's, which
//! inherited nothing.

use core::mem::{self, ManuallyDrop};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Relaxed, Release},
};

use super::SpaceCore;
use super::anon_vma::{AnonRef, AnonVma, CHAIN_LINKS, Family};
use super::imap::{Link, Place, key, resize};
use super::interval::Spares;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::slab::{KArc, KVec};

/// See the head of the room.
#[repr(C)]
pub(crate) struct AnonChain {
    /// What new pages point to, with a reference; null if there is none.
    own: AtomicPtr<AnonVma>,
    others: Others,
}

/// Those for older pages, the oldest first. Most children have one, which needs no memory of its own.
struct Others {
    first: Option<AnonRef>,
    more: KVec<AnonRef>,
}

impl Others {
    const fn new() -> Self {
        Self { first: None, more: KVec::new() }
    }

    /// None, with room for `count`.
    fn with_room(count: usize) -> Result<Self, AllocError> {
        let more = count.saturating_sub(1);
        let more = if more == 0 { KVec::new() } else { KVec::with_capacity(more, Gfp::KERNEL)? };
        Ok(Self { first: None, more })
    }

    /// Adds one, for which there is room.
    fn push(&mut self, anon: AnonRef) {
        if self.first.is_none() {
            self.first = Some(anon);
        } else {
            let pushed = self.more.push_within_capacity(anon);
            debug_assert!(pushed.is_ok(), "no room was made");
        }
    }

    fn iter(&self) -> impl Iterator<Item = &AnonRef> {
        self.first.iter().chain(self.more.iter())
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

/// Which group a mapping's new pages are of, for the rules of merging.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AnonId(*mut AnonVma);

impl AnonId {
    /// Of a mapping that never had a page.
    pub(crate) const NONE: Self = Self(null_mut());
}

/// Links for the mapping at `place`, to be put in by who has no time for an error.
fn links(core: &KArc<SpaceCore>, place: Place, count: usize) -> Result<Spares<Link>, AllocError> {
    Spares::new(&CHAIN_LINKS, &Link { core: core.clone(), place, writes: false }, count)
}

impl AnonChain {
    /// Of a mapping that never had a page.
    pub(crate) const fn new() -> Self {
        Self { own: AtomicPtr::new(null_mut()), others: Others::new() }
    }

    /// Whether there was a page, or a parent had one.
    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        !self.own.load(Relaxed).is_null()
    }

    /// What the mapping word of a new page's folio says. There was a [`AnonChain::prepare`].
    #[inline]
    pub(crate) fn word(&self) -> usize {
        self.own.load(Relaxed).expose_provenance()
    }

    pub(crate) fn id(&self) -> AnonId {
        AnonId(self.own.load(Relaxed))
    }

    fn own(&self) -> Option<ManuallyDrop<AnonRef>> {
        let own = NonNull::new(self.own.load(Acquire))?;
        // SAFETY: the chain has a reference, and is borrowed; what is returned stays within this room.
        Some(unsafe { AnonRef::borrowed(own) })
    }

    /// All, the oldest first.
    fn all<'a>(&'a self, own: &'a AnonRef) -> impl Iterator<Item = &'a AnonRef> {
        self.others.iter().chain(core::iter::once(own))
    }

    /// What stands for the family's lock; for who changes several mappings at once.
    pub(crate) fn family(&self) -> Option<AnonRef> {
        self.own().map(|own| own.root().clone())
    }

    /// Makes sure that there is something for new pages to point to: what `neighbour` has, or a new one (Linux:
    /// `__anon_vma_prepare`). The mapping is at `place`. Several faults may do so at once: one wins.
    ///
    /// # Errors
    /// No memory.
    #[cold]
    pub(crate) fn prepare(
        &self,
        neighbour: Option<&Self>,
        core: &KArc<SpaceCore>,
        place: Place,
    ) -> Result<(), AllocError> {
        let anon = match neighbour.and_then(Self::own) {
            Some(own) => AnonRef::clone(&own),
            None => AnonRef::new(None)?,
        };
        let mut links = links(core, place, 1)?;
        let mut family = anon.lock();
        // Nobody walks before the link is there: the lock is held.
        let won = self.own.compare_exchange(null_mut(), anon.as_ptr(), Release, Relaxed).is_ok();
        if won {
            let state = family.state(&anon);
            state.active += 1;
            links.put_into(&mut state.links);
        }
        drop(family);
        if won {
            mem::forget(anon);
        }
        Ok(())
    }

    /// The chain of a part of this mapping, or of one made from it in the same address space, linked at `place` (Linux:
    /// `anon_vma_clone`).
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub(crate) fn duplicate(&self, core: &KArc<SpaceCore>, place: Place) -> Result<Self, AllocError> {
        let Some(own) = self.own() else { return Ok(Self::new()) };
        let mut others = Others::with_room(self.others.len())?;
        self.others.iter().for_each(|anon| others.push(anon.clone()));
        let mut links = links(core, place, 1 + others.len())?;
        let mut family = own.lock();
        for anon in self.all(&own) {
            links.put_into(&mut family.state(anon).links);
        }
        family.state(&own).active += 1;
        drop(family);
        let own = ManuallyDrop::new(AnonRef::clone(&own));
        Ok(Self { own: AtomicPtr::new(own.as_ptr()), others })
    }

    /// The chain of a child's copy, which is in address space `core` at the same place, linked (Linux:
    /// `anon_vma_fork`).
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub(crate) fn fork(&self, core: &KArc<SpaceCore>, place: Place) -> Result<Self, AllocError> {
        let Some(own) = self.own() else { return Ok(Self::new()) };
        let inherited = 1 + self.others.len();
        let fresh = AnonRef::new(Some(&own))?;
        let mut others = Others::with_room(inherited)?;
        let mut links = links(core, place, inherited + 1)?;
        let mut reused = None;
        let mut family = own.lock();
        for anon in self.all(&own) {
            let state = family.state(anon);
            links.put_into(&mut state.links);
            if reused.is_none() && state.children < 2 && state.active == 0 {
                state.active = 1;
                reused = Some(anon.clone());
            } else {
                others.push(anon.clone());
            }
        }
        if reused.is_none() {
            let state = family.state(&fresh);
            state.active = 1;
            links.put_into(&mut state.links);
            family.state(&own).children += 1;
        }
        drop(family);
        let own = ManuallyDrop::new(reused.unwrap_or(fresh));
        Ok(Self { own: AtomicPtr::new(own.as_ptr()), others })
    }

    /// The mapping at `place` goes; its pages are gone (Linux: `unlink_anon_vmas`). Once, before the chain is dropped.
    pub(crate) fn unlink(&self, core: &SpaceCore, place: Place) {
        if let Some(own) = self.own() {
            self.unlink_in(&mut own.lock(), core, place);
        }
    }

    /// As [`AnonChain::unlink`], with the family's lock held.
    pub(crate) fn unlink_in(&self, family: &mut Family<'_>, core: &SpaceCore, place: Place) {
        let Some(own) = self.own() else { return };
        family.state(&own).active -= 1;
        for anon in self.all(&own) {
            let state = family.state(anon);
            let link = state.links.remove(&key(core, place));
            debug_assert!(link.is_some(), "{place:?} is not linked");
            if state.links.is_empty()
                && let Some(parent) = anon.parent()
            {
                family.state(parent).children -= 1;
            }
        }
    }

    /// The mapping at `from` is at `to` from now on.
    pub(crate) fn resize_in(&self, family: &mut Family<'_>, core: &SpaceCore, from: Place, to: Place) {
        let Some(own) = self.own() else { return };
        for anon in self.all(&own) {
            resize(&mut family.state(anon).links, core, from, to);
        }
    }

    /// Whether a range of group `joins` may become part of the mapping with this chain (Linux:
    /// `is_mergeable_anon_vma`). As in 6.12, a mapping without pages does not take in one that has some.
    pub(crate) fn merges_with(&self, joins: AnonId) -> bool {
        self.id() == joins || (joins == AnonId::NONE && self.is_reusable())
    }

    /// Whether two mappings that a third joins may be one.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        let (a, b) = (self.id(), other.id());
        a == b || a == AnonId::NONE || b == AnonId::NONE
    }

    /// Whether a neighbour may reuse it: only what inherited nothing (Linux: `reusable_anon_vma`).
    pub(crate) fn is_reusable(&self) -> bool {
        self.is_some() && self.others.is_empty()
    }

    /// Compares with the links that the mapping at `place` should have; shows `each` what is in the chain, with
    /// how many links, children and mappings for new pages it has, and whether it is the mapping's own.
    ///
    /// # Panics
    /// When they disagree.
    pub(crate) fn validate(&self, core: &SpaceCore, place: Place, each: &mut dyn FnMut(ChainInfo)) {
        let Some(own) = self.own() else {
            return assert!(self.others.is_empty(), "a chain that nobody's pages are of");
        };
        let family = own.read();
        for anon in self.all(&own) {
            let state = family.state(anon);
            let links = state.links.validate();
            let linked = state.links.get(&key(core, place)).map(|link| link.place);
            assert_eq!(linked, Some(place), "the link of a chain");
            assert!(state.active <= links, "more make pages than have links");
            let parent = anon.parent().map_or(0, |parent| parent.as_ptr().addr());
            let has = |ancestor: &AnonRef| self.all(&own).any(|anon| anon == ancestor);
            assert!(anon.parent().is_none_or(has), "a parent that is not in the chain");
            each(ChainInfo {
                anon: anon.as_ptr().addr(),
                parent,
                links,
                children: state.children,
                active: state.active,
                own: anon == &*own,
            });
        }
    }
}

/// See [`AnonChain::validate`].
#[cfg_attr(not(test), expect(dead_code, reason = "what tests add up"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainInfo {
    pub(crate) anon: usize,
    /// 0 for none.
    pub(crate) parent: usize,
    pub(crate) links: usize,
    pub(crate) children: usize,
    pub(crate) active: usize,
    pub(crate) own: bool,
}

impl Drop for AnonChain {
    fn drop(&mut self) {
        // The youngest first: see where references are dropped.
        if let Some(own) = self.own() {
            drop(ManuallyDrop::into_inner(own));
        }
        while self.others.more.pop().is_some() {}
    }
}
