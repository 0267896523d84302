//! From the firmware to the first thread (Linux: `init/main.c`, `arch/riscv/kernel/setup.c`).

mod entry;
mod memory;
mod registers;
mod smp;
pub(crate) mod stat;

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering::Relaxed;

use rux_machine::cold::{self, Cold, Who};
use rux_machine::{Hot, Hw};
use rux_mm::addr::PhysAddr;
use spin::Once;

pub use registers::Registers;

use crate::task::{Task, current};
use crate::{
    cmdline, console, dt, hart, ipi, klog, panic, park, plic, power, process, random, sched, selftest,
    symbols, time, trap, virtio,
};

/// The thread that boots; the boot hart's idle thread after that.
static BOOT_TASK: Task = Task::boot();

/// More than other stacks have: reading the device tree and laying out memory keep large tables.
const BOOT_STACK_BYTES: usize = 32 << 10;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; BOOT_STACK_BYTES]>);

// SAFETY: the boot hart alone runs on it.
unsafe impl Sync for Stack {}

static BOOT_STACK: Stack = Stack(UnsafeCell::new([0; BOOT_STACK_BYTES]));

#[repr(C, align(4096))]
struct EarlyTable(UnsafeCell<[u64; 512]>);

// SAFETY: the entry code writes it, and then only the hart's walker reads it.
unsafe impl Sync for EarlyTable {}

macro_rules! early_tables {
    ($($name:ident),*) => { $(
        static $name: EarlyTable = EarlyTable(UnsafeCell::new([0; 512]));
    )* };
}
early_tables!(EARLY_PMD, EARLY_PUD, EARLY_P4D, EARLY_PGD);

/// Where the image was loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    /// Physical address of its first byte.
    start: PhysAddr,
}

unsafe extern "C" {
    static _image_start: u8;
    static _image_end: u8;
}

impl Image {
    /// The physical address of a byte of the image.
    pub(crate) fn phys_of(self, virt: usize) -> PhysAddr {
        self.start + (virt - (&raw const _image_start).addr()) as u64
    }

    /// How many bytes it has in memory.
    fn bytes(self) -> u64 {
        ((&raw const _image_end).addr() - (&raw const _image_start).addr()) as u64
    }
}

static IMAGE: Once<Image> = Once::new();

/// The physical address of a byte of the image or of the direct map.
pub(crate) fn phys_of(virt: *const u8) -> PhysAddr {
    match IMAGE.get() {
        Some(image) if virt.addr() >= (&raw const _image_start).addr() => image.phys_of(virt.addr()),
        _ => PhysAddr::of_ptr(virt),
    }
}

/// What `mm` asks of the kernel.
static COLD: Cold = Cold {
    park: park::park,
    unpark: park::unpark,
    nap: time::nap,
    reschedule: sched::preempt,
    remote_fence: ipi::remote_fence,
    run_on: ipi::run_on,
    spawn: |name, body, arg| sched::spawn_kthread(name, body, arg).is_ok(),
    online: hart::online,
    fatal_signal: || current().fatal_pending(),
    thread_id: || crate::process::current().map_or(0, |thread| thread.tid()),
    now: time::now,
    random: random::fill,
    callers: symbols::callers,
    symbol: |caller, tell| match symbols::lookup(caller.wrapping_sub(1)) {
        Some((name, offset)) => {
            tell(name, offset + 1);
            true
        }
        None => false,
    },
    who: || Who { tid: current().tid, comm: current().comm() },
};

/// The first Rust that runs: on the boot hart, with the early tables, interrupts off.
extern "C" fn boot(hart_id: usize, tree: usize, image: usize, entered: u64) -> ! {
    BOOT_TASK.adopt_boot(BOOT_STACK.0.get().cast(), BOOT_STACK_BYTES);
    hart::set_id(0, hart_id as u64);
    hart::hart(0).set_idle(&BOOT_TASK);
    stat::entry(entered);

    let image = *IMAGE.call_once(|| Image { start: PhysAddr::new(image as u64) });
    // SAFETY: the firmware put a tree there, which is reserved below; all RAM is mapped.
    let platform = match unsafe { dt::init(PhysAddr::new(tree as u64), hart_id as u64) } {
        Ok(platform) => platform,
        Err(error) => panic::early(error),
    };
    time::init(platform);
    klog::init(cmdline::flag("quiet"));
    log::info!("Rux {} ({}), hart {hart_id}", env!("CARGO_PKG_VERSION"), build_kind());
    log::info!("command line: {}", platform.bootargs);
    rux_machine::riscv::set_zero_block(platform.isa.zero_block as usize);
    random::add(platform.seed);
    cold::register(&COLD);

    let satp = memory::init(platform, image);
    trap::init_hart();
    rux_mm::rcu::leave_idle();
    hart::set_online();
    console::init(platform);
    power::init(platform);
    plic::init(platform);
    time::init_realtime(platform);
    virtio::init(platform);
    current().sched.started.store(time::now(), Relaxed);
    Hw::irq_enable();
    smp::start(platform, image, satp);

    let init = |arg| {
        // From here on there is another thread to run while this one sleeps.
        rux_mm::memory().allow_sleep();
        assert!(rux_mm::rcu::start(), "no memory for the thread of read-copy-update");
        if cmdline::flag("rux.selftest") {
            return selftest::run(arg);
        }
        match cmdline::value("rux.selftest") {
            Some("slab") => selftest::slab::plant(),
            Some("string") => selftest::string::run(),
            _ => {}
        }
        process::start_init()
    };
    if sched::spawn_kthread("init", init, 0).is_err() {
        panic!("no memory for the first thread");
    }
    sched::run_idle()
}

fn build_kind() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}
