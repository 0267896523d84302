//! Who may map an anonymous page: the mappings that a family of address spaces got by fork (Linux: `struct anon_vma`).
//!
//! A page points to the [`AnonVma`] that its mapping had when the page was made, and that has a link for every mapping
//! which may show the page now: that mapping's parts, and their copies in children. A child's mapping gets an
//! `AnonVma` of its own for its own pages, so that a walk from one of those does not see the parent. All of one family
//! have the lock of the first, the root. Linux's rule for taking an ancestor's instead of a new one (no mapping makes
//! pages for it any more, and it has one child at most) keeps their number below twice that of the mappings.
//!
//! Counted by whoever refers to it: chains, children. A page does not count. Whoever comes from a page
//! therefore reads under RCU ([`AnonRef::of_folio`]): while the page is mapped, the chain of a mapping holds what it
//! points to, and after that the memory stays for a grace period. Linux has its slab not give such memory to others
//! (`SLAB_TYPESAFE_BY_RCU`) and looks again after it has the lock; with memory that stays what it was there is nothing
//! to look at again, at the price of a few objects that are free a little later.

use core::cell::UnsafeCell;
use core::mem::{ManuallyDrop, offset_of};
use core::ptr::NonNull;
use core::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

use super::imap::Link;
use super::interval::{IntervalTree, Node};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::page::{Folio, MappingWord};
use crate::rcu;
use crate::slab::{Cache, KBox};
use crate::sync::{Rank, ReadGuard, RwSem, WriteGuard};

static ANON_VMAS: Cache<AnonVma> = Cache::new("anon_vma");
pub(super) static CHAIN_LINKS: Cache<Node<Link>> = Cache::new("anon_vma_chain");

/// See the head of the room.
pub(crate) struct AnonVma {
    /// 0 once it is on its way out. Cannot overflow: each takes memory.
    refs: AtomicUsize,
    gone: UnsafeCell<rcu::Head>,
    /// `None`: this is the root. Both change once nobody refers to it any more.
    root: Option<AnonRef>,
    parent: Option<AnonRef>,
    /// The root's is that of all its family.
    lock: RwSem<()>,
    state: UnsafeCell<State>,
}

/// What the family's lock protects.
pub(super) struct State {
    /// The mappings that may show its pages.
    pub(super) links: IntervalTree<Link>,
    /// Those that have this one as their parent; the root counts itself.
    pub(super) children: usize,
    /// Mappings whose new pages point here.
    pub(super) active: usize,
}

/// A reference.
#[repr(transparent)]
pub(crate) struct AnonRef(NonNull<AnonVma>);

// SAFETY: what is in it is atomic, never changes while there are references, or is under the family's lock.
unsafe impl Send for AnonRef {}
// SAFETY: as above.
unsafe impl Sync for AnonRef {}

