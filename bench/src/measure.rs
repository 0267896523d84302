//! What is counted, and numbers that are the same in every run.

use std::hint::black_box;

/// How much is done.
pub struct Bench {
    pub short: bool,
}

impl Bench {
    /// A number of operations: few of them in a short run.
    pub fn times(&self, operations: usize) -> usize {
        if self.short { (operations / 64).max(64) } else { operations }
    }

    /// Counts the instructions of `work`, which is `operations` of something.
    pub fn count(&self, group: &str, shape: &str, who: &str, operations: usize, mut work: impl FnMut()) {
        println!("count\t{group}\t{shape}\t{who}\t{operations}");
        rux_bench_measured(&mut work);
    }

    /// Counts what a loop costs that does nothing `operations` times: it is taken off the shape's figures.
    pub fn count_loop(&self, group: &str, shape: &str, operations: usize) {
        println!("loop\t{group}\t{shape}\tnobody\t{operations}");
        rux_bench_measured(&mut || {
            for _ in 0..operations {
                black_box(0_u32);
            }
        });
    }

    /// Reports a share that needs no counting.
    pub fn share(&self, group: &str, shape: &str, who: &str, part: usize, whole: usize) {
        println!("share\t{group}\t{shape}\t{who}\t{}", part * 1000 / whole.max(1));
    }
}

/// What callgrind collects and dumps by its name: see `xtask/src/bench/callgrind.rs`.
#[inline(never)]
#[unsafe(no_mangle)]
extern "Rust" fn rux_bench_measured(work: &mut dyn FnMut()) {
    work();
    black_box(());
}

/// A generator of numbers that is the same everywhere (Marsaglia's xorshift).
pub struct Numbers(u64);

impl Numbers {
    pub fn new() -> Numbers {
        Numbers(0x9e37_79b9_7f4a_7c15)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}
