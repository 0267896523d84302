//! The page allocator's benchmark: `pages SHAPE ROUNDS`, to be counted by callgrind. The instructions
//! of a round are the difference of two runs with different ROUNDS, divided by theirs. `pages fragments 0`
//! prints how much of the free memory can be had in blocks of 2 MiB after some kinds of churn.

use std::hint::black_box;

use rux_mm::addr::Order;
use rux_mm::gfp::Gfp;
use rux_mm::host::HostMachine;
use rux_mm::page_alloc::{alloc_pages_bulk, drain_pcp, free_pages_count};
use rux_mm::{PageBlock, alloc_folio, alloc_pages};

/// A generator of numbers that is the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn block(order: Order) -> PageBlock {
    alloc_pages(Gfp::KERNEL, order).expect("memory")
}

/// Keeps `slots` at half full on average; a round frees or fills one of them.
fn churn(rounds: usize, slots: usize, order: impl Fn(&mut Numbers) -> Order) {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut held: Vec<Option<PageBlock>> = (0..slots).map(|_| None).collect();
    for _ in 0..rounds {
        let at = numbers.next() as usize % slots;
        held[at] = match held[at].take() {
            Some(block) => {
                drop(block);
                None
            }
            None => Some(block(order(&mut numbers))),
        };
    }
}

/// Order-9 blocks to be had, in hundredths of what the free memory would make.
fn huge_blocks() -> usize {
    drain_pcp();
    let ideal = free_pages_count() as usize / Order::HUGE.pages();
    let had: Vec<_> =
        std::iter::from_fn(|| alloc_pages(Gfp::NOWAIT | Gfp::MOVABLE | Gfp::HIGHMEM, Order::HUGE).ok())
            .collect();
    had.len() * 100 / ideal.max(1)
}

fn user_page() -> Option<PageBlock> {
    alloc_pages(Gfp::HIGHUSER_MOVABLE & !Gfp::DIRECT_RECLAIM | Gfp::NOWARN, Order::ZERO).ok()
}

/// The shapes of churn: a machine filled to 90 % whose pages come and go at random, then left at 50 % and at 10 %;
/// and 64 processes of 8 MiB that exit and start again, then all end.
fn fragments() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let total = free_pages_count() as usize;
    let mut held: Vec<_> = std::iter::from_fn(user_page).take(total * 9 / 10).collect();
    for _ in 0..total * 4 {
        let at = numbers.next() as usize % held.len();
        drop(held.swap_remove(at));
        held.extend(user_page());
    }
    for left in [50, 10] {
        while held.len() > total * left / 100 {
            drop(held.swap_remove(numbers.next() as usize % held.len()));
        }
        println!("uniform churn at 90 %, then {left} % in use: {} %", huge_blocks());
    }
    drop(held);
    // A machine that was not churned before.
    let _machine = HostMachine::new(1 << 30, 1);
    let mut processes: Vec<Vec<PageBlock>> = (0..64).map(|_| Vec::new()).collect();
    let size = (8 << 20) / 4096;
    for round in 0..1000 {
        let at = if round < 64 { round } else { numbers.next() as usize % processes.len() };
        processes[at].clear();
        processes[at].extend((0..size).map_while(|_| user_page()));
    }
    println!("64 processes of 8 MiB come and go, all there: {} %", huge_blocks());
    processes.truncate(32);
    println!("half of them gone: {} %", huge_blocks());
    processes.clear();
    println!("all gone: {} %", huge_blocks());
}

fn main() {
    let mut args = std::env::args().skip(1);
    let shape = args.next().expect("a shape");
    let rounds: usize = args.next().and_then(|rounds| rounds.parse().ok()).expect("rounds");
    let _machine = HostMachine::new(1 << 30, 1);
    match shape.as_str() {
        "order0" => (0..rounds).for_each(|_| {
            let block = block(Order::ZERO);
            black_box(block.page());
        }),
        "folio0" => (0..rounds).for_each(|_| {
            let folio = alloc_folio(Gfp::HIGHUSER_MOVABLE, Order::ZERO).expect("memory");
            black_box(folio.head());
        }),
        "order9" => (0..rounds).for_each(|_| {
            let block = block(Order::HUGE);
            black_box(block.page());
        }),
        "bulk" => {
            // A round is a page; 16,384 at a time.
            let mut held = Vec::with_capacity(16_384);
            for _ in 0..rounds / 16_384 {
                held.extend((0..16_384).map(|_| block(Order::ZERO)));
                held.drain(..).for_each(drop);
            }
        }
        "many" => {
            // As "bulk", with one call.
            let mut held = Vec::with_capacity(16_384);
            for _ in 0..rounds / 16_384 {
                alloc_pages_bulk(Gfp::KERNEL, 16_384, |page| held.push(page));
                held.drain(..).for_each(drop);
            }
        }
        "fragments" => fragments(),
        "churn" => churn(rounds, 1 << 18, |_| Order::ZERO),
        "mixed" => {
            churn(rounds, 1 << 10, |numbers| Order::new(numbers.next() as usize % 10).expect("an order"))
        }
        "numbers" => {
            let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
            (0..rounds).for_each(|_| {
                black_box(numbers.next() % (1 << 10));
            });
        }
        _ => panic!("no such shape"),
    }
}
