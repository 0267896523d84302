//! Where a process stands in the tree: its root, its working directory, its umask
//! (Linux: `struct fs_struct`).

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::slab::KArc;
use rux_mm::sync::{Rank, SpinLock};

use super::mount::{Path, global_root};

struct Places {
    root: Path,
    cwd: Path,
}

/// Where a process stands; shared by its threads, and by other processes under `CLONE_FS`.
pub struct FsContext {
    places: SpinLock<Places>,
    umask: AtomicU32,
}

impl FsContext {
    /// At the root of all, as the first process is.
    ///
    /// # Errors
    /// No memory.
    pub fn initial() -> Result<KArc<Self>, AllocError> {
        Self::with(global_root().clone(), global_root().clone(), 0o022)
    }

    fn with(root: Path, cwd: Path, umask: u32) -> Result<KArc<Self>, AllocError> {
        let places = SpinLock::new(Rank::Names, Places { root, cwd });
        KArc::new(Self { places, umask: AtomicU32::new(umask) }, Gfp::KERNEL)
    }

    /// A copy of its own for a child.
    ///
    /// # Errors
    /// No memory.
    pub fn fork(&self) -> Result<KArc<Self>, AllocError> {
        Self::with(self.root(), self.cwd(), self.umask())
    }

    /// The root directory.
    pub fn root(&self) -> Path {
        self.places.lock().root.clone()
    }

    /// The working directory.
    pub fn cwd(&self) -> Path {
        self.places.lock().cwd.clone()
    }

    /// Both.
    pub fn root_and_cwd(&self) -> (Path, Path) {
        let places = self.places.lock();
        (places.root.clone(), places.cwd.clone())
    }

    /// Changes the root directory.
    pub fn set_root(&self, root: Path) {
        let old = core::mem::replace(&mut self.places.lock().root, root);
        drop(old);
    }

    /// Changes the working directory.
    pub fn set_cwd(&self, cwd: Path) {
        let old = core::mem::replace(&mut self.places.lock().cwd, cwd);
        drop(old);
    }

    /// The permissions that new files do not get.
    pub fn umask(&self) -> u32 {
        self.umask.load(Relaxed)
    }

    /// Changes the umask; says what it was.
    pub fn set_umask(&self, umask: u32) -> u32 {
        self.umask.swap(umask & 0o777, Relaxed)
    }
}
