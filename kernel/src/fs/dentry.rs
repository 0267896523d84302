//! Dentries: an inode under one of its names (Linux: `struct dentry`).
//!
//! There is no cache of names here: tmpfs keeps its dentries as the contents of its directories, procfs
//! makes them as they are asked for. A dentry holds its parent, so that a path can be written from any
//! open file upwards; a directory of tmpfs holds its children until they are removed.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};
use rux_mm::sync::{Rank, SpinLock};

use super::inode::Inode;
use crate::errno::Result;

/// An inode under one of its names.
pub struct Dentry {
    /// What has the name.
    pub inode: KArc<Inode>,
    place: SpinLock<Place>,
    /// How many mounts are on it, in any place of the tree.
    pub(super) mounts: AtomicU32,
    /// The name was taken away: the path ends in ` (deleted)`.
    unlinked: AtomicBool,
}

struct Place {
    /// `None` for the root of a file system, and for what never had a name.
    parent: Option<KArc<Dentry>>,
    name: KVec<u8>,
    /// Its position in a reading of the directory, for tmpfs.
    cookie: u64,
}

/// A name as the kernel keeps it.
pub fn owned_name(name: &[u8]) -> core::result::Result<KVec<u8>, AllocError> {
    let mut owned = KVec::new();
    owned.extend_from_slice(name, Gfp::KERNEL)?;
    Ok(owned)
}

impl Dentry {
    /// `inode` as `name` in `parent`; without a parent the root of a file system, or a file that is
    /// shown as `name` and has no place (a pipe).
    pub fn new(
        inode: KArc<Inode>,
        parent: Option<KArc<Dentry>>,
        name: &[u8],
        cookie: u64,
    ) -> Result<KArc<Self>> {
        let place = Place { parent, name: owned_name(name)?, cookie };
        let dentry = Self {
            inode,
            place: SpinLock::new(Rank::Names, place),
            mounts: AtomicU32::new(0),
            unlinked: AtomicBool::new(false),
        };
        Ok(KArc::new(dentry, Gfp::KERNEL)?)
    }

    /// The directory that it is in; `None` for a root.
    pub fn parent(&self) -> Option<KArc<Dentry>> {
        self.place.lock().parent.clone()
    }

    /// Calls `f` with the name, under a spinlock.
    pub fn with_name<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(&self.place.lock().name)
    }

    /// Copies the name to `buffer`, which is long enough for any; says how long it is.
    pub fn copy_name(&self, buffer: &mut [u8; super::types::NAME_MAX + 1]) -> usize {
        self.with_name(|name| {
            let n = name.len().min(buffer.len());
            buffer[..n].copy_from_slice(&name[..n]);
            n
        })
    }

    /// Its position in a reading of its directory.
    pub fn cookie(&self) -> u64 {
        self.place.lock().cookie
    }

    /// Puts it elsewhere. The locks of both directories are held exclusively. What it had is handed
    /// back, to be dropped without a spinlock held.
    #[must_use]
    pub fn relocate(
        &self,
        parent: KArc<Dentry>,
        name: KVec<u8>,
        cookie: u64,
    ) -> (Option<KArc<Dentry>>, KVec<u8>) {
        let mut place = self.place.lock();
        place.cookie = cookie;
        (place.parent.replace(parent), core::mem::replace(&mut place.name, name))
    }

    /// Whether its name was taken away.
    pub fn is_unlinked(&self) -> bool {
        self.unlinked.load(Relaxed)
    }

    /// Notes that its name was taken away.
    pub fn set_unlinked(&self) {
        self.unlinked.store(true, Relaxed);
    }

    /// Notes that an unnamed file was given a name.
    pub fn set_linked(&self) {
        self.unlinked.store(false, Relaxed);
    }

    /// Whether something is mounted on it.
    #[inline]
    pub fn is_mountpoint(&self) -> bool {
        self.mounts.load(Relaxed) != 0
    }

    /// Whether `this` is `other`, or in it at any depth. Stable under the file system's rename lock.
    pub fn is_inside(this: &KArc<Self>, other: &KArc<Self>) -> bool {
        let mut at = this.clone();
        loop {
            if KArc::ptr_eq(&at, other) {
                return true;
            }
            match at.parent() {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }
}

impl Drop for Dentry {
    /// Lets the parent go, and its parent, and so on as far as nobody else holds them: in a loop, since a
    /// program chooses how deep the tree is.
    fn drop(&mut self) {
        let mut next = self.place.get_mut().parent.take();
        while let Some(mut parent) = next {
            next = KArc::get_mut(&mut parent).and_then(|dentry| dentry.place.get_mut().parent.take());
        }
    }
}

/// Takes a tree apart from its leaves up, when its file system is gone: the children of a directory hold
/// it, so that it would stay for ever. Neither recursive nor in need of memory.
pub fn tear_down(root: &KArc<Dentry>) {
    let mut at = root.clone();
    loop {
        if let Some(child) = at.inode.ops().take_child() {
            if child.inode.is_dir() {
                at = child;
            }
            continue;
        }
        if KArc::ptr_eq(&at, root) {
            return;
        }
        match at.parent() {
            Some(parent) => at = parent,
            None => return,
        }
    }
}
