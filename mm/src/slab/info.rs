//! What the slab allocator tells about itself: `/proc/slabinfo`, and a check of its invariants.

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use rux_machine::MAX_HARTS;

use super::freelist::Links;
use super::kmem::{KmemCache, Objects};
use super::pages::{slab_of, slab_order_of, slab_word};
use super::state::{CACHES, SheafOffset, sheaf_of};
use crate::memory::memory;
use crate::page::{PagePtr, PageType, SlabArm};

/// The first two lines of `/proc/slabinfo`.
pub const SLABINFO_HEADER: &str = "slabinfo - version: 2.1\n\
    # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> \
    : tunables <limit> <batchcount> <sharedfactor> \
    : slabdata <active_slabs> <num_slabs> <sharedavail>\n";

/// One line of `/proc/slabinfo`, which is how it shows itself, without the newline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheInfo {
    /// Its name.
    pub name: &'static str,
    /// Objects that somebody uses. Exact when nobody allocates meanwhile.
    pub active_objects: usize,
    /// Objects of all slabs.
    pub objects: usize,
    /// Bytes of an object, with what its alignment takes.
    pub object_size: usize,
    /// Objects of a slab of the usual size.
    pub objects_per_slab: usize,
    /// Pages of a slab of the usual size.
    pub pages_per_slab: usize,
    /// All slabs.
    pub slabs: usize,
    /// Whether its pages are accounted as reclaimable.
    pub reclaimable: bool,
    offset: SheafOffset,
}

/// What one hart does with a cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HartCacheInfo {
    /// The hart.
    pub hart: usize,
    /// Free objects that it keeps ready.
    pub kept: usize,
    /// How often it fetched objects from the slabs; wraps.
    pub refills: u32,
    /// How often it gave objects back to the slabs; wraps.
    pub flushes: u32,
}

impl CacheInfo {
    /// What each hart does with it, at this moment.
    pub fn harts(&self) -> impl Iterator<Item = HartCacheInfo> + '_ {
        harts().map(|hart| {
            let sheaf = sheaf_of(hart, self.offset);
            let (refills, flushes) = sheaf.moves();
            HartCacheInfo { hart, kept: sheaf.objects().len(), refills, flushes }
        })
    }
}

impl fmt::Display for CacheInfo {
    /// As `slabinfo_show` of `mm/slab_common.c`. The tunables are SLAB's and always 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<17} {:>6} {:>6} {:>6} {:>4} {:>4} : tunables {:>4} {:>4} {:>4} : slabdata {:>6} {:>6} {:>6}",
            self.name,
            self.active_objects,
            self.objects,
            self.object_size,
            self.objects_per_slab,
            self.pages_per_slab,
            0,
            0,
            0,
            // SLUB does not tell which are empty either.
            self.slabs,
            self.slabs,
            0
        )
    }
}

impl KmemCache {
    /// Objects that somebody uses.
    pub(super) fn in_use(&self) -> usize {
        self.info().active_objects
    }

    fn info(&self) -> CacheInfo {
        let lists = self.lists.lock();
        let mut free = 0;
        for slab in lists.partial.iter() {
            let word = slab_word(slab);
            free += (word.objects() - word.in_use()) as usize;
        }
        let (objects, slabs) = (self.objects.load(Relaxed), self.slabs.load(Relaxed));
        drop(lists);
        let kept: usize = harts().map(|hart| sheaf_of(hart, self.offset).objects().len()).sum();
        CacheInfo {
            name: self.shape.name,
            active_objects: objects.saturating_sub(free + kept),
            objects,
            object_size: self.geometry().stride,
            objects_per_slab: self.geometry().objects_in(self.geometry().order),
            pages_per_slab: self.geometry().order.pages(),
            slabs,
            reclaimable: self.shape.reclaimable,
            offset: self.offset,
        }
    }
}

/// The harts that have sheaves.
pub(super) fn harts() -> impl Iterator<Item = usize> {
    (0..MAX_HARTS).filter(|hart| !memory().hart(*hart).sheaves.load(Relaxed).is_null())
}

/// Tells `each` of every cache in use, the newest first, as Linux lists them. No lock is held meanwhile.
pub fn for_each_cache(each: impl FnMut(CacheInfo)) {
    let caches = memory().slab.iter().filter(|cache| !cache.retired.load(Relaxed));
    caches.map(KmemCache::info).for_each(each)
}

/// Checks every cache while nobody allocates or frees: that its list has the slabs that it should, that
/// their chains have as many objects as their words say, each once, and that what harts keep ready is in
/// use as far as the slabs know.
///
/// # Panics
/// When it finds a fault.
pub fn validate() {
    for cache in memory().slab.iter() {
        check_list(cache);
        check_sheaves(cache);
    }
    check_pages();
}

