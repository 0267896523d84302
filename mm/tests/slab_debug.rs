//! Faults planted on purpose, one for each thing that `slab_debug=` watches, and the reports that name
//! whose fault it is. Outside of the crate, as what is in the room `slab` is no owner.

#![cfg(not(loom))]

use core::alloc::Layout;
use core::ptr::NonNull;
use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Once;

use rux_mm::gfp::Gfp;
use rux_mm::host::{HostMachine, RAM_BASE};
use rux_mm::memory::BootOptions;
use rux_mm::slab::{
    Cache, CacheInfo, KBox, KVec, check_objects, drain, faults, for_each_cache, kfree, kmalloc,
    report_owners, validate,
};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what each thread logs.
struct Lines;

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

/// A machine whose command line has `slab_debug=` with that.
fn machine(slab_debug: &'static str) -> HostMachine {
    static LOGGER: Once = Once::new();
    LOGGER.call_once(|| {
        log::set_logger(&Lines).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
    let options = BootOptions { slab_debug: Some(slab_debug), ..BootOptions::default() };
    let machine = HostMachine::with_ram(&[(RAM_BASE, 8 << 20)], 2, options);
    LINES.take();
    machine
}

/// What was logged since, as one text.
fn log() -> String {
    LINES.take().join("\n")
}

/// That the text has all of these, in this order.
#[track_caller]
fn has(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => panic!("no {part:?} in its place in\n{text}"),
        }
    }
}

fn object(bytes: usize) -> NonNull<u8> {
    kmalloc(Layout::from_size_align(bytes, 8).unwrap(), Gfp::KERNEL).unwrap()
}

// What these do after the call keeps their frames on the stack, and them apart from each other.

#[inline(never)]
fn culprit_allocates(bytes: usize) -> NonNull<u8> {
    black_box(kmalloc(Layout::from_size_align(bytes, 8).unwrap(), Gfp::KERNEL).unwrap())
}

#[inline(never)]
fn culprit_frees(object: NonNull<u8>) {
    // SAFETY: none, when it is done twice: that is what is tested.
    unsafe { kfree(object) };
    black_box(1);
}

#[inline(never)]
fn frees_again(object: NonNull<u8>) {
    // SAFETY: none: that is what is tested.
    unsafe { kfree(object) };
    black_box(2);
}

fn write(object: NonNull<u8>, at: isize, byte: u8) {
    // SAFETY: the byte is of the machine's memory, and this is a test of who writes where he must not.
    unsafe { object.as_ptr().offset(at).write(byte) }
}

fn info(name: &str) -> CacheInfo {
    let mut found = None;
    for_each_cache(|cache| {
        if cache.name == name {
            found = Some(cache);
        }
    });
    found.unwrap()
}

/// Uses a cache in many ways; whatever is watched, nothing is wrong with that.
fn use_well() {
    let mut kept = Vec::new();
    for round in 0..if cfg!(miri) { 40 } else { 400 } {
        let bytes = 1 + round * 37 % 500;
        let object = object(bytes);
        (0..bytes as isize).for_each(|at| write(object, at, round as u8));
        kept.push(object);
        if round % 3 == 0 {
            let object = kept.swap_remove(round * 7 % kept.len());
            // SAFETY: allocated above, and taken off the list.
            unsafe { kfree(object) };
        }
    }
    validate();
    assert_eq!(check_objects(), 0);
    // SAFETY: as above.
    kept.into_iter().for_each(|object| unsafe { kfree(object) });
    drain();
    validate();
    assert_eq!(faults(), 0, "{}", log());
    for_each_cache(|cache| assert_eq!(cache.active_objects, 0, "{cache}"));
}

#[test]
fn what_is_right_is_not_reported() {
    for letters in ["F", "Z", "P", "FZ", "ZP", "FZPO", "FZP"] {
        let _machine = machine(letters);
        use_well();
        assert_eq!(log(), "", "with {letters}");
    }
}

