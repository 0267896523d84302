//! `cargo xtask bench`: what is measured, each by a name of its own.

mod callgrind;
mod components;
mod table;

use anyhow::Result;

pub(crate) use callgrind::VALGRIND;
pub(crate) use components::quick_check;

use crate::cli::Benchmark;

pub(crate) fn run(benchmark: Benchmark) -> Result<u8> {
    match benchmark {
        Benchmark::Components => components::run(),
    }
}
