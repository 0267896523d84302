//! The machine: RAM, harts, their TLBs, and the kernel's tables.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rux_machine::host;
use rux_machine::{Hot, Hw};
use rux_mm::addr::{Order, Pfn, VirtAddr, VirtRange};
use rux_mm::gfp::Gfp;
use rux_mm::host::{HostMachine, RAM_BASE};
use rux_mm::page_alloc::{PageBlock, alloc_pages};
use rux_mm::paging::{KernelTables, MaxLeaf, Mode, Prot, probe_asids};

use crate::cold::{self, COLD, FENCES};
use crate::hart::Hart;
use crate::schedule::Turn;
use crate::tlb::Tlb;

/// Who sets A and D.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdMode {
    /// The hardware, whenever it walks (Svadu).
    Hardware,
    /// The kernel: an access that finds A or D missing faults (Svade).
    Trap,
}

/// Which hart runs when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Schedule {
    /// All at once, as the host's threads do.
    Free,
    /// One at a time; the seed decides.
    Seeded,
}

/// What kind of machine.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bytes of RAM.
    pub ram: usize,
    /// How many harts.
    pub harts: usize,
    /// What chance decides.
    pub seed: u64,
    /// Who sets A and D.
    pub ad: AdMode,
    /// Levels of page tables.
    pub mode: Mode,
    /// Bits of ASID that `satp` keeps.
    pub asid_bits: u32,
    /// Which hart runs when.
    pub schedule: Schedule,
    /// What a TLB remembers at most.
    pub tlb_entries: usize,
    /// Once in so many accesses a TLB loses something, or walks although it need not; 0: never.
    pub tlb_forgets: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ram: 64 << 20,
            harts: 2,
            seed: 0,
            ad: AdMode::Hardware,
            mode: Mode::Sv48,
            asid_bits: 16,
            schedule: Schedule::Seeded,
            tlb_entries: 256,
            tlb_forgets: 32,
        }
    }
}

/// What all harts see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) ad: AdMode,
    pub(crate) turn: Turn,
    tlbs: Vec<Mutex<Tlb>>,
    /// Before `host`, whose RAM they are of.
    kernel_tables: Vec<PageBlock>,
    host: HostMachine,
    asid_bits: u32,
    mode: Mode,
    fences: AtomicU64,
}

impl Shared {
    /// Makes this thread hart `hart`.
    pub(crate) fn enter(&self, hart: usize) {
        self.host.enter(hart);
        host::enter(host::Place { fences: Some(&FENCES), ..host::place() }, hart);
        cold::set_machine(self);
        // Wherever pre-emption may happen, another hart may run.
        Hw::thread().need_resched.store(1, Ordering::Relaxed);
    }

    /// What a hart keeps of a value written to `satp`: of a mode that it lacks, nothing.
    pub(crate) fn kept_satp(&self, satp: u64) -> u64 {
        if satp > self.mode.satp() | ((1 << 60) - 1) {
            return Hw::satp();
        }
        let lost = 0xffff_u64 << self.asid_bits & 0xffff;
        satp & !(lost << 44)
    }

    pub(crate) fn harts(&self) -> usize {
        self.tlbs.len()
    }

    /// A hart's TLB. Nobody holds it over a yield point.
    pub(crate) fn tlb(&self, hart: usize) -> MutexGuard<'_, Tlb> {
        self.tlbs[hart].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_kernel_table(&self, pfn: u64) -> bool {
        self.kernel_tables.iter().any(|table| table.pfn().get() == pfn)
    }

    pub(crate) fn count_fence(&self) {
        self.fences.fetch_add(1, Ordering::Relaxed);
    }
}

/// The machine. The thread that made it is its hart 0 outside of [`Machine::run`].
#[derive(Debug)]
pub struct Machine {
    shared: Box<Shared>,
}

impl Machine {
    /// A machine with `ram` bytes, `harts` harts, and the rest as [`Config::default`] has it.
    pub fn new(ram: usize, harts: usize, seed: u64, ad: AdMode) -> Self {
        Self::with(Config { ram, harts, seed, ad, ..Config::default() })
    }

