//! A slab's word: its free objects and its counts, and the two ways in which it changes.
//!
//! Any hart gives objects back at any moment ([`push`], one compare-and-swap, no lock) unless the slab
//! was full or becomes empty; then, and whenever objects are taken out ([`take`]), the lock of the
//! cache's list is held. As only the holder of the lock takes objects out, what is on the chain behind
//! the first object stays, and a word that came back to an old value means what it meant: no tag is
//! needed. Linux: `slab_update_freelist`, `__slab_free`, `acquire_slab` in `mm/slub.c`.
//!
//! The room stands on borrowed cells, so that `mm/tests/loom` models this very source.

use bitfield_struct::bitfield;

use super::shim::{AtomicU64, Ordering};

/// An object of a slab: its offset in units of 8 bytes, plus 1; 0 is none.
pub(super) type Object = u16;

/// The word.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub(super) struct SlabWord {
    /// First of the chain of free objects that were in use before.
    pub(super) first: u16,
    /// Objects that are not free as far as the slab knows: in use, or with a hart.
    pub(super) in_use: u16,
    /// Objects of the slab that were ever in use. Those behind them are free and on no chain, so that a
    /// new slab's memory is not touched before it is needed.
    pub(super) carved: u16,
    /// Objects of the slab.
    pub(super) objects: u16,
}

impl SlabWord {
    pub(super) fn is_full(self) -> bool {
        self.in_use() == self.objects()
    }

    pub(super) fn is_empty(self) -> bool {
        self.in_use() == 0
    }

    /// Of at most `most` free objects, how many come from the chain and how many were never in use.
    fn split(self, most: u16) -> (u16, u16) {
        let count = most.min(self.objects() - self.in_use());
        let linked = count.min(self.carved() - self.in_use());
        (linked, count - linked)
    }
}

/// How free objects name the next one.
pub(super) trait Links {
    /// The object behind `object`, which is free.
    fn next(&self, object: Object) -> Object;

    /// Writes it, into an object that the caller owns.
    fn set_next(&self, object: Object, next: Object);

    /// The `index`-th object of the slab.
    fn nth(&self, index: u16) -> Object;
}

/// What [`push`] did: the word before and after, and the lock if it was taken, which it was at least if
/// the slab was full or became empty.
pub(super) struct Pushed<L> {
    pub(super) before: SlabWord,
    pub(super) after: SlabWord,
    pub(super) lock: Option<L>,
}

/// Gives back `count` objects, chained from `first` to `last`. `lock` takes the lock of the cache's list,
/// at most once, and only if the slab was full or becomes empty: its place on the list changes then.
pub(super) fn push<L>(
    word: &AtomicU64,
    links: &impl Links,
    (first, last, count): (Object, Object, u16),
    take_lock: impl Fn() -> L,
) -> Pushed<L> {
    let mut lock = None;
    let mut old = word.load(Ordering::Relaxed);
    loop {
        let before = SlabWord::from_bits(old);
        let Some(in_use) = before.in_use().checked_sub(count) else {
            panic!("slab: more objects given back than were taken: {before:?}");
        };
        let after = before.with_first(first).with_in_use(in_use);
        if lock.is_none() && (before.is_full() || after.is_empty()) {
            lock = Some(take_lock());
            old = word.load(Ordering::Relaxed);
            continue;
        }
        links.set_next(last, before.first());
        // Release: whoever takes the objects sees the links, and what their last owners wrote.
        match word.compare_exchange(old, after.into_bits(), Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return Pushed { before, after, lock },
            Err(now) => old = now,
        }
    }
}

/// Takes at most `most` objects out, each of which `each` is told; returns the word after. The caller
/// holds the lock of the cache's list.
pub(super) fn take(
    word: &AtomicU64,
    links: &impl Links,
    most: u16,
    mut each: impl FnMut(Object),
) -> SlabWord {
    let mut old = word.load(Ordering::Acquire);
    let (before, after) = loop {
        let before = SlabWord::from_bits(old);
        let (linked, fresh) = before.split(most);
        let mut first = before.first();
        for _ in 0..linked {
            first = links.next(first);
        }
        let after = before
            .with_first(first)
            .with_in_use(before.in_use() + linked + fresh)
            .with_carved(before.carved() + fresh);
        // Acquire: pairs with the release of those that pushed; also on failure, as the loop walks the
        // chain anew from what it finds.
        match word.compare_exchange(old, after.into_bits(), Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => break (before, after),
            Err(now) => old = now,
        }
    };
    let (linked, fresh) = before.split(most);
    let mut object = before.first();
    for _ in 0..linked {
        let next = links.next(object);
        each(object);
        object = next;
    }
    for index in before.carved()..before.carved() + fresh {
        each(links.nth(index));
    }
    after
}