#[test]
fn a_double_free_names_both_who_freed() {
    let _machine = machine("FU");
    let object = culprit_allocates(100);
    culprit_frees(object);
    assert_eq!(log(), "");
    frees_again(object);
    has(
        &log(),
        &[
            "BUG kmalloc-128: Object already free",
            "Allocated in slab_debug::culprit_allocates",
            "Freed in slab_debug::culprit_frees",
            "Object 0x",
            "requested=100",
            "Found in slab_debug::frees_again",
            "not freed",
        ],
    );
    assert_eq!(faults(), 1);
    // And all goes on.
    assert_ne!(self::object(100), self::object(100));
    validate();
}

#[test]
fn red_zones_alone_know_a_double_free() {
    let _machine = machine("ZU");
    let object = culprit_allocates(8);
    culprit_frees(object);
    frees_again(object);
    has(&log(), &["BUG kmalloc-8: Object already free", "culprit_allocates", "culprit_frees", "frees_again"]);
    validate();
}

#[test]
fn a_pointer_into_an_object_is_not_freed() {
    let _machine = machine("F");
    let object = object(64);
    // SAFETY: within the object; what is freed is none, which is what is tested.
    unsafe { kfree(object.add(8)) };
    has(&log(), &["BUG kmalloc-64: Invalid object pointer", "not freed"]);
    // SAFETY: allocated above.
    unsafe { kfree(object) };
    assert_eq!((faults(), info("kmalloc-64").active_objects), (1, 0));
    validate();
}

#[test]
fn a_write_after_free_shows_in_the_poison() {
    let _machine = machine("PU");
    let object = culprit_allocates(50);
    culprit_frees(object);
    write(object, 17, 0x41);
    write(object, 20, 0x42);
    // It is seen when the object is to be used again, or when somebody looks.
    let other = self::object(50);
    assert_ne!(other, object, "what is not as it should be is not used on");
    has(
        &log(),
        &[
            "BUG kmalloc-64: Poison overwritten",
            "First byte 0x41 instead of 0x6b",
            "Allocated in slab_debug::culprit_allocates",
            "Freed in slab_debug::culprit_frees",
            "6b 41 6b 6b 42",
            "FIX kmalloc-64: Restoring Poison",
        ],
    );
    culprit_frees(other);
    write(other, 0, 0);
    assert_eq!(check_objects(), 1);
    has(&log(), &["Poison overwritten", "First byte 0x00 instead of 0x6b", "culprit_frees"]);
    assert_eq!(check_objects(), 0, "it was put right");
    assert_eq!(faults(), 2);
}

#[test]
fn a_write_after_free_shows_when_the_slab_goes() {
    let _machine = machine("FPU");
    let objects: Vec<_> = (0..300).map(|_| object(2000)).collect();
    let freed = objects[7];
    objects.into_iter().for_each(culprit_frees);
    // Where it was is free now; or its slab was kept, and goes with the shrinking.
    if info("kmalloc-2k").slabs > 0 {
        let kept = object(2000);
        culprit_frees(kept);
        write(kept, 1999, 1);
        drain();
        has(
            &log(),
            &["BUG kmalloc-2k: Poison overwritten", "First byte 0x01 instead of 0xa5", "culprit_frees"],
        );
    }
    let _ = freed;
    assert_eq!(info("kmalloc-2k").slabs, 0);
}

#[test]
fn an_overrun_shows_in_the_right_zone() {
    let _machine = machine("ZU");
    // By one byte, of what was asked for: the cache's objects are larger.
    let object = culprit_allocates(100);
    write(object, 99, 1);
    culprit_frees(object);
    assert_eq!(log(), "");
    let object = culprit_allocates(100);
    write(object, 100, 0x2a);
    culprit_frees(object);
    has(
        &log(),
        &[
            "BUG kmalloc-128: Right Redzone overwritten",
            "First byte 0x2a instead of 0xcc",
            "Allocated in slab_debug::culprit_allocates",
            "Object 0x",
            "requested=100",
            "Found in slab_debug::culprit_frees",
            "FIX kmalloc-128: Restoring Right Redzone",
            "not freed",
        ],
    );
    // Of an object that fills its class.
    let object = culprit_allocates(192);
    write(object, 192, 7);
    assert_eq!(check_objects(), 1);
    has(&log(), &["BUG kmalloc-192: Right Redzone overwritten", "0x07 instead of 0xcc", "culprit_allocates"]);
    validate();
}

