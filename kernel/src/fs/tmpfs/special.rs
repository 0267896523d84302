//! What tmpfs keeps besides files and directories: symbolic links, devices, fifos, addresses of sockets.

use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KBox, KVec};
use rux_mm::sync::{Mutex, Rank};

use super::Counted;
use crate::errno::{Errno, Result};
use crate::fs::device;
use crate::fs::file::FileOps;
use crate::fs::inode::{Inode, InodeOps, Link};
use crate::fs::mount::Path;
use crate::fs::pipe::{self, Pipe};
use crate::fs::types::FileKind;

/// A symbolic link.
pub(super) struct Symlink {
    text: KVec<u8>,
    _counted: Counted,
}

impl Symlink {
    pub(super) fn new(text: KVec<u8>, counted: Counted) -> Self {
        Self { text, _counted: counted }
    }
}

impl InodeOps for Symlink {
    fn follow(&self, _inode: &Inode, _following: bool) -> Result<Link> {
        Ok(Link::Text(self.text.try_clone(Gfp::KERNEL)?))
    }

    fn open(&self, _path: &Path, _flags: u32) -> Result<KBox<dyn FileOps>> {
        Err(Errno::ELOOP)
    }

    fn size(&self) -> u64 {
        self.text.len() as u64
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// A device, a fifo, or the address of a socket.
pub(super) struct Special {
    /// The pipe of a fifo, from its first opening on.
    pipe: Mutex<Option<KArc<Pipe>>>,
    _counted: Counted,
}

impl Special {
    pub(super) fn new(counted: Counted) -> Self {
        Self { pipe: Mutex::new(Rank::Inode, None), _counted: counted }
    }

    fn pipe(&self) -> Result<KArc<Pipe>> {
        let mut pipe = self.pipe.lock();
        match &*pipe {
            Some(pipe) => Ok(pipe.clone()),
            None => Ok(pipe.insert(Pipe::new()?).clone()),
        }
    }
}

impl InodeOps for Special {
    fn open(&self, path: &Path, flags: u32) -> Result<KBox<dyn FileOps>> {
        match path.inode().kind {
            FileKind::CharDevice => device::open(path.inode().rdev, flags),
            FileKind::Fifo => pipe::open_fifo(self.pipe()?, flags),
            _ => Err(Errno::ENXIO),
        }
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}
