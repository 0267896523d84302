use super::Space;
use crate::addr::VirtRange;

impl Space {
    /// Makes every hart that runs, or comes to run, the address space fetch instructions anew (the
    /// system call `riscv_flush_icache`).
    pub fn flush_icache(&self, _range: VirtRange) {
        self.core.tables.fence_instructions();
    }
}