#[test]
fn an_underrun_shows_in_the_left_zone() {
    let _machine = machine("ZU");
    let object = culprit_allocates(32);
    write(object, -1, 0);
    culprit_frees(object);
    has(
        &log(),
        &[
            "BUG kmalloc-32: Left Redzone overwritten",
            "First byte 0x00 instead of 0xcc",
            "Allocated in slab_debug::culprit_allocates",
        ],
    );
    validate();
}

#[test]
fn a_free_object_s_zones_are_watched_too() {
    let _machine = machine("ZU");
    let object = culprit_allocates(64);
    culprit_frees(object);
    write(object, 64, 9);
    assert_ne!(self::object(64), object);
    has(
        &log(),
        &["BUG kmalloc-64: Right Redzone overwritten", "First byte 0x09 instead of 0xbb", "culprit_frees"],
    );
}

#[test]
fn a_broken_chain_is_not_followed() {
    let _machine = machine("F");
    let [first, second] = [object(64), object(64)];
    culprit_frees(second);
    culprit_frees(first);
    // Behind the object, where a free one names the next.
    write(first, 64, 0xff);
    write(first, 65, 0xff);
    let next = object(64);
    has(&log(), &["BUG kmalloc-64: Freechain corrupt", "FIX kmalloc-64: Marking all objects used"]);
    write(next, 0, 1);
    culprit_frees(next);
    assert_eq!(faults(), 1);
    validate();
}

