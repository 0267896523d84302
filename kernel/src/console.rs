//! The serial line, UART 0: the terminal's output and input (an NS16550A; Linux: `drivers/tty/serial/8250`).
//!
//! Output waits for room in the device; input comes by interrupt, and stays in the device, which holds its
//! sender back, while the receiver has no room. Until the device is mapped, output goes through the firmware.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rux_mm::sync::{IrqSpinLock, Rank};
use spin::Once;

use crate::boot::Registers;
use crate::dt::Platform;
use crate::{plic, sbi};

/// Receiver buffer and transmitter holding register.
const DATA: usize = 0;
const INTERRUPT_ENABLE: usize = 1;
const FIFO_CONTROL: usize = 2;
const LINE_STATUS: usize = 5;

const RECEIVED_AVAILABLE: u8 = 1 << 0;
const FIFO_ENABLE: u8 = 1 << 0;
const DATA_READY: u8 = 1 << 0;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// Bytes written under one hold of the lock, so that interrupts are not masked for long.
const CHUNK: usize = 64;

/// Who takes what is typed. Both run in an interrupt, with interrupts off.
pub struct Receiver {
    /// Whether another byte can be taken. Who says no has called [`listen`] with `false`, and calls it with
    /// `true` once there is room.
    pub has_room: fn() -> bool,
    /// Takes a byte, after `has_room` said yes.
    pub receive: fn(u8),
}

struct Uart {
    regs: Registers,
    shift: u32,
}

impl Uart {
    fn read(&self, register: usize) -> u8 {
        self.regs.read8(register << self.shift)
    }

    fn write(&self, register: usize, value: u8) {
        self.regs.write8(register << self.shift, value);
    }

    fn send(&self, byte: u8) {
        while self.read(LINE_STATUS) & TRANSMITTER_EMPTY == 0 {
            core::hint::spin_loop();
        }
        self.write(DATA, byte);
    }
}

static UART: Once<Uart> = Once::new();
static LOCK: IrqSpinLock<()> = IrqSpinLock::new(Rank::Console, ());
static RECEIVER: Once<Receiver> = Once::new();
/// Set by a panic: who held the lock will not give it back.
static BROKEN: AtomicBool = AtomicBool::new(false);

/// Maps the device.
pub(crate) fn init(platform: &Platform) {
    let Some(device) = platform.uart else { return };
    match Registers::map(device.regs) {
        Ok(regs) => {
            let uart = Uart { regs, shift: device.shift };
            uart.write(INTERRUPT_ENABLE, 0);
            uart.write(FIFO_CONTROL, FIFO_ENABLE);
            UART.call_once(|| uart);
        }
        Err(error) => log::warn!("the serial line is not to be had: {error}"),
    }
}

fn send(bytes: &[u8]) {
    match UART.get() {
        Some(uart) => bytes.iter().for_each(|&byte| uart.send(byte)),
        None => bytes.iter().for_each(|&byte| sbi::debug_byte(byte)),
    }
}

/// Writes bytes as they are; waits for room. Any context.
pub fn write(bytes: &[u8]) {
    for chunk in bytes.chunks(CHUNK) {
        if BROKEN.load(Relaxed) {
            send(chunk);
        } else {
            let _lock = LOCK.lock();
            send(chunk);
        }
    }
}

/// From now on [`write`] takes no lock.
pub(crate) fn break_lock() {
    BROKEN.store(true, Relaxed);
}

/// Names who takes what is typed. The first call counts; earlier input is kept for it (up to the UART's FIFO).
pub fn set_receiver(receiver: Receiver) {
    RECEIVER.call_once(|| receiver);
    if let Some(device) = crate::dt::platform().uart
        && plic::register(device.irq, |_| interrupt(), 0)
    {
        listen(true);
    }
}

/// Whether the device tells of input. The caller's lock orders the calls. Any context.
pub fn listen(on: bool) {
    if let Some(uart) = UART.get() {
        // Nobody but `init` writes this register: the lock of the output is not needed.
        uart.write(INTERRUPT_ENABLE, if on { RECEIVED_AVAILABLE } else { 0 });
    }
}

fn interrupt() {
    let (Some(uart), Some(receiver)) = (UART.get(), RECEIVER.get()) else { return };
    while (receiver.has_room)() {
        let byte = {
            let _lock = LOCK.lock();
            if uart.read(LINE_STATUS) & DATA_READY == 0 {
                return;
            }
            uart.read(DATA)
        };
        (receiver.receive)(byte);
    }
}