impl AnonRef {
    /// One without links: the root of a family, or a child of `parent`, which has to be counted there.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new(parent: Option<&Self>) -> Result<Self, AllocError> {
        let anon = ANON_VMAS.alloc_with(Gfp::KERNEL, || AnonVma {
            refs: AtomicUsize::new(1),
            gone: UnsafeCell::new(rcu::Head::new()),
            root: parent.map(|parent| parent.root().clone()),
            parent: parent.cloned(),
            lock: RwSem::new(Rank::AnonVma, ()),
            state: UnsafeCell::new(State {
                links: IntervalTree::new(),
                children: usize::from(parent.is_none()),
                active: 0,
            }),
        })?;
        let anon = KBox::into_raw(anon);
        // SAFETY: the pointer of a box is not null.
        Ok(Self(unsafe { NonNull::new_unchecked(anon) }))
    }

    fn get(&self) -> &AnonVma {
        // SAFETY: it is there as long as a reference is.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn as_ptr(&self) -> *mut AnonVma {
        self.0.as_ptr()
    }

    /// Without taking a reference.
    ///
    /// # Safety
    /// Somebody keeps one while the result is used.
    pub(super) unsafe fn borrowed(anon: NonNull<AnonVma>) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Self(anon))
    }

    /// What an anonymous folio points to; `None` if it is no such, or is not mapped any more (Linux:
    /// `folio_get_anon_vma`). The caller has a reference to the folio.
    pub(crate) fn of_folio(folio: &Folio) -> Option<Self> {
        let _reads = rcu::read();
        loop {
            let word = folio.mapping();
            let MappingWord::Anon(at) = word else { return None };
            if !folio.is_mapped() {
                return None;
            }
            // A store may just have made the folio one mapping's own.
            if folio.mapping() != word {
                continue;
            }
            let anon = NonNull::new(core::ptr::with_exposed_provenance_mut::<AnonVma>(at))?;
            // SAFETY: the folio was mapped, and pointed there, after the reader began: the mapping's chain had a
            // reference then. So the memory goes after the reader only. No more than the count is looked at.
            let refs = unsafe { &(*anon.as_ptr()).refs };
            let more = |refs: usize| (refs != 0).then_some(refs + 1);
            return refs.try_update(Acquire, Relaxed, more).ok().map(|_| Self(anon));
        }
    }

    pub(super) fn root(&self) -> &Self {
        self.get().root.as_ref().unwrap_or(self)
    }

    pub(super) fn parent(&self) -> Option<&Self> {
        self.get().parent.as_ref()
    }

    /// Locks the family, to change links.
    #[track_caller]
    pub(crate) fn lock(&self) -> Family<'_> {
        let root = self.root();
        Family { root, _lock: root.get().lock.write() }
    }

    /// Locks the family, to walk.
    #[track_caller]
    pub(crate) fn read(&self) -> FamilyReader<'_> {
        let root = self.root();
        FamilyReader { root, _lock: root.get().lock.read() }
    }
}

impl PartialEq for AnonRef {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Clone for AnonRef {
    fn clone(&self) -> Self {
        self.get().refs.fetch_add(1, Relaxed);
        Self(self.0)
    }
}

impl Drop for AnonRef {
    fn drop(&mut self) {
        // Release: what was done with it is done before it goes.
        if self.get().refs.fetch_sub(1, Release) != 1 {
            return;
        }
        fence(Acquire);
        let anon = self.0.as_ptr();
        // SAFETY: that was the last reference. Readers who come by a folio look at the count alone.
        let ancestors = unsafe {
            debug_assert!(
                (*(*anon).state.get()).links.is_empty(),
                "an anon_vma is freed that mappings link to"
            );
            ((&raw mut (*anon).root).replace(None), (&raw mut (*anon).parent).replace(None))
        };
        // SAFETY: as above, and it is freed there alone; the head is in an object that is there.
        unsafe {
            // By way of the whole object, which `free` goes back to.
            let gone = (&raw mut (*anon).gone).cast::<rcu::Head>();
            rcu::call(NonNull::new_unchecked(gone), free);
        }
        // Whoever has it in a chain has its ancestors there too, so that these are not the last ones' last.
        drop(ancestors);
    }
}

/// # Safety
/// `gone` is that of an [`AnonVma`] which nobody can find.
unsafe fn free(gone: NonNull<rcu::Head>) {
    // SAFETY: the head is in the object, which came from a box.
    unsafe {
        let anon = gone.as_ptr().byte_sub(offset_of!(AnonVma, gone)).cast::<AnonVma>();
        drop(KBox::from_raw(anon));
    }
}

/// A family, locked to be changed.
pub(crate) struct Family<'a> {
    root: &'a AnonRef,
    _lock: WriteGuard<'a, ()>,
}

impl Family<'_> {
    /// The state of one of the family.
    pub(super) fn state<'s>(&'s mut self, anon: &'s AnonRef) -> &'s mut State {
        assert!(anon.root() == self.root, "an anon_vma of another family");
        // SAFETY: the family's lock is held for writing, and borrowed as long.
        unsafe { &mut *anon.get().state.get() }
    }
}

/// A family, locked to be walked.
pub(crate) struct FamilyReader<'a> {
    root: &'a AnonRef,
    _lock: ReadGuard<'a, ()>,
}

impl FamilyReader<'_> {
    /// The state of one of the family.
    pub(super) fn state<'s>(&'s self, anon: &'s AnonRef) -> &'s State {
        assert!(anon.root() == self.root, "an anon_vma of another family");
        // SAFETY: the family's lock is held for reading.
        unsafe { &*anon.get().state.get() }
    }
}
