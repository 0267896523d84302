//! The lock-free parts under loom, which tries all interleavings that the memory model allows:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p rux-mm --test loom --release --target-dir target/loom
//! ```
//!
//! The files under test are the very ones that the kernel compiles; only what they stand on is loom's.

#![cfg(loom)]
#![allow(dead_code)]

use loom::sync::Arc;
use loom::thread;

#[path = "../../src/zone/words.rs"]
mod blocks;
#[path = "../../src/slab/freelist.rs"]
mod freelist;
#[path = "../../src/sync/raw.rs"]
mod raw;
#[path = "../../src/pcp/seat.rs"]
mod seat;
#[path = "../../src/slab/sheaf.rs"]
mod sheaf;
#[path = "../../src/sync/vma.rs"]
mod vma;

mod harts;
mod locks;
mod mappings;
mod objects;
mod sheaves;
mod shim;

/// Runs the body in all ways, under a bound on forced switches that keeps the time in minutes.
fn explore(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(body);
}

/// Runs the bodies as threads that share what is made, the last one on the model's own, and looks at it when all
/// have ended.
fn run<T: Send + Sync + 'static>(make: fn() -> Arc<T>, bodies: &'static [fn(&T)], check: fn(&T)) {
    explore(move || {
        let shared = make();
        let (last, others) = bodies.split_last().unwrap();
        let threads: Vec<_> = others
            .iter()
            .map(|body| {
                let shared = shared.clone();
                thread::spawn(move || body(&shared))
            })
            .collect();
        last(&shared);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        check(&shared);
    });
}
