//! Files: the VFS and what stands on it.
