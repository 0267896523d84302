//! What every room above can fail with for want of memory. A room with more to say has its own enum.

/// No memory, after all that the `Gfp` allowed was tried (`ENOMEM`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("out of memory")]
pub struct AllocError;
