//! The serial line, UART 0: the terminal's output and input.

/// Writes bytes as they are; waits for room. Any context.
pub fn write(_bytes: &[u8]) {
    unimplemented!()
}

/// Names who takes what is typed: `receive` runs in an interrupt, with interrupts off, a byte at a time.
/// The first call counts; earlier input is kept for it (up to the UART's FIFO).
pub fn set_receiver(_receive: fn(u8)) {
    unimplemented!()
}
