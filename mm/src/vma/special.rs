//! Mappings of frames that the kernel gives to a program (Linux: `struct vm_special_mapping`).

use crate::page_alloc::FolioRef;
use crate::slab::KVec;

/// A list of base pages under a name, such as `[vdso]`. Page `n` of a mapping of it is folio `n`;
/// beyond the last a program gets SIGBUS.
pub struct SpecialMapping {
    pub(crate) name: &'static str,
    pub(crate) folios: KVec<FolioRef>,
}

impl SpecialMapping {
    /// A mapping of these folios, each of order 0, under `name`.
    pub const fn new(name: &'static str, folios: KVec<FolioRef>) -> Self {
        Self { name, folios }
    }

    /// The name that `/proc/PID/maps` shows.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// How many pages.
    pub fn pages(&self) -> usize {
        self.folios.len()
    }
}
