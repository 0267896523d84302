//! What the arrays of the tests hold: things that are counted as folios are, and used again at once when nobody has
//! them any more; and nodes that are poisoned after their grace period.

use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::super::{Item, Node, Nodes};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::rcu::{self, Head};

/// There for as long as its [`Things`], whoever has it.
#[repr(align(8))]
pub(super) struct Thing {
    owners: AtomicU32,
    /// What it stands for while it has owners.
    number: AtomicU64,
}

pub(super) struct Things(Box<[Thing]>);

/// One owner of a thing.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Token(NonNull<Thing>);

// SAFETY: a thing is of atomics, and outlives its owners.
unsafe impl Send for Token {}
// SAFETY: as above.
unsafe impl Sync for Token {}

impl Things {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Thing { owners: AtomicU32::new(0), number: AtomicU64::new(0) }).collect())
    }

    /// The first thing that nobody has, as one for `number`.
    pub(super) fn take(&self, number: u64) -> Option<Token> {
        let free = |thing: &&Thing| thing.owners.load(Ordering::Acquire) == 0;
        let thing = self.0.iter().find(free)?;
        thing.number.store(number, Ordering::Relaxed);
        thing.owners.store(1, Ordering::Release);
        Some(Token(NonNull::from(thing)))
    }

    /// How many somebody has.
    pub(super) fn used(&self) -> usize {
        self.0.iter().filter(|thing| thing.owners.load(Ordering::Acquire) != 0).count()
    }
}

impl Thing {
    pub(super) fn number(&self) -> u64 {
        assert!(self.owners.load(Ordering::Relaxed) > 0, "nobody's");
        self.number.load(Ordering::Relaxed)
    }
}

impl core::ops::Deref for Token {
    type Target = Thing;

    fn deref(&self) -> &Thing {
        // SAFETY: things outlive their owners.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        assert!(self.owners.fetch_sub(1, Ordering::AcqRel) > 0, "nobody's");
    }
}

// SAFETY: a thing stays where it is.
unsafe impl Item for Token {
    type Target = Thing;

    fn into_ptr(self) -> NonNull<Thing> {
        core::mem::ManuallyDrop::new(self).0
    }

    unsafe fn from_ptr(ptr: NonNull<Thing>) -> Self {
        Self(ptr)
    }

    unsafe fn get(ptr: NonNull<Thing>) -> Self {
        // SAFETY: the caller vouches for it.
        unsafe { ptr.as_ref() }.owners.fetch_add(1, Ordering::Relaxed);
        Self(ptr)
    }

    unsafe fn try_get(ptr: NonNull<Thing>) -> Option<Self> {
        // SAFETY: things outlive the arrays.
        let owners = unsafe { &ptr.as_ref().owners };
        let more = |owners| (owners > 0).then_some(owners + 1);
        // One is made only if it counts: dropping it takes one away.
        owners.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).is_ok().then(|| Self(ptr))
    }
}

/// Nodes of the host's memory. Those that are retired are poisoned after a grace period, and freed at the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Poisoning(pub(super) Arc<Counts>);

#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Nodes that were allocated and neither freed nor retired.
    pub(super) live: AtomicUsize,
    pub(super) retired: AtomicUsize,
}

/// Nodes that were poisoned. They stay, as whoever were to read one should read poison.
static POISONED: Mutex<Vec<Gone>> = Mutex::new(Vec::new());

/// As a pointer, so that Miri sees that it is kept.
struct Gone(#[expect(dead_code)] NonNull<()>);

// SAFETY: nobody follows it.
unsafe impl Send for Gone {}

/// # Safety
/// `head` is that of a node which was retired.
unsafe fn poison<const N: usize>(head: NonNull<Head>) {
    // SAFETY: within the node.
    let node = unsafe { head.byte_sub(offset_of!(Node<N>, retired)) }.cast::<Node<N>>();
    // SAFETY: nodes are not freed.
    unsafe { node.as_ref() }.poison();
    POISONED.lock().unwrap().push(Gone(node.cast()));
}

impl<const N: usize> Nodes<N> for Poisoning {
    type Guard = rcu::ReadGuard;

    fn alloc(&self, _: Gfp) -> Result<NonNull<Node<N>>, AllocError> {
        self.0.live.fetch_add(1, Ordering::Relaxed);
        Ok(NonNull::from(Box::leak(Box::default())))
    }

    unsafe fn free(&self, node: NonNull<Node<N>>) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: from `alloc`, and the caller gives it away.
        drop(unsafe { Box::from_raw(node.as_ptr()) });
    }

    unsafe fn retire(&self, node: NonNull<Node<N>>) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
        self.0.retired.fetch_add(1, Ordering::Relaxed);
        // SAFETY: within the node, whose head nobody else uses; no new reader finds it.
        unsafe {
            rcu::call(node.byte_add(offset_of!(Node<N>, retired)).cast(), poison::<N>);
        }
    }
}
