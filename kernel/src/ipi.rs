//! Interrupts from hart to hart.
