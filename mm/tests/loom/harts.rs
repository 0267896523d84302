//! A hart's lists of pages, which it uses without a lock, against those who want them drained.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::{blocks, explore, seat, shim};

/// A hart's lists, as a number of pages that only who may touch them touches, and the zone.
struct Hart {
    seat: seat::Seat,
    pages: UnsafeCell<u32>,
    zone: loom::sync::atomic::AtomicU32,
}

// SAFETY: loom checks the accesses.
unsafe impl Sync for Hart {}
// SAFETY: as above.
unsafe impl Send for Hart {}

impl Hart {
    fn new() -> Arc<Self> {
        let hart = Self {
            seat: seat::Seat::new(shim::AtomicU32::new(0)),
            pages: UnsafeCell::new(0),
            zone: loom::sync::atomic::AtomicU32::new(0),
        };
        Arc::new(hart)
    }

    fn free_one(&self) {
        // SAFETY: the hart is there; loom checks.
        self.pages.with_mut(|pages| unsafe { *pages += 1 });
    }

    fn drain(&self) {
        // SAFETY: the hart's own doing or in its place; loom checks.
        let pages = self.pages.with_mut(|pages| unsafe { core::mem::take(&mut *pages) });
        self.zone.fetch_add(pages, shim::Ordering::Relaxed);
    }

    /// As `drain_all` does it. Says whether the request is served; then all that was in the lists is in the zone. A
    /// look, no wait: loom does not give a spinning thread's others the processor fast enough.
    fn ask(&self) -> bool {
        match self.seat.ask(|| self.drain()) {
            seat::Asked::Done => true,
            seat::Asked::Hart => !self.seat.is_wanted(),
            seat::Asked::Other => false,
        }
    }

    /// As a hart goes away.
    fn go(&self) {
        self.drain();
        self.seat.leave();
    }
}

#[test]
fn a_hart_drains_when_it_is_asked() {
    explore(|| {
        let hart = Hart::new();
        hart.seat.arrive();
        hart.free_one();
        hart.free_one();
        let other = hart.clone();
        let asks = thread::spawn(move || {
            if other.ask() {
                assert!(other.zone.load(shim::Ordering::Relaxed) >= 2);
            }
        });
        hart.free_one();
        hart.seat.serve(|| hart.drain());
        hart.free_one();
        hart.go();
        asks.join().unwrap();
        assert!(hart.ask());
        assert_eq!(hart.zone.load(shim::Ordering::Relaxed), 4);
    });
}

#[test]
fn a_hart_that_comes_back_waits_for_who_drains() {
    explore(|| {
        let hart = Hart::new();
        hart.seat.arrive();
        hart.free_one();
        hart.seat.leave();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let hart = hart.clone();
                thread::spawn(move || hart.ask())
            })
            .collect();
        hart.seat.arrive();
        hart.free_one();
        hart.seat.serve(|| hart.drain());
        hart.free_one();
        hart.seat.leave();
        for thread in threads {
            thread.join().unwrap();
        }
        // It went with its pages.
        assert!(hart.ask());
        assert_eq!(hart.zone.load(shim::Ordering::Relaxed), 3);
    });
}

#[test]
fn who_asks_a_hart_that_was_never_there_finds_nothing() {
    explore(|| {
        let hart = Hart::new();
        let other = hart.clone();
        let asks = thread::spawn(move || other.ask());
        hart.seat.arrive();
        hart.free_one();
        hart.drain();
        hart.seat.leave();
        asks.join().unwrap();
        assert_eq!(hart.zone.load(shim::Ordering::Relaxed), 1);
    });
}

/// A page of the hart's, in a block that is being emptied: what the hart reads of it without a lock when it frees it.
struct Block {
    hart: Arc<Hart>,
    block: blocks::BlockWord,
    home: blocks::Home,
}

// SAFETY: loom checks the accesses.
unsafe impl Sync for Block {}
// SAFETY: as above.
unsafe impl Send for Block {}

const LIST: u32 = 64;
const DIRECT: u32 = 4096;
const ZONE: u32 = 2;
const MOVABLE: u32 = 1;
const ISOLATED: u32 = 4;

impl Block {
    fn new() -> Arc<Self> {
        let block = Self { hart: Hart::new(), block: blocks::BlockWord::new(), home: blocks::Home::new() };
        block.block.init(ZONE, MOVABLE);
        block.home.set(LIST);
        Arc::new(block)
    }

    /// As `Pcp::push` and `put`: onto the list, or to the zone if the page must not be on one. The two words may be
    /// seen apart.
    fn free(&self) {
        if self.home.bytes() == LIST as usize || self.block.kind() != ISOLATED {
            self.hart.free_one();
        } else {
            self.hart.zone.fetch_add(1, shim::Ordering::Relaxed);
        }
    }

    /// As `Zone::isolate_block` and then `drain_all`. Says whether the hart has no page of the block any more, and
    /// will not have one.
    fn isolate(&self) -> bool {
        self.block.set_kind(ISOLATED);
        self.home.set(DIRECT);
        self.hart.ask()
    }

    fn listed(&self) -> u32 {
        // SAFETY: the hart is still; loom checks.
        self.hart.pages.with(|pages| unsafe { *pages })
    }
}

#[test]
fn who_serves_a_request_puts_no_page_of_the_isolated_block_on_a_list_any_more() {
    explore(|| {
        let block = Block::new();
        block.hart.seat.arrive();
        let other = block.clone();
        let isolates = thread::spawn(move || other.isolate());
        block.free();
        let mut served = false;
        block.hart.seat.serve(|| {
            served = true;
            block.hart.drain();
        });
        block.free();
        assert!(!served || block.listed() == 0);
        isolates.join().unwrap();
        assert_eq!(block.block.zone(), ZONE);
    });
}

#[test]
fn a_hart_that_comes_later_does_not_either() {
    explore(|| {
        let block = Block::new();
        let other = block.clone();
        let isolates = thread::spawn(move || other.isolate());
        block.hart.seat.arrive();
        block.free();
        let isolated = isolates.join().unwrap();
        assert!(!isolated || block.listed() == 0);
    });
}

#[test]
fn a_hart_that_was_away_does_not_either() {
    explore(|| {
        let block = Block::new();
        block.hart.seat.arrive();
        block.free();
        block.hart.seat.leave();
        let other = block.clone();
        let isolates = thread::spawn(move || other.isolate());
        block.hart.seat.arrive();
        block.free();
        let isolated = isolates.join().unwrap();
        assert!(!isolated || block.listed() == 0);
    });
}
