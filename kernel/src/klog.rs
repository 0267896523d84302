//! The kernel's log: a ring of the last messages, and the back end of the crate `log`
//! (Linux: `kernel/printk/`).

/// Copies whole records, each as `<level>[seconds] text\n`, from sequence `from` on; returns the bytes
/// copied and the sequence to go on with. Records that the ring has lost are passed over.
pub fn read(_from: u64, _buffer: &mut [u8]) -> (usize, u64) {
    unimplemented!()
}

/// The sequence number of the oldest record kept, and of the next to come.
pub fn range() -> (u64, u64) {
    unimplemented!()
}

/// Bytes that the ring has room for.
pub fn size() -> usize {
    unimplemented!()
}

/// The queue that is woken when a record comes.
pub fn readers() -> &'static crate::wait::WaitQueue {
    unimplemented!()
}
