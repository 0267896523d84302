//! The memory manager's parts beside their peers, on the host: `rux-bench counts [--only GROUP]|shares [--short]`.
//!
//! Prints a line for each thing measured, tab-separated: `count GROUP SHAPE WHO OPERATIONS`, right before it is done,
//! `loop` in the place of `count` for the loop around it, or `share GROUP SHAPE WHO PER_MILLE`. `cargo xtask bench
//! components` runs the counts under callgrind and puts the instructions beside them. Everything is seeded, so that
//! two runs do the same. `--short` does little of each, to see that all of it works.

mod fragment;
mod frames;
mod lru;
mod measure;
mod objects;
mod pages;
mod peers;
mod range_peers;
mod ranges;
mod tables;

use measure::Bench;

/// What `--only` names, and what measures it.
type Group = (&'static str, fn(&Bench));

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let bench = Bench { short: args.iter().any(|arg| arg == "--short") };
    match args.first().map(String::as_str) {
        Some("counts") => {
            let only = args.iter().skip_while(|arg| *arg != "--only").nth(1);
            let groups: [Group; 5] = [
                ("pages", pages::run),
                ("objects", objects::run),
                ("tables", tables::run),
                ("ranges", ranges::run),
                ("lru", lru::run),
            ];
            let wanted = groups.iter().filter(|(name, _)| only.is_none_or(|only| only == name));
            wanted.for_each(|(_, run)| run(&bench));
        }
        Some("shares") => {
            ranges::shares(&bench);
            fragment::run(&bench);
        }
        _ => panic!("counts or shares?"),
    }
}
