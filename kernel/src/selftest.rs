//! What of the kernel's own rooms can be tested without a program: `rux.selftest` on the command line runs this in
//! place of init, and powers off with status 0 if all held. A failure is a panic.

mod rcu;
pub(crate) mod slab;
pub(crate) mod string;

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use rux_machine::cold::{self, Fence};
use rux_machine::{HartMask, Hot, Hw};
use rux_mm::addr::{Order, VirtAddr};
use rux_mm::gfp::Gfp;
use rux_mm::page_alloc::{alloc_pages, free_pages_count};
use rux_mm::slab::{KBox, KVec};
use rux_mm::sync::{IrqSpinLock, Mutex, Rank, RwSem};

use crate::time::{self, SECOND, Timer};
use crate::wait::{WaitError, WaitQueue};
use crate::{hart, power, sched, uaccess};

const MS: u64 = SECOND / 1000;

/// Runs all tests, then ends the machine.
pub(crate) fn run(_: usize) {
    let tests: &[(&str, fn())] = &[
        ("threads pre-empt each other", preemption),
        ("no sleep ends early", sleeping),
        ("no wake-up is lost", ping_pong),
        ("a wait ends at its deadline", deadlines),
        ("locks that sleep exclude", sleeping_locks),
        ("timers can be cancelled from elsewhere", timers),
        ("functions run on other harts", calls),
        ("what a reader finds is there", rcu::readers),
        ("a grace period ends", rcu::periods),
        ("threads and memory go when they end", churn),
        ("a user copy survives a bad pointer", copies),
        ("memory is copied and set at any alignment", string::run),
    ];
    for (name, test) in tests {
        let start = time::now();
        test();
        log::info!("selftest: {name}: passed in {} ms", (time::now() - start) / MS);
    }
    power::power_off(0);
}

/// Starts `count` threads of `body(0..count)` and waits for all.
fn threads(count: usize, body: fn(usize)) {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    static DONE: WaitQueue = WaitQueue::new();
    static BODY: AtomicUsize = AtomicUsize::new(0);
    BODY.store(body as usize, SeqCst);
    LEFT.store(count, SeqCst);
    for index in 0..count {
        let run = |index| {
            // SAFETY: stored above, by the only caller at a time.
            let body = unsafe { core::mem::transmute::<usize, fn(usize)>(BODY.load(SeqCst)) };
            body(index);
            if LEFT.fetch_sub(1, SeqCst) == 1 {
                DONE.wake_all();
            }
        };
        assert!(sched::spawn_kthread("selftest", run, index).is_ok());
    }
    DONE.wait_uninterruptible(|| LEFT.load(SeqCst) == 0);
}

fn preemption() {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    // More threads than harts spin for each other, so they end only if all get their share.
    threads(12, |index| {
        for round in 0..2 {
            while TURN.load(SeqCst) % 12 != index {
                Hw::relax();
            }
            assert_eq!(TURN.fetch_add(1, SeqCst), round * 12 + index);
        }
    });
}

fn sleeping() {
    static START: AtomicU64 = AtomicU64::new(0);
    START.store(time::now(), SeqCst);
    threads(8, |index| {
        let deadline = START.load(SeqCst) + (20 + 10 * (7 - index as u64)) * MS;
        assert!(sched::sleep_until(deadline).is_ok());
        assert!(time::now() >= deadline, "woken too early");
    });
}

fn ping_pong() {
    static BALL: AtomicUsize = AtomicUsize::new(0);
    static QUEUES: [WaitQueue; 8] = [const { WaitQueue::new() }; 8];
    const ROUNDS: usize = 100;
    BALL.store(0, SeqCst);
    threads(8, |index| {
        for round in 0..ROUNDS {
            let mine = round * 8 + index;
            QUEUES[index].wait_uninterruptible(|| BALL.load(SeqCst) == mine);
            BALL.store(mine + 1, SeqCst);
            QUEUES[(index + 1) % 8].wake_one();
        }
    });
}

