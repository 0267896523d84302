//! What gives memory back: shrinkers, and caches that are shrunk.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Mutex;

use super::super::*;
use super::free_after_drain;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::karc_dyn;
use crate::page_alloc::alloc_pages;
use crate::stat::{self, Item};

const MIB: usize = 1 << 20;

/// A cache of the kernel that holds objects until it is asked.
#[derive(Default)]
struct Hoard {
    objects: Mutex<Vec<KBox<[u8; 512]>>>,
    asked: Mutex<Vec<usize>>,
    /// Works only with this.
    needs: Option<Gfp>,
    seeks: usize,
}

static HOARDED: Cache<[u8; 512]> = Cache::new("hoarded").reclaimable();

impl Hoard {
    fn with(count: usize) -> KArc<Self> {
        let hoard = KArc::new(Self { seeks: 2, ..Self::default() }, Gfp::KERNEL).unwrap();
        for _ in 0..count {
            hoard.objects.lock().unwrap().push(HOARDED.alloc([1; 512], Gfp::KERNEL).unwrap());
        }
        hoard
    }

    fn len(&self) -> usize {
        self.objects.lock().unwrap().len()
    }
}

impl Shrinker for Hoard {
    fn count(&self, _: &ShrinkControl) -> usize {
        self.len()
    }

    fn scan(&self, control: &mut ShrinkControl) -> Option<usize> {
        self.asked.lock().unwrap().push(control.to_scan);
        if self.needs.is_some_and(|needs| !control.gfp.contains(needs)) {
            return None;
        }
        let mut objects = self.objects.lock().unwrap();
        let most = control.to_scan.min(objects.len());
        Some(objects.drain(..most).count())
    }

    fn seeks(&self) -> usize {
        self.seeks
    }
}

