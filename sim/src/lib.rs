//! A machine in software, to test `rux-mm` on.
//!
//! [`Machine`] has RAM and harts; a [`Hart`] is a thread that runs real `mm` code and makes loads and
//! stores like a program's. Those go through a [`tlb`] that keeps what the RISC-V Privileged specification
//! lets a hart keep, for as long as it lets it: leaves, the way to them, and that nothing was there. What
//! is not in it, the [`mmu`] reads from the bytes of the page tables, by the specification and knowing
//! nothing of `rux_mm::paging`. Who reads a freed page or walks a freed table fails the test.
//!
//! Under [`Schedule::Seeded`] one hart runs at a time, and a seed decides which: at each access, fence and
//! wait. The same seed gives the same run.

mod cold;
mod hart;
mod machine;
mod mmu;
mod rng;
mod schedule;
mod tlb;

pub use hart::{Access, Hart, PageFault};
pub use machine::{AdMode, Config, Machine, Schedule};
pub use rng::Rng;