fn deadlines() {
    let queue = WaitQueue::new();
    let start = time::now();
    assert_eq!(queue.wait_deadline(Some(start + 5 * MS), || false), Err(WaitError::TimedOut));
    assert!(time::now() >= start + 5 * MS);
    assert_eq!(queue.wait_deadline(Some(start), || false), Err(WaitError::TimedOut), "a time that is past");
    let word = AtomicU32::new(1);
    cold::park(&word, 0, None);
    let deadline = time::now() + 5 * MS;
    cold::park(&word, 1, Some(deadline));
    assert!(time::now() >= deadline);
}

fn sleeping_locks() {
    static MUTEX: Mutex<u64> = Mutex::new(Rank::Tty, 0);
    static SEM: RwSem<(u64, u64)> = RwSem::new(Rank::Mmap, (0, 0));
    static SPIN: IrqSpinLock<u64> = IrqSpinLock::new(Rank::Device, 0);
    threads(16, |index| {
        for round in 0..500 {
            *MUTEX.lock() += 1;
            if (round + index) % 7 == 0 {
                let mut pair = SEM.write();
                pair.0 += 1;
                sched::yield_now();
                pair.1 += 1;
            } else {
                let pair = SEM.read();
                assert_eq!(pair.0, pair.1);
            }
            *SPIN.lock() += 1;
        }
    });
    assert_eq!((*MUTEX.lock(), *SPIN.lock()), (8000, 8000));
}

fn timers() {
    static FIRED: AtomicU32 = AtomicU32::new(0);
    threads(8, |_| {
        for round in 0..300u64 {
            let timer = Timer::new(
                |_| {
                    FIRED.fetch_add(1, Relaxed);
                },
                0,
            );
            // SAFETY: cancelled before it goes.
            unsafe { timer.arm(time::now() + round % 50 * 1000) };
            if round % 3 == 0 {
                sched::yield_now();
            }
            timer.cancel();
            assert!(!timer.is_armed());
        }
    });
}

fn calls() {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.store(0, SeqCst);
    threads(8, |_| {
        for _ in 0..5 {
            let add = |_: *mut ()| {
                COUNT.fetch_add(1, SeqCst);
            };
            cold::run_on(HartMask::first(64), add, core::ptr::null_mut());
            cold::remote_fence(HartMask::first(64), Fence::Asid(1));
            cold::remote_fence(HartMask::first(64), Fence::Pages { asid: 0, start: 0x1000, pages: 3 });
            cold::remote_fence(HartMask::first(64), Fence::Instructions);
        }
    });
    assert_eq!(COUNT.load(SeqCst), 40 * (hart::online().count() - 1));
}

fn churn() {
    let round = || {
        threads(64, |index| {
            let mut kept = KVec::new();
            for size in 0..40 {
                let words = KBox::<[u8]>::zeroed(1 + size * 97, Gfp::KERNEL);
                assert!(kept.push(words, Gfp::KERNEL).is_ok());
                let order = Order::new((index + size) % 4).unwrap_or(Order::ZERO);
                drop(alloc_pages(Gfp::KERNEL, order));
            }
        });
        // The last ones to end have yet to be buried.
        assert!(sched::sleep_until(time::now() + 20 * MS).is_ok());
    };
    round();
    let before = free_pages_count();
    for _ in 0..5 {
        round();
    }
    let after = free_pages_count();
    assert!(after + 64 >= before, "{} pages are gone", before - after);
}

fn copies() {
    let mut bytes = [0u8; 200];
    let user_end = rux_mm::paging::mode().user_end().get();
    // This thread has no address space, so every user address is bad.
    for addr in [0, 1, 0x1000, user_end - 8, user_end, 0xffff_ffff_8000_0000, u64::MAX - 3, 1 << 63] {
        let addr = VirtAddr::new(addr);
        assert!(uaccess::copy_from_user(&mut bytes, addr).is_err());
        assert!(uaccess::copy_to_user(addr, &bytes).is_err());
        assert!(uaccess::clear_user(addr, 100).is_err());
        assert!(uaccess::read_user::<u32>(addr).is_err());
        assert!(uaccess::strncpy_from_user(&mut bytes, addr).is_err());
        assert!(uaccess::cmpxchg_user_nofault(addr, 0, 1).is_err());
    }
}
