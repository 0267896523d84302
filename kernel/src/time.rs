//! Time and timers (Linux: `kernel/time/`).
//!
//! All times are nanoseconds. The monotonic clock starts at 0 when the machine does, and never stops:
//! it is the `time` register, so the vDSO reads the same clock.

/// Nanoseconds since boot (CLOCK_MONOTONIC and CLOCK_BOOTTIME, as nothing suspends).
pub fn now() -> u64 {
    unimplemented!()
}

/// Nanoseconds since 1970 (CLOCK_REALTIME).
pub fn realtime() -> u64 {
    now().wrapping_add(realtime_offset())
}

/// What [`realtime`] is ahead of [`now`].
pub fn realtime_offset() -> u64 {
    unimplemented!()
}

/// Sets the clock of [`realtime`] (`clock_settime`).
pub fn set_realtime(_realtime: u64) {
    unimplemented!()
}

/// The `time` register.
pub fn ticks() -> u64 {
    unimplemented!()
}

/// Ticks of the `time` register a second (`timebase-frequency`).
pub fn timebase() -> u64 {
    unimplemented!()
}
