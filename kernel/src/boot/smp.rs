//! Starting the further harts (SBI specification, Hart State Management; Linux: `arch/riscv/kernel/smpboot.c`).

use core::sync::atomic::Ordering::Relaxed;

use rux_machine::{Hot, Hw, MAX_HARTS};
use rux_mm::addr::PhysAddr;

use crate::dt::Platform;
use crate::task::{Task, current};
use crate::{hart, sbi, sched, time, trap};

/// What a hart needs for its first steps; read at its physical address by the entry code.
#[repr(C)]
struct SecondaryBoot {
    satp: u64,
    sp: usize,
    tp: usize,
}

/// One a hart, as they start at once.
struct Records(core::cell::UnsafeCell<[SecondaryBoot; MAX_HARTS]>);

// SAFETY: the boot hart writes each before its hart starts, which only reads it.
unsafe impl Sync for Records {}

static RECORDS: Records =
    Records(core::cell::UnsafeCell::new([const { SecondaryBoot { satp: 0, sp: 0, tp: 0 } }; MAX_HARTS]));

unsafe extern "C" {
    fn _start_secondary();
}

/// How long a hart has to come up: a second.
const PATIENCE: u64 = time::SECOND;

/// Starts all further harts, and waits for them.
pub(super) fn start(platform: &Platform, image: super::Image, satp: u64) {
    let mut started = 1;
    for (index, node) in platform.harts.iter().enumerate().skip(1) {
        let Ok(idle) = Task::new_idle() else {
            log::error!("no memory to start hart {}", node.id);
            break;
        };
        hart::set_id(index, node.id);
        idle.info().set_hart(index);
        let record = RECORDS.0.get().cast::<SecondaryBoot>().wrapping_add(index);
        let (_, top) = idle.stack_bounds();
        // SAFETY: the hart does not run yet, so nobody else uses its record.
        unsafe { record.write(SecondaryBoot { satp, sp: top, tp: core::ptr::from_ref(idle).addr() }) };
        let entry = image.phys_of(_start_secondary as *const () as usize);
        if sbi::start_hart(node.id, entry, PhysAddr::new(image.phys_of(record.addr()).get())) {
            started += 1;
        } else {
            log::error!("hart {} does not start", node.id);
        }
    }
    let deadline = time::now() + PATIENCE;
    while hart::online().count() < started && time::now() < deadline {
        Hw::relax();
    }
    let up = hart::online().count();
    if up < started {
        log::error!("{} of {started} harts did not come up", started - up);
    }
    log::info!("smp: {up} hart{} up", if up == 1 { "" } else { "s" });
}

/// A further hart's first Rust: interrupts are off, the kernel's tables are on, `tp` is its idle thread.
pub(super) extern "C" fn secondary() -> ! {
    let hart = hart::hart(current().hart());
    hart.set_idle(current());
    trap::init_hart();
    current().sched.started.store(time::now(), Relaxed);
    rux_mm::page_alloc::hart_arrives();
    rux_mm::rcu::leave_idle();
    hart::set_online();
    Hw::irq_enable();
    sched::run_idle()
}
