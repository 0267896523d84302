//! From the firmware to the first thread.
