//! The cold half of the machine, and the fences: what `mm` asks of the harts around the one it runs on.
//!
//! One table serves all machines of the test process: a thread knows its machine and its hart. A remote fence
//! reaches into the other harts' TLBs, between two of their accesses.

use std::cell::Cell;
use std::ptr::null;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rux_machine::cold::{Cold, Fence};
use rux_machine::host::Fences;
use rux_machine::{HartMask, Hot, HotExt, Hw};

use crate::machine::Shared;

thread_local! {
    static MACHINE: Cell<*const Shared> = const { Cell::new(null()) };
}

/// Makes this thread work on `machine` (null: on none).
pub(crate) fn set_machine(machine: *const Shared) {
    MACHINE.set(machine);
}

fn machine<'a>() -> Option<&'a Shared> {
    // SAFETY: set while the machine lives, and reset before it goes.
    unsafe { MACHINE.get().as_ref() }
}

pub(crate) static FENCES: Fences = Fences {
    page: |virt, asid| local(|tlb| tlb.fence_page(virt, asid)),
    asid: |asid| local(|tlb| tlb.fence_asid(asid)),
    all: || local(|tlb| tlb.fence_all()),
    satp: |satp| machine().map_or(satp, |machine| machine.kept_satp(satp)),
    relax: || match machine() {
        Some(machine) => machine.turn.yield_now(Hw::hart()),
        None => std::thread::yield_now(),
    },
};

fn local(fence: impl FnOnce(&mut crate::tlb::Tlb)) {
    if let Some(machine) = machine() {
        machine.turn.yield_now(Hw::hart());
        machine.count_fence();
        fence(&mut machine.tlb(Hw::hart()));
    }
}

pub(crate) static COLD: Cold = Cold {
    park: |word: &AtomicU32, expected, _deadline| match machine() {
        Some(machine) => machine
            .turn
            .park(Hw::hart(), core::ptr::from_ref(word).addr(), || word.load(Ordering::SeqCst) == expected),
        None => Hw::relax(),
    },
    unpark: |word, count| {
        machine().map_or(0, |machine| machine.turn.unpark(core::ptr::from_ref(word).addr(), count))
    },
    // A test asks for it by the thread's `need_resched`: then whoever lets a spin lock go yields.
    nap: || rux_machine::Hw::relax(),
    reschedule: || {
        if let Some(machine) = machine() {
            machine.turn.yield_now(Hw::hart());
        }
    },
    remote_fence: |harts, fence| {
        let Some(machine) = machine() else { return };
        for hart in harts.without(Hw::hart()).iter().filter(|hart| *hart < machine.harts()) {
            // Between any two of them the other harts go on.
            machine.turn.yield_now(Hw::hart());
            machine.count_fence();
            let mut tlb = machine.tlb(hart);
            match fence {
                Fence::Pages { asid, start, pages } => {
                    (0..pages as u64).for_each(|page| tlb.fence_page(start + page * 4096, asid));
                }
                Fence::Asid(asid) => tlb.fence_asid(asid),
                Fence::All => tlb.fence_all(),
                Fence::Instructions => {}
            }
        }
    },
    run_on: |harts, function, argument| {
        let Some(machine) = machine() else { return };
        let me = Hw::hart();
        for hart in harts.without(me).iter().filter(|hart| *hart < machine.harts()) {
            machine.turn.call(me, hart, function, argument, |serve| {
                machine.enter(hart);
                serve();
                machine.enter(me);
            });
        }
    },
    spawn: |_, _, _| false,
    online: || machine().map_or(HartMask::one(0), |machine| HartMask::first(machine.harts())),
    fatal_signal: || false,
    thread_id: || Hw::hart() as u32,
    now: || {
        thread_local!(static START: Instant = Instant::now());
        START.with(|start| start.elapsed().as_nanos() as u64)
    },
    random: |buffer| {
        if let Some(machine) = machine() {
            let mut tlb = machine.tlb(Hw::hart());
            buffer.iter_mut().for_each(|byte| *byte = tlb.rng().next() as u8);
        }
    },
    ..Cold::NONE
};