fn register(hoard: &KArc<Hoard>) -> Registration {
    register_shrinker("hoard", karc_dyn!(hoard.clone() => dyn Shrinker)).unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn a_shrinker_is_asked_for_its_part() {
    let _machine = HostMachine::new(16 * MIB, 1);
    let hoard = Hoard::with(4096);
    let registered = register(&hoard);
    // 4096 >> 4 objects, times 4 by 2 seeks: 512, in batches.
    assert_eq!(shrink_slab(Gfp::KERNEL, 4), 512);
    assert_eq!((hoard.len(), &*hoard.asked.lock().unwrap()), (3584, &vec![128; 4]));
    // 14 objects, 3584 >> 9 times 2, are no batch: they are put off, and had when it is urgent.
    hoard.asked.lock().unwrap().clear();
    let freed: Vec<_> = (0..10).map(|_| shrink_slab(Gfp::KERNEL, 9)).collect();
    assert!(freed.iter().all(|freed| *freed == 0), "{freed:?}");
    assert!(hoard.asked.lock().unwrap().is_empty());
    assert!(shrink_slab(Gfp::KERNEL, 0) >= 3584);
    assert_eq!(hoard.len(), 0);
    drop(registered);
    assert_eq!(KArc::strong_count(&hoard), 1);
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn a_shrinker_that_may_not_is_let_be() {
    let _machine = HostMachine::new(16 * MIB, 1);
    let hoard = Hoard::with(0);
    let needy = KArc::new(Hoard { needs: Some(Gfp::FS), ..Hoard::default() }, Gfp::KERNEL).unwrap();
    for _ in 0..300 {
        needy.objects.lock().unwrap().push(HOARDED.alloc([1; 512], Gfp::KERNEL).unwrap());
    }
    let registered = [register(&hoard), register(&needy)];
    assert_eq!(shrink_slab(Gfp::NOFS, 0), 0);
    assert_eq!((hoard.asked.lock().unwrap().len(), needy.asked.lock().unwrap().len()), (0, 1));
    // Nothing was done, so more is due; seeks of 0 are half of all.
    let freed = shrink_slab(Gfp::KERNEL, 0);
    assert!((150..=300).contains(&freed), "{freed}");
    let [first, second] = registered;
    drop(first);
    drop(second);
    let left = needy.len();
    shrink_slab(Gfp::KERNEL, 0);
    assert_eq!(needy.len(), left, "it is not asked any more");
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn many_shrinkers_register_and_go() {
    let _machine = HostMachine::new(16 * MIB, 1);
    let hoards: Vec<_> = (0..20).map(|_| Hoard::with(1)).collect();
    let mut registered: Vec<_> = hoards.iter().map(register).collect();
    drop(registered.remove(7));
    drop(registered.swap_remove(3));
    assert_eq!(shrink_slab(Gfp::KERNEL, 0), 18);
    assert_eq!(hoards.iter().map(|hoard| hoard.len()).sum::<usize>(), 2);
    drop(registered);
    validate();
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn memory_that_a_shrinker_holds_is_had_when_there_is_no_other() {
    let machine = HostMachine::new(4 * MIB, 1);
    let before = free_after_drain(&machine);
    let hoard = Hoard::with(3000);
    let registered = register(&hoard);
    let mut pages = Vec::new();
    let got = loop {
        match alloc_pages(Gfp::KERNEL | Gfp::NOWARN, crate::addr::Order::ZERO) {
            Ok(page) => pages.push(page),
            Err(AllocError) => break pages.len(),
        }
    };
    assert_eq!(hoard.len(), 0);
    assert!(got as u64 * 10 > before * 8, "{got} of {before} pages");
    assert_eq!(stat::read(Item::SlabReclaimable), 0);
    drop((pages, registered, hoard));
    validate();
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn empty_slabs_are_kept_until_asked_for() {
    let _machine = HostMachine::new(16 * MIB, 1);
    let pages = || stat::read(Item::SlabReclaimable) as usize;
    let objects: Vec<_> = (0..500).map(|_| HOARDED.alloc([2; 512], Gfp::KERNEL).unwrap()).collect();
    let most = pages();
    assert!(most >= 500 / 8);
    drop(objects);
    let kept = pages();
    assert!(kept > 0 && kept < most, "{kept} of {most}");
    assert!(HOARDED.shrink() > 0);
    assert_eq!(pages(), 0);
    // What the sheaf does not have lies in slabs: their turn comes by the shrinker.
    drop(HOARDED.alloc([3; 512], Gfp::KERNEL).unwrap());
    assert_eq!(reclaim(Gfp::KERNEL, crate::addr::Order::ZERO), 1);
    assert_eq!(pages(), 0);
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn objects_go_where_their_pages_are_counted() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let _machine = HostMachine::new(16 * MIB, 1);
    let read = || (stat::read(Item::SlabReclaimable), stat::read(Item::SlabUnreclaimable));
    let layout = core::alloc::Layout::new::<[u64; 4]>();
    let kinds =
        [(Gfp::KERNEL, "kmalloc-32", (0, 1)), (Gfp::KERNEL | Gfp::RECLAIMABLE, "kmalloc-rcl-32", (1, 0))];
    for (gfp, name, pages) in kinds {
        let object = kmalloc(layout, gfp).unwrap();
        assert_eq!(read(), pages);
        let page = crate::page::virt_to_page(object.as_ptr());
        let kind = page.block_type();
        let expected = if pages.0 == 1 {
            crate::zone::MigrateType::Reclaimable
        } else {
            crate::zone::MigrateType::Unmovable
        };
        assert_eq!(kind, expected);
        for_each_cache(|cache| {
            if cache.name == name {
                CALLS.fetch_add(1, Relaxed);
                assert_eq!((cache.active_objects, cache.reclaimable), (1, pages.0 == 1));
            }
        });
        // SAFETY: allocated above.
        unsafe { kfree(object) };
        drain();
        assert_eq!(read(), (0, 0));
    }
    assert_eq!(CALLS.load(Relaxed), 2);
}
