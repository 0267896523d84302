//! The page allocator's benchmark: `pages SHAPE ROUNDS`, to be counted by callgrind. The instructions
//! of a round are the difference of two runs with different ROUNDS, divided by theirs.

use std::hint::black_box;

use rux_mm::addr::Order;
use rux_mm::gfp::Gfp;
use rux_mm::host::HostMachine;
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
