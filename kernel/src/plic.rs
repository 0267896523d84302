//! The platform's interrupt controller, and who serves its interrupts
//! (the RISC-V PLIC specification; Linux: `drivers/irqchip/irq-sifive-plic.c`).
//!
//! All interrupts go to the boot hart.

use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use spin::Once;

use crate::boot::Registers;
use crate::dt::Platform;

/// `interrupts-extended` names this interrupt for the supervisor's context of a hart.
const SUPERVISOR_EXTERNAL: u32 = 9;
const PRIORITY: usize = 0;
const ENABLE: usize = 0x2000;
const ENABLE_STRIDE: usize = 0x80;
const THRESHOLD: usize = 0x20_0000;
const CLAIM: usize = 4;
const CONTEXT_STRIDE: usize = 0x1000;
/// The most interrupts that have handlers.
const HANDLERS: usize = 128;

struct Controller {
    regs: Registers,
    context: usize,
}

static CONTROLLER: Once<Controller> = Once::new();
static HANDLER: [AtomicPtr<()>; HANDLERS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; HANDLERS];
static ARGUMENT: [AtomicUsize; HANDLERS] = [const { AtomicUsize::new(0) }; HANDLERS];

/// Finds the boot hart's context.
pub(crate) fn init(platform: &Platform) {
    let (Some(plic), Some(boot)) = (&platform.plic, platform.harts.first()) else { return };
    let wanted = (boot.intc, SUPERVISOR_EXTERNAL);
    let Some(context) = plic.contexts.iter().position(|&context| context == wanted) else {
        return log::warn!("the interrupt controller has no context for the boot hart");
    };
    match Registers::map(plic.regs) {
        Ok(regs) => {
            regs.write32(THRESHOLD + CONTEXT_STRIDE * context, 0);
            CONTROLLER.call_once(|| Controller { regs, context });
        }
        Err(error) => log::warn!("the interrupt controller is not to be had: {error}"),
    }
}

/// Has `handler(arg)` called, with interrupts off, when `irq` comes. Says whether it will be.
pub fn register(irq: u32, handler: fn(usize), arg: usize) -> bool {
    let Some(controller) = CONTROLLER.get() else { return false };
    let index = irq as usize;
    if index == 0 || index >= HANDLERS {
        return false;
    }
    ARGUMENT[index].store(arg, Relaxed);
    HANDLER[index].store(handler as *mut (), Release);
    controller.regs.write32(PRIORITY + 4 * index, 1);
    let enable = ENABLE + ENABLE_STRIDE * controller.context + 4 * (index / 32);
    controller.regs.write32(enable, controller.regs.read32(enable) | 1 << (index % 32));
    true
}

/// The external interrupt. Interrupts are off.
pub(crate) fn interrupt() {
    let Some(controller) = CONTROLLER.get() else { return };
    let claim = THRESHOLD + CONTEXT_STRIDE * controller.context + CLAIM;
    loop {
        let irq = controller.regs.read32(claim);
        if irq == 0 {
            return;
        }
        let index = irq as usize % HANDLERS;
        let handler = HANDLER[index].load(Acquire);
        if !handler.is_null() {
            // SAFETY: `register` stored a function of this type.
            let handler = unsafe { core::mem::transmute::<*mut (), fn(usize)>(handler) };
            handler(ARGUMENT[index].load(Relaxed));
        }
        controller.regs.write32(claim, irq);
    }
}
