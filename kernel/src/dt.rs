//! The device tree that the firmware hands over.