    /// The machine that `config` describes.
    ///
    /// # Panics
    /// The host has not that much memory.
    pub fn with(config: Config) -> Self {
        rux_machine::cold::register(&COLD);
        let tlb = |hart| {
            Mutex::new(Tlb::new(
                config.seed ^ ((hart as u64 + 1) << 32),
                config.tlb_entries,
                config.tlb_forgets,
            ))
        };
        let mut shared = Box::new(Shared {
            ad: config.ad,
            turn: Turn::new(config.harts, config.schedule == Schedule::Seeded, config.seed),
            tlbs: (0..config.harts).map(tlb).collect(),
            kernel_tables: Vec::new(),
            host: HostMachine::new(config.ram, config.harts),
            asid_bits: config.asid_bits,
            mode: config.mode,
            fences: AtomicU64::new(0),
        });
        shared.enter(0);
        shared.kernel_tables = boot(&config);
        Self { shared }
    }

    /// Makes this thread hart `hart`. No other thread is that hart meanwhile.
    pub fn enter(&self, hart: usize) -> Hart<'_> {
        self.shared.enter(hart);
        Hart { shared: &self.shared, index: hart }
    }

    /// How many harts it has.
    pub fn harts(&self) -> usize {
        self.shared.harts()
    }

    /// Fences made so far, one for each hart and page.
    pub fn fences(&self) -> u64 {
        self.shared.fences.load(Ordering::Relaxed)
    }

    /// Runs `body` on all harts; hart 0 is the calling thread's no more while it lasts. Returns what each returned.
    ///
    /// # Panics
    /// If `body` does on any hart, or if all of them wait for each other.
    pub fn run<T: Send>(&self, body: impl Fn(Hart<'_>) -> T + Sync) -> Vec<T> {
        let harts = self.harts();
        self.shared.turn.begin(harts);
        let results: Vec<std::thread::Result<T>> = std::thread::scope(|scope| {
            let body = &body;
            let spawn = |index| {
                scope.spawn(move || {
                    let hart = self.enter(index);
                    let exit = Exit { shared: &self.shared, hart: index };
                    self.shared.turn.enter(index);
                    let result = body(hart);
                    drop(exit);
                    result
                })
            };
            let threads: Vec<_> = (0..harts).map(spawn).collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        self.enter(0);
        // The first hart that failed by itself says why.
        let mut values = Vec::new();
        let mut failed = None;
        for result in results {
            match result {
                Ok(value) => values.push(value),
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().map_or("", |text| text.as_str());
                    if failed.is_none() || !text.starts_with("the run is over") {
                        failed = Some(panic);
                    }
                }
            }
        }
        match failed {
            Some(panic) => std::panic::resume_unwind(panic),
            None => values,
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.enter(0);
        self.shared.kernel_tables.clear();
        // SAFETY: paging off; nothing is mapped by then.
        unsafe { Hw::set_satp(0) };
        cold::set_machine(std::ptr::null());
    }
}

struct Exit<'a> {
    shared: &'a Shared,
    hart: usize,
}

impl Drop for Exit<'_> {
    fn drop(&mut self) {
        // SAFETY: paging off; the hart runs no more.
        unsafe { Hw::set_satp(0) };
        self.shared.turn.exit(self.hart, std::thread::panicking());
        cold::set_machine(std::ptr::null());
    }
}

/// Maps the kernel, as the boot code does.
fn boot(config: &Config) -> Vec<PageBlock> {
    let mut blocks = Vec::new();
    let mut alloc = || {
        let block = alloc_pages(Gfp::KERNEL | Gfp::ZERO, Order::ZERO)?;
        let pfn: Pfn = block.pfn();
        blocks.push(block);
        Ok(pfn)
    };
    let direct = VirtAddr::new(0xffff_ffc0_0000_0000);
    let start = direct + RAM_BASE.get();
    let ram = VirtRange::new(start, start + config.ram as u64);
    let mut tables = KernelTables::new(config.mode, &mut alloc).expect("memory for the kernel's root");
    tables
        .map(ram, RAM_BASE, Prot::KERNEL_RW, MaxLeaf::Giga, &mut alloc)
        .expect("memory for the kernel's tables");
    // SAFETY: on the host, memory is reached without them.
    unsafe { Hw::set_satp(tables.satp()) };
    tables.publish(VirtRange::new(direct, direct));
    probe_asids(config.harts);
    blocks
}