#[test]
fn tracing_tells_each_step() {
    let _machine = machine("T,kmalloc-96");
    let object = culprit_allocates(90);
    culprit_frees(object);
    culprit_frees(culprit_allocates(60));
    let log = log();
    has(
        &log,
        &[
            "TRACE kmalloc-96 alloc 0x",
            "by slab_debug::culprit_allocates",
            "TRACE kmalloc-96 free 0x",
            "by slab_debug::culprit_frees",
        ],
    );
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[derive(Debug)]
struct Thing {
    _words: [u64; 9],
}

static THINGS: Cache<Thing> = Cache::new("thing");
static OTHERS: Cache<Thing> = Cache::new("other_thing");

#[inline(never)]
fn culprit_boxes(cache: &'static Cache<Thing>) -> KBox<Thing> {
    black_box(cache.alloc(Thing { _words: [3; 9] }, Gfp::KERNEL).unwrap())
}

#[inline(never)]
fn culprit_drops(boxed: KBox<Thing>) {
    drop(boxed);
    black_box(3);
}

#[test]
fn only_the_caches_that_are_named_are_watched() {
    let _machine = machine("FZPU,thing*");
    let (thing, other) = (culprit_boxes(&THINGS), culprit_boxes(&OTHERS));
    assert_eq!((info("other_thing").object_size, info("kmalloc-64").object_size), (72, 64));
    assert!(info("thing").object_size > 72 + 8 + 8 + 8);
    // Watched, nothing is kept ready; else it is.
    let kept = |name| info(name).harts().map(|hart| hart.kept).sum::<usize>();
    assert_eq!((kept("thing"), kept("other_thing") > 0), (0, true));
    let raw = NonNull::from(&*thing);
    culprit_drops(thing);
    // SAFETY: none: that is what is tested.
    unsafe { THINGS.free_raw(raw) };
    has(
        &log(),
        &[
            "BUG thing: Object already free",
            "Allocated in slab_debug::culprit_boxes",
            "Freed in slab_debug::culprit_drops",
        ],
    );
    drop(other);
    validate();
}

#[test]
fn a_leak_keeps_a_cache_from_going_and_names_its_owner() {
    let _machine = machine("U,thing");
    let leaked = KBox::leak(culprit_boxes(&THINGS));
    culprit_drops(culprit_boxes(&THINGS));
    assert_eq!(THINGS.destroy().unwrap_err().count, 1);
    has(
        &log(),
        &[
            "BUG thing: Objects remaining in thing when it is destroyed: 1",
            &format!("Object {leaked:p} size=72"),
            "Allocated in slab_debug::culprit_boxes",
        ]
        .map(|part: &str| part.to_string())
        .each_ref()
        .map(String::as_str),
    );
    // SAFETY: it was leaked, and is had again.
    culprit_drops(unsafe { KBox::from_raw(leaked) });
    assert_eq!(THINGS.destroy(), Ok(()));
    for_each_cache(|cache| assert_ne!(cache.name, "thing"));
    // It can be used again.
    culprit_drops(culprit_boxes(&THINGS));
    assert_eq!(info("thing").active_objects, 0);

    // Without owners it is the number that is told.
    let other = culprit_boxes(&OTHERS);
    assert_eq!(OTHERS.destroy().unwrap_err().count, 1);
    has(&log(), &["BUG other_thing: Objects remaining in other_thing when it is destroyed: 1"]);
    drop(other);
    assert_eq!(OTHERS.destroy(), Ok(()));
    assert_eq!(log(), "");
}

#[test]
fn what_is_left_at_the_end_is_told_by_owner() {
    let _machine = machine("U");
    let mut kept = KVec::new();
    for _ in 0..5 {
        kept.push(culprit_boxes(&THINGS), Gfp::KERNEL).unwrap();
    }
    let lost = culprit_allocates(64);
    log();
    // The cache is an object, too.
    assert!(report_owners() > 6);
    let log_text = log();
    has(&log_text, &["slab: thing: 5 objects in use, 360 bytes, of slab_debug::culprit_boxes"]);
    has(&log_text, &["slab: kmalloc-64: 1 objects in use, 64 bytes, of slab_debug::culprit_allocates"]);
    drop(kept);
    culprit_frees(lost);
    drain();
    report_owners();
    let log = log();
    assert!(!log.contains("slab: thing") && !log.contains("culprit_allocates"), "{log}");
}

#[test]
fn objects_are_freed_by_other_harts_under_watch() {
    let machine = machine("FZP");
    let (to_other, from_first) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let machine = &machine;
        scope.spawn(move || {
            machine.enter(1);
            for (object, bytes) in from_first {
                let object = NonNull::with_exposed_provenance(object);
                write(object, bytes as isize - 1, 1);
                culprit_frees(object);
            }
        });
        for round in 0..if cfg!(miri) { 50 } else { 3000 } {
            let bytes = 1 + round % 200;
            to_other.send((object(bytes).expose_provenance(), bytes)).unwrap();
        }
        drop(to_other);
    });
    validate();
    drain();
    for_each_cache(|cache| assert_eq!((cache.active_objects, cache.slabs), (0, 0), "{cache}"));
    assert_eq!(faults(), 0);
}

static MINE: Cache<[u64; 4]> = Cache::new("mine");
static THEIRS: Cache<[u64; 4]> = Cache::new("theirs");

/// An object given to another cache than it came from is no business of that cache's.
#[test]
fn an_object_of_another_cache_is_not_taken() {
    let _machine = machine("F");
    let mine = MINE.alloc_raw(Gfp::KERNEL).unwrap();
    let others = [(); 3].map(|()| THEIRS.alloc_raw(Gfp::KERNEL).unwrap());
    // SAFETY: none: that is what is tested.
    unsafe { THEIRS.free_raw(mine) };
    has(&log(), &["BUG theirs: ", "of no slab of the cache", "not freed"]);
    assert_eq!(faults(), 1);
    validate();
    assert_eq!((info("mine").active_objects, info("theirs").active_objects), (1, 3));
    // SAFETY: allocated above, and freed where they belong.
    unsafe {
        MINE.free_raw(mine);
        others.into_iter().for_each(|object| THEIRS.free_raw(object));
    }
    validate();
    assert_eq!((faults(), check_objects(), log()), (1, 0, String::new()));
}
