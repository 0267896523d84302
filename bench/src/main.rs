//! The memory manager's parts beside their peers, on the host: `rux-bench counts|shares [--short]`.
//!
//! Prints a line for each thing measured, tab-separated: `count GROUP SHAPE WHO OPERATIONS`, right before it is done,
//! `loop` in the place of `count` for the loop around it, or `share GROUP SHAPE WHO PER_MILLE`. `cargo xtask bench components` runs the counts under callgrind and puts the
//! instructions beside them. Everything is seeded, so that two runs do the same. `--short` does little of each, to see
//! that all of it works.

mod fragment;
mod frames;
mod lru;
mod measure;
mod objects;
mod pages;
mod peers;
mod tables;

use measure::Bench;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let bench = Bench { short: args.iter().any(|arg| arg == "--short") };
    match args.first().map(String::as_str) {
        Some("counts") => {
            pages::run(&bench);
            objects::run(&bench);
            tables::run(&bench);
            lru::run(&bench);
        }
        Some("shares") => fragment::run(&bench),
        _ => panic!("counts or shares?"),
    }
}
