//! Sleeping on a word of user memory (Linux: `kernel/futex/`).