fn check_list(cache: &'static KmemCache) {
    let lists = cache.lists.lock();
    let mut slabs = 0;
    for slab in lists.partial.iter() {
        slabs += 1;
        check_slab(cache, slab);
        assert!(!slab_word(slab).is_full(), "{}: full slab on the list", cache.shape.name);
    }
    assert_eq!(slabs, lists.partial.len(), "{}: length of the list", cache.shape.name);
    if cache.is_watched() {
        let full = lists.full.iter().inspect(|slab| check_slab(cache, *slab)).count();
        assert_eq!(full, lists.full.len(), "{}: length of the list of full slabs", cache.shape.name);
        let slabs = cache.slabs.load(Relaxed);
        assert_eq!(full + lists.partial.len(), slabs, "{}: slabs on no list", cache.shape.name);
    }
}

fn check_slab(cache: &'static KmemCache, slab: PagePtr) {
    let name = cache.shape.name;
    assert_eq!(slab.page_type(), Some(PageType::Slab), "{name}: {slab:?}");
    let arm = slab.arm::<SlabArm>();
    assert_eq!(arm.cache.load(Relaxed), core::ptr::from_ref(cache).addr(), "{name}: slab of another cache");
    let word = slab_word(slab);
    let fits = cache.geometry().objects_in(slab_order_of(slab));
    assert_eq!(word.objects() as usize, fits, "{name}: {word:?}");
    assert!(word.in_use() <= word.carved() && word.carved() <= word.objects(), "{name}: {word:?}");
    let objects = Objects::of(cache, slab);
    let (mut object, mut count) = (word.first(), 0);
    while object != 0 {
        count += 1;
        assert!(count + word.in_use() <= word.carved(), "{name}: chain too long or a cycle: {word:?}");
        let stride = cache.geometry().stride;
        let offset = (object as usize - 1) * 8 - cache.geometry().start;
        assert!(offset.is_multiple_of(stride), "{name}: chain points into an object: {word:?}");
        assert!(offset / stride < word.carved() as usize, "{name}: chain leaves the slab: {word:?}");
        object = objects.next(object);
    }
    assert_eq!(count + word.in_use(), word.carved(), "{name}: objects lost: {word:?}");
}

/// What was found of one cache.
#[derive(Clone, Copy, Default)]
struct Found {
    slabs: usize,
    objects: usize,
    partial: usize,
}

/// Looks for slabs among all pages, as full ones are on no list.
fn check_pages() {
    let mut found = [Found::default(); CACHES];
    for slab in slab_pages() {
        let cache = slab.arm::<SlabArm>().cache.load(Relaxed);
        // SAFETY: a slab's pages name its cache, which stays.
        let cache: &'static KmemCache = unsafe { &*core::ptr::with_exposed_provenance(cache) };
        check_slab(cache, slab);
        let word = slab_word(slab);
        let found = &mut found[cache.offset.number()];
        found.slabs += 1;
        found.objects += word.objects() as usize;
        found.partial += !word.is_full() as usize;
    }
    for cache in memory().slab.iter() {
        let (name, found) = (cache.shape.name, found[cache.offset.number()]);
        assert_eq!(found.slabs, cache.slabs.load(Relaxed), "{name}: number of slabs");
        assert_eq!(found.objects, cache.objects.load(Relaxed), "{name}: number of objects");
        assert_eq!(
            found.partial,
            cache.lists.lock().partial.len(),
            "{name}: slab with free objects not on the list"
        );
    }
}

fn is_of(cache: &'static KmemCache, page: &PagePtr) -> bool {
    page.arm::<SlabArm>().cache.load(Relaxed) == core::ptr::from_ref(cache).addr()
}

/// The first pages of all slabs.
fn slab_pages() -> impl Iterator<Item = PagePtr> {
    use crate::page::{PAGES_PER_SECTION, pfn_to_page};
    let sections = memory().memmap.sections();
    sections
        .flat_map(|first| (0..PAGES_PER_SECTION).map(move |index| pfn_to_page(first).nth(index as usize)))
        .filter(|page| page.page_type() == Some(PageType::Slab))
        .filter(|page| page.arm::<SlabArm>().index.load(Relaxed) == 0)
}

fn check_sheaves(cache: &'static KmemCache) {
    let name = cache.shape.name;
    for hart in harts() {
        let kept = sheaf_of(hart, cache.offset).objects();
        for (index, object) in kept.iter().enumerate() {
            let pointer = object.load(Relaxed);
            let slab = slab_of(pointer);
            assert!(is_of(cache, &slab), "{name}: hart {hart} keeps another cache's object {pointer:p}");
            let twice = kept[..index].iter().any(|other| other.load(Relaxed) == pointer);
            assert!(!twice, "{name}: hart {hart} keeps {pointer:p} twice");
            let mut free = slab_word(slab).first();
            let objects = Objects::of(cache, slab);
            while free != 0 {
                assert!(objects.pointer(free) != pointer, "{name}: {pointer:p} is free twice");
                free = objects.next(free);
            }
        }
    }
}
