//! Doubly linked lists of descriptors through two 32-bit words.
//!
//! A link is a *place*: where two links are, in units of 8 bytes from the start of the memory map. The heads of the
//! lists stand in the words of a descriptor as well, so that they are reached as pages are: a list is a ring, and
//! no link is ever a special case. 32 bits reach 2 TiB of memory.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rux_machine::{Hot, Hw};

use crate::addr::Pfn;
use crate::page::{Folio, FolioArm, Page, PagePtr, pfn_to_page};

/// Bytes that a place counts in.
const UNIT: usize = size_of::<Links>();
/// Places that a descriptor has.
const PER_PAGE: u32 = (size_of::<Page>() / UNIT) as u32;

/// The two words at a place.
#[repr(C)]
struct Links {
    next: AtomicU32,
    prev: AtomicU32,
}

const _: () =
    assert!(offset_of!(FolioArm, lru_next) == 0 && offset_of!(FolioArm, lru_prev) == 4 && UNIT == 8);

/// Where a page's links are. Never 0, as the first word of a descriptor is no link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(super) struct PlaceOf(u32);

impl PlaceOf {
    #[inline(always)]
    pub(super) fn page(page: &Page) -> Self {
        let links = core::ptr::from_ref(page.arm_unchecked::<FolioArm>()).addr();
        Self((links.wrapping_sub(Hw::vmemmap().addr()) / UNIT) as u32)
    }

    /// The page whose place has this number; `None` for 0.
    #[inline(always)]
    pub(super) fn to_page(number: u32) -> Option<PagePtr> {
        (number != 0).then(|| pfn_to_page(Pfn::new((number / PER_PAGE).into())))
    }

    #[inline(always)]
    pub(super) fn number(self) -> u32 {
        self.0
    }
}

/// All lists. Only under the lock is what they say of use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lists {
    map: *mut u8,
    heads: u32,
}

impl Lists {
    /// How many lists there are.
    pub(super) const COUNT: u32 = 4;

    /// With the heads at `heads` and behind.
    #[inline(always)]
    pub(super) fn at(heads: u32) -> Self {
        Self { map: Hw::vmemmap(), heads }
    }

    /// Makes empty lists, with the heads in the words of `page`, which is nobody's else; returns where they are.
    pub(super) fn make(page: PagePtr) -> u32 {
        let heads = PlaceOf::page(&page).0;
        let lists = Self::at(heads);
        for head in heads..heads + Self::COUNT {
            lists.links(head).next.store(head, Relaxed);
            lists.links(head).prev.store(head, Relaxed);
        }
        heads
    }

    #[inline(always)]
    fn links(&self, place: u32) -> &Links {
        // SAFETY: a place is of a page's words or of a head, which are a page's words too; descriptors live as long as
        // the machine, their words are atomics, and are aligned to 8.
        unsafe { &*self.map.wrapping_add(place as usize * UNIT).cast::<Links>() }
    }

    /// Puts what is on no list in front of list `list`.
    #[inline(always)]
    pub(super) fn insert(&self, folio: &Folio, list: u32) {
        self.insert_at(folio, PlaceOf::page(folio.as_page()), list);
    }

    /// As [`Lists::insert`], for who knows the place.
    #[inline(always)]
    pub(super) fn insert_at(&self, folio: &Folio, PlaceOf(place): PlaceOf, list: u32) {
        let (own, head) = (folio.arm(), self.links(self.heads + list));
        let first = head.next.load(Relaxed);
        own.lru_next.store(first, Relaxed);
        own.lru_prev.store(self.heads + list, Relaxed);
        self.links(first).prev.store(place, Relaxed);
        head.next.store(place, Relaxed);
    }

    /// Takes it off its list.
    #[inline(always)]
    pub(super) fn remove(&self, folio: &Folio) {
        let own = folio.arm();
        self.join(own.lru_prev.load(Relaxed), own.lru_next.load(Relaxed));
    }

    /// As [`Lists::remove`]; returns its place, which its neighbour knows without any reckoning.
    #[inline(always)]
    pub(super) fn remove_from(&self, folio: &Folio) -> PlaceOf {
        let own = folio.arm();
        let (prev, next) = (own.lru_prev.load(Relaxed), own.lru_next.load(Relaxed));
        let place = self.links(prev).next.load(Relaxed);
        self.join(prev, next);
        PlaceOf(place)
    }

    /// Links two places as neighbours.
    #[inline(always)]
    fn join(&self, prev: u32, next: u32) {
        self.links(prev).next.store(next, Relaxed);
        self.links(next).prev.store(prev, Relaxed);
    }

    /// The pages of a list from the front on, and whether each is linked backwards as it is forwards. More than there
    /// are, without end, if the list is damaged.
    pub(super) fn iter(&self, list: u32) -> impl Iterator<Item = (PagePtr, bool)> {
        let head = self.heads + list;
        let mut before = head;
        core::iter::from_fn(move || {
            let at = self.links(before).next.load(Relaxed);
            let linked = self.links(at).prev.load(Relaxed) == before;
            before = at;
            (at != head).then(|| PlaceOf::to_page(at).map(|page| (page, linked))).flatten()
        })
    }

    /// Whether the last page of a list is where the head says.
    pub(super) fn ends_well(&self, list: u32) -> bool {
        let head = self.heads + list;
        self.links(self.links(head).prev.load(Relaxed)).next.load(Relaxed) == head
    }
}
