//! Physical pages: an operation is an allocation and a free.

use crate::frames::{Bitmap, BuddySystem, FRAMES, Frames, Rux};
use crate::measure::{Bench, Numbers};

const GROUP: &str = "pages";
/// Pages taken and given back together.
const BULK: usize = 16_384;
/// Blocks of mixed orders that live at a time.
const MIXED: usize = 1024;
/// What one hart does before it is the other's turn.
const TURN: usize = 256;

const PAIR: &str = "order-0 pair";
const HUGE_PAIR: &str = "order-9 pair";

pub fn run(bench: &Bench) {
    for shape in [PAIR, HUGE_PAIR] {
        bench.count_loop(GROUP, shape, bench.times(2_000));
    }
    all::<Rux>(bench);
    all::<BuddySystem>(bench);
    all::<Bitmap>(bench);
    two_harts(bench);
}

fn all<F: Frames>(bench: &Bench) {
    pair::<F, 0>(bench, PAIR, 20_000);
    pair::<F, 9>(bench, HUGE_PAIR, 2_000);
    bulk::<F>(bench);
    churn::<F>(bench);
    mixed::<F>(bench);
}

/// The order is a constant, as it is where the kernel allocates.
fn pair<F: Frames, const ORDER: usize>(bench: &Bench, shape: &str, times: usize) {
    let times = bench.times(times);
    let mut frames = F::new();
    let mut work = |times: usize| {
        for _ in 0..times {
            frames.pair(ORDER);
        }
    };
    work(64);
    bench.count(GROUP, shape, F::NAME, times, || work(times));
}

fn bulk<F: Frames>(bench: &Bench) {
    let pages = bench.times(BULK);
    let mut frames = F::new();
    let mut held = Vec::with_capacity(pages);
    let mut work = || {
        held.extend((0..pages).map(|_| frames.alloc(0).expect("memory")));
        held.drain(..).for_each(|frame| frames.free(frame, 0));
    };
    work();
    bench.count(GROUP, "bulk 16k, freed in order", F::NAME, pages, work);
}

/// Half of the memory is taken; pages of it, at random, are given back and taken anew.
fn churn<F: Frames>(bench: &Bench) {
    let (warm, times) = (bench.times(FRAMES / 2), bench.times(40_000));
    let mut frames = F::new();
    let mut held: Vec<u32> = (0..FRAMES / 2).map(|_| frames.alloc(0).expect("memory")).collect();
    let mut numbers = Numbers::new();
    numbers.shuffle(&mut held);
    let order: Vec<u32> = (0..warm + times).map(|_| numbers.below(held.len()) as u32).collect();
    let mut work = |order: &[u32]| {
        for &at in order {
            frames.free(held[at as usize], 0);
            held[at as usize] = frames.alloc(0).expect("memory");
        }
    };
    work(&order[..warm]);
    bench.count(GROUP, "churn at 50 %", F::NAME, times, || work(&order[warm..]));
}

/// Blocks of orders 0 to 9, at random, are given back and others taken.
fn mixed<F: Frames>(bench: &Bench) {
    let times = bench.times(10_000);
    let mut frames = F::new();
    let mut numbers = Numbers::new();
    let mut held: Vec<(u32, usize)> = Vec::with_capacity(MIXED);
    for _ in 0..MIXED {
        let order = numbers.below(10);
        held.push((frames.alloc(order).expect("memory"), order));
    }
    let steps: Vec<(usize, usize)> =
        (0..2 * times).map(|_| (numbers.below(MIXED), numbers.below(10))).collect();
    let mut work = |steps: &[(usize, usize)]| {
        for &(at, order) in steps {
            let (first, old) = held[at];
            frames.free(first, old);
            held[at] = (frames.alloc(order).expect("memory"), order);
        }
    };
    work(&steps[..times]);
    bench.count(GROUP, "mixed orders 0..9", F::NAME, times, || work(&steps[times..]));
}

/// The churn on one hart and on two by turns, each with pages of its own: what a hart's lists cost when they are not
/// the only ones. Turns, since threads would be counted differently in every run.
fn two_harts(bench: &Bench) {
    let times = bench.times(40_000) / (2 * TURN) * (2 * TURN);
    for harts in [1, 2] {
        let mut frames = Rux::new();
        let mut numbers = Numbers::new();
        let mut held: Vec<Vec<u32>> = (0..harts)
            .map(|hart| {
                frames.hart(hart);
                (0..FRAMES / 2 / harts).map(|_| frames.alloc(0).expect("memory")).collect()
            })
            .collect();
        held.iter_mut().for_each(|held| numbers.shuffle(held));
        let order: Vec<usize> = (0..2 * times).map(|_| numbers.below(FRAMES / 2 / harts)).collect();
        let mut work = |order: &[usize]| {
            for (turn, order) in order.chunks(TURN).enumerate() {
                let hart = turn % harts;
                frames.hart(hart);
                for &at in order {
                    frames.free(held[hart][at], 0);
                    held[hart][at] = frames.alloc(0).expect("memory");
                }
            }
        };
        work(&order[..times]);
        let who = if harts == 1 { "rux, one hart" } else { "rux" };
        bench.count(GROUP, "churn, two harts by turns", who, times, || work(&order[times..]));
    }
}
