//! Replacing a process's program (Linux: `fs/exec.c`, `fs/binfmt_elf.c`).
