//! Calls to the firmware (the SBI specification).
