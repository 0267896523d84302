use super::SpaceConfig;
use crate::vma::VmaTree;

/// What `mmap_lock` protects.
pub(crate) struct Layout {
    pub(crate) vmas: VmaTree,
}

impl Layout {
    pub(crate) fn new(_config: &SpaceConfig) -> Self {
        unimplemented!()
    }
}
