//! How much of what is free can be had in huge pages after a churn, in parts of what there would be if nothing were in
//! the way.

use crate::frames::{Bitmap, BuddySystem, FRAMES, Frames, Rux};
use crate::measure::{Bench, Numbers};

const GROUP: &str = "fragmentation";
const HUGE: usize = 9;
/// Processes that live at a time, and the pages of each: 8 MiB.
const PROCESSES: usize = 64;
const PROCESS_PAGES: usize = 2048;

pub fn run(bench: &Bench) {
    all::<Rux>(bench);
    all::<BuddySystem>(bench);
    all::<Bitmap>(bench);
}

fn all<F: Frames>(bench: &Bench) {
    uniform::<F>(bench);
    processes::<F>(bench);
}

/// Takes all huge pages that there are, and gives them back.
fn huge_pages<F: Frames>(frames: &mut F) -> usize {
    let taken: Vec<u32> = std::iter::from_fn(|| frames.alloc(HUGE)).collect();
    taken.iter().for_each(|&first| frames.free(first, HUGE));
    taken.len()
}

fn report<F: Frames>(bench: &Bench, shape: &str, frames: &mut F, held: usize) {
    let ideal = (frames.total() - held) >> HUGE;
    let huge = huge_pages(frames);
    bench.share(GROUP, shape, F::NAME, huge, ideal);
}

/// Gives back single pages at random and takes others in their place.
fn replace<F: Frames>(frames: &mut F, held: &mut [u32], numbers: &mut Numbers, times: usize) {
    for _ in 0..times {
        let at = numbers.below(held.len());
        frames.free(held[at], 0);
        held[at] = frames.alloc(0).expect("memory");
    }
}

/// Memory is filled, random pages are given back until 90 % are taken, and it is churned; then random pages are given
/// back until 50 %, and 10 %, are taken, and it is churned there.
fn uniform<F: Frames>(bench: &Bench) {
    let mut frames = F::new();
    let mut numbers = Numbers::new();
    let total = frames.total();
    let mut held: Vec<u32> = std::iter::from_fn(|| frames.alloc(0)).collect();
    numbers.shuffle(&mut held);
    held.drain(total / 10 * 9..).for_each(|frame| frames.free(frame, 0));
    let times = bench.times(FRAMES);
    replace(&mut frames, &mut held, &mut numbers, times);
    for (shape, tenths) in [("uniform churn, 50 % taken", 5), ("uniform churn, 10 % taken", 1)] {
        numbers.shuffle(&mut held);
        held.drain(total / 10 * tenths..).for_each(|frame| frames.free(frame, 0));
        replace(&mut frames, &mut held, &mut numbers, times);
        report(bench, shape, &mut frames, held.len());
    }
}

/// Two processes at a time exit and two others take their memory, a page of one and a page of the other.
fn processes<F: Frames>(bench: &Bench) {
    let mut frames = F::new();
    let mut numbers = Numbers::new();
    let mut alive: Vec<Vec<u32>> = (0..PROCESSES)
        .map(|_| (0..PROCESS_PAGES).map(|_| frames.alloc(0).expect("memory")).collect())
        .collect();
    for _ in 0..bench.times(256) {
        let first = numbers.below(PROCESSES);
        let second = (first + 1 + numbers.below(PROCESSES - 1)) % PROCESSES;
        for process in [first, second] {
            alive[process].drain(..).for_each(|frame| frames.free(frame, 0));
        }
        for _ in 0..PROCESS_PAGES {
            for process in [first, second] {
                alive[process].push(frames.alloc(0).expect("memory"));
            }
        }
    }
    report(bench, "64 processes of 8 MiB exit and spawn", &mut frames, PROCESSES * PROCESS_PAGES);
}
