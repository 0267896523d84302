//! `cargo xtask bench`: what is measured, each by a name of its own.

mod callgrind;
mod chart;
mod components;
mod docs;
mod figures;
mod guest;
mod harts;
mod json;
mod linux;
mod table;

use anyhow::Result;

pub(crate) use callgrind::VALGRIND;
pub(crate) use components::quick_check;

use crate::cli::Benchmark;

pub(crate) fn run(benchmark: Benchmark) -> Result<u8> {
    match benchmark {
        Benchmark::Components => components::run(),
        Benchmark::Linux(with) if with.two_harts => harts::run(&with),
        Benchmark::Linux(with) => linux::run(&with),
    }
}
