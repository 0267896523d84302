//! What owns objects: boxes, shares, arrays. Each value is dropped once, whatever fails.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::inject::{self, Then};
use crate::{karc_dyn, kbox_dyn};

/// Counts how often it is dropped.
struct Counted<'a>(&'a AtomicUsize, u32);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

trait Number {
    fn number(&self) -> u32;
}

impl Number for Counted<'_> {
    fn number(&self) -> u32 {
        self.1
    }
}

/// Of an alignment that its header must respect.
#[repr(align(64))]
struct Aligned(u32);

impl Number for Aligned {
    fn number(&self) -> u32 {
        assert!((&raw const *self).addr().is_multiple_of(64));
        self.0
    }
}

#[test]
fn boxes_own_their_values() {
    let machine = HostMachine::new(8 * MIB, 1);
    let before = free_after_drain(&machine);
    let drops = AtomicUsize::new(0);
    drop(KBox::new(Counted(&drops, 1), Gfp::KERNEL).unwrap());
    assert_eq!(drops.load(Relaxed), 1);
    let boxed = kbox_dyn!(KBox::new(Counted(&drops, 2), Gfp::KERNEL).unwrap() => dyn Number + '_);
    assert_eq!(boxed.number(), 2);
    drop(boxed);
    assert_eq!(drops.load(Relaxed), 2);
    drop(KBox::into_inner(KBox::new(Counted(&drops, 3), Gfp::KERNEL).unwrap()));
    assert_eq!(drops.load(Relaxed), 3);
    let slice = KBox::<[Counted<'_>]>::from_fn(500, Gfp::KERNEL, |n| Counted(&drops, n as u32)).unwrap();
    assert_eq!(slice[499].number(), 499);
    drop(slice);
    assert_eq!(drops.load(Relaxed), 503);
    // No size, no memory.
    let nothing = KBox::new((), Gfp::KERNEL).unwrap();
    drop(kbox_dyn!(nothing => dyn Send));
    // SAFETY: all of it is written.
    let large = unsafe {
        KBox::<[u64; 3000]>::try_init(Gfp::KERNEL, |slot| {
            (0..3000).for_each(|n| slot.as_mut_ptr().cast::<u64>().add(n).write(n as u64));
            Ok::<_, crate::error::AllocError>(())
        })
    };
    assert_eq!(large.unwrap()[2999], 2999);
    assert_eq!(free_after_drain(&machine), before);
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn arcs_share_and_the_last_one_drops() {
    static SHARED: ArcCache<Counted<'static>> = ArcCache::new("shared");
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    let machine = HostMachine::new(8 * MIB, 2);
    let mut arc = KArc::new_in(&SHARED, Counted(&DROPS, 7), Gfp::KERNEL).unwrap();
    assert!(KArc::get_mut(&mut arc).is_some());
    let other = arc.clone();
    assert!(KArc::get_mut(&mut arc).is_none() && KArc::ptr_eq(&arc, &other));
    assert!(KArc::into_inner(other).is_none());
    assert_eq!(KArc::strong_count(&arc), 1);
    let arc = karc_dyn!(arc => dyn Number + Send + Sync);
    std::thread::scope(|scope| {
        for hart in 0..2 {
            let (arc, machine) = (arc.clone(), &machine);
            scope.spawn(move || {
                machine.enter(hart);
                for _ in 0..rounds(1000) {
                    assert_eq!(arc.clone().number(), 7);
                }
            });
        }
    });
    let raw = KArc::into_raw(arc);
    // SAFETY: `raw` stands for a share.
    let arc = unsafe {
        let another = KArc::try_clone_raw(raw).unwrap();
        drop(KArc::clone_raw(raw));
        drop(another);
        KArc::from_raw(raw)
    };
    assert_eq!(DROPS.load(Relaxed), 0);
    drop(arc);
    assert_eq!(DROPS.load(Relaxed), 1);

    let aligned = karc_dyn!(KArc::new(Aligned(9), Gfp::KERNEL).unwrap() => dyn Number);
    assert_eq!(aligned.clone().number(), 9);
    assert_eq!(KArc::into_inner(KArc::new(5, Gfp::KERNEL).unwrap()), Some(5));
    drop(aligned);
    validate();
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn vectors_follow_the_model() {
    let machine = HostMachine::new(16 * MIB, 1);
    let before = free_after_drain(&machine);
    let drops = AtomicUsize::new(0);
    let mut made = 0;
    let mut vec = KVec::new();
    let mut model = Vec::new();
    let mut random = Random(99);
    for _ in 0..rounds(20_000) {
        made += 1;
        let value = || Counted(&drops, made);
        let len = model.len();
        match random.below(12) {
            0..5 => {
                vec.push(value(), Gfp::KERNEL).unwrap();
                model.push(made);
            }
            5 => {
                let at = random.below(len + 1);
                vec.insert(at, value(), Gfp::KERNEL).unwrap();
                model.insert(at, made);
            }
            6 if len > 0 => {
                let at = random.below(len);
                assert_eq!(vec.remove(at).1, model.remove(at));
                made -= 1;
                drops.fetch_sub(1, Relaxed);
            }
            7 if len > 0 => {
                let at = random.below(len);
                assert_eq!(vec.swap_remove(at).1, model.swap_remove(at));
                made -= 1;
                drops.fetch_sub(1, Relaxed);
            }
            8 => {
                assert_eq!(vec.pop().map(|value| value.1), model.pop());
                made -= 1;
                if len > 0 {
                    drops.fetch_sub(1, Relaxed);
                }
            }
            9 if random.below(20) == 0 => {
                vec.retain(|value| value.1 % 3 != 0);
                model.retain(|value| value % 3 != 0);
                made -= 1;
            }
            10 if random.below(20) == 0 && len > 0 => {
                let start = random.below(len);
                let end = start + random.below(len - start);
                let (ours, theirs) = (vec.drain(start..end), model.drain(start..end));
                assert!(ours.map(|value| value.1).eq(theirs));
                made -= 1;
            }
            11 if random.below(100) == 0 => {
                vec.truncate(len / 2);
                model.truncate(len / 2);
                made -= 1;
            }
            _ => made -= 1,
        }
        assert_eq!(vec.len(), model.len());
    }
    assert!(vec.iter().map(|value| value.1).eq(model.iter().copied()));
    validate();
    let half = vec.len() / 2;
    let mut iter = vec.into_iter();
    assert!(iter.by_ref().take(half).map(|value| value.1).eq(model[..half].iter().copied()));
    assert_eq!(iter.next_back().map(|value| value.1), model.last().copied());
    drop(iter);
    assert_eq!(free_after_drain(&machine), before);

    let mut units = KVec::new();
    (0..1000).for_each(|_| units.push((), Gfp::KERNEL).unwrap());
    assert_eq!(units.len(), 1000);
    let mut bytes = KVec::from_slice(b"abc", Gfp::KERNEL).unwrap();
    bytes.resize(10, b'x', Gfp::KERNEL).unwrap();
    assert_eq!(&*bytes.into_boxed_slice(Gfp::KERNEL).unwrap(), b"abcxxxxxxx");
    let text = KString::format(format_args!("{}-{:?}", 12, Some(3)), Gfp::KERNEL).unwrap();
    assert_eq!(&*text, "12-Some(3)");
}

#[test]
fn every_drop_happens_once() {
    let _machine = HostMachine::new(8 * MIB, 1);
    let drops = AtomicUsize::new(0);
    let make = |count| {
        let mut vec = KVec::new();
        vec.try_extend((0..count).map(|n| Counted(&drops, n)), Gfp::KERNEL).unwrap();
        vec
    };
    drop(make(10));
    assert_eq!(drops.swap(0, Relaxed), 10);
    drop(make(10).drain(2..5));
    assert_eq!(drops.swap(0, Relaxed), 10);
    make(10).retain(|value| value.1 % 2 == 0);
    assert_eq!(drops.swap(0, Relaxed), 10);
    make(10).truncate(3);
    assert_eq!(drops.swap(0, Relaxed), 10);
    drop(make(10).into_iter().nth(4));
    assert_eq!(drops.swap(0, Relaxed), 10);
    drop(make(10).into_boxed_slice(Gfp::KERNEL));
    assert_eq!(drops.swap(0, Relaxed), 10);
    drop(make(10).swap_remove(3));
    assert_eq!(drops.swap(0, Relaxed), 10);
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn a_failed_growth_changes_nothing() {
    let _machine = HostMachine::new(8 * MIB, 1);
    let (steps, most, more) = if cfg!(miri) { (4, 140, &[1; 300][..]) } else { (12, 2000, &[1; 5000][..]) };
    for fail_at in 0..steps {
        let mut vec = KVec::new();
        let injection = inject::fail_after(fail_at, Then::Fail);
        let stopped = (0..most).find(|n| vec.push(*n, Gfp::KERNEL).is_err());
        assert!(injection.failed() > 0 && stopped.is_some());
        assert!(vec.iter().copied().eq(0..stopped.unwrap()));
        assert!(vec.extend_from_slice(more, Gfp::KERNEL).is_err());
        drop(injection);
        vec.extend_from_slice(more, Gfp::KERNEL).unwrap();
        assert_eq!(vec.len(), stopped.unwrap() as usize + more.len());
    }
    // Nobody to give the value back to: it is dropped, once.
    let drops = AtomicUsize::new(0);
    let injection = inject::fail_after(0, Then::Fail);
    assert!(KBox::new(Counted(&drops, 0), Gfp::KERNEL).is_err());
    assert!(KArc::new(Counted(&drops, 0), Gfp::KERNEL).is_err());
    drop(injection);
    assert_eq!(drops.load(Relaxed), 2);
    validate();
}
