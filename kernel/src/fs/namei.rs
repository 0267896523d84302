//! From a path to a place: the walk (Linux: `fs/namei.c`).
//!
//! Every component costs one look-up in its directory, which is locked shared for that long. Symbolic
//! links are followed with a stack of their texts in memory of their own, never by recursion.

use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};

use super::context::FsContext;
use super::inode::Link;
use super::mount::Path;
use super::table::FileTable;
use super::types::{Access, FileKind, MAX_SYMLINKS, NAME_MAX};
use crate::errno::{Errno, Result};
use crate::process::cred::Cred;

/// The directory descriptor that stands for the working directory.
pub const AT_FDCWD: i32 = -100;

/// What a walk needs to know of who asks.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Root and working directory.
    pub fs: &'a FsContext,
    /// Directory descriptors.
    pub files: &'a FileTable,
    /// Permissions.
    pub cred: &'a KArc<Cred>,
}

bitflags::bitflags! {
    /// How the last component is treated, and what the walk may pass.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Lookup: u32 {
        /// A symbolic link at the end is followed.
        const FOLLOW = 1;
        /// It must be a directory.
        const DIRECTORY = 2;
        /// An empty path means the directory descriptor itself.
        const EMPTY = 4;
        /// No symbolic link at all (`RESOLVE_NO_SYMLINKS`).
        const NO_SYMLINKS = 8;
        /// No link of procfs to a place (`RESOLVE_NO_MAGICLINKS`).
        const NO_MAGICLINKS = 16;
        /// Not into another mount (`RESOLVE_NO_XDEV`).
        const NO_XDEV = 32;
        /// Not above the start (`RESOLVE_BENEATH`).
        const BENEATH = 64;
        /// The start is the root (`RESOLVE_IN_ROOT`).
        const IN_ROOT = 128;
    }
}

/// The last component of a path, not looked up yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last<'t> {
    /// A name.
    Name(&'t [u8]),
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// None: the path is only slashes.
    Root,
}

/// A walk under way.
pub struct Walk<'a> {
    cred: &'a Cred,
    root: Path,
    at: Path,
    links: u32,
    how: Lookup,
}

fn skip_slashes(text: &[u8]) -> &[u8] {
    let n = text.iter().take_while(|&&b| b == b'/').count();
    &text[n..]
}

/// The first component of `text`, which does not start with a slash, and the rest from the slash on.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let n = text.iter().position(|&b| b == b'/').unwrap_or(text.len());
    text.split_at(n)
}

/// The text of a symbolic link on the stack, and how far it was walked.
struct Frame {
    text: KVec<u8>,
    done: usize,
}

impl Frame {
    /// The range of the next component; `None` at the end.
    fn next(&mut self) -> Option<core::ops::Range<usize>> {
        let rest = skip_slashes(&self.text[self.done..]);
        let start = self.text.len() - rest.len();
        let end = start + split(rest).0.len();
        self.done = end;
        (start != end).then_some(start..end)
    }
}

impl<'a> Walk<'a> {
    /// A walk of `text` that starts where `caller` and `dirfd` say.
    ///
    /// # Errors
    /// `ENOENT` for an empty text; `EBADF`, `ENOTDIR` for the descriptor.
    pub fn new(caller: Caller<'a>, dirfd: i32, text: &[u8], how: Lookup) -> Result<Self> {
        let (root, cwd) = caller.fs.root_and_cwd();
        if text.is_empty() && !how.contains(Lookup::EMPTY) {
            return Err(Errno::ENOENT);
        }
        let scoped = how.intersects(Lookup::BENEATH | Lookup::IN_ROOT);
        let at = if text.first() == Some(&b'/') && !scoped {
            root.clone()
        } else if dirfd == AT_FDCWD {
            cwd
        } else {
            let file = caller.files.get_any(dirfd)?;
            if !text.is_empty() && !file.inode().is_dir() {
                return Err(Errno::ENOTDIR);
            }
            file.path.clone()
        };
        if text.first() == Some(&b'/') && how.contains(Lookup::BENEATH) {
            return Err(Errno::EXDEV);
        }
        let root = if scoped { at.clone() } else { root };
        Ok(Self { cred: caller.cred, root, at, links: 0, how })
    }

    fn check_mount(&self, path: Path) -> Result<Path> {
        if self.how.contains(Lookup::NO_XDEV) && !KArc::ptr_eq(&path.mount, &self.at.mount) {
            return Err(Errno::EXDEV);
        }
        Ok(path)
    }

    /// What is `name` in the directory that the walk is at.
    fn child(&self, name: &[u8]) -> Result<Path> {
        let dir = self.at.inode();
        if !dir.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        dir.permission(self.cred, Access::EXEC)?;
        match name {
            b"." => Ok(self.at.clone()),
            b".." => {
                if self.how.contains(Lookup::BENEATH) && self.at.same(&self.root) {
                    return Err(Errno::EXDEV);
                }
                self.check_mount(self.at.parent(&self.root))
            }
            _ if name.len() > NAME_MAX => Err(Errno::ENAMETOOLONG),
            _ => {
                let dentry = dir.ops().lookup(&self.at.dentry, name)?;
                let found = Path { mount: self.at.mount.clone(), dentry };
                if !found.dentry.is_mountpoint() {
                    return Ok(found);
                }
                self.check_mount(found.descend())
            }
        }
    }

    /// Reads a symbolic link: its text, or `None` when the walk is now at the place that it leads to.
    fn follow(&mut self, link: &Path) -> Result<Option<KVec<u8>>> {
        self.links += 1;
        if self.links > MAX_SYMLINKS || self.how.contains(Lookup::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        match link.inode().ops().follow(link.inode(), true)? {
            Link::Text(text) => {
                match text.first() {
                    None => return Err(Errno::ENOENT),
                    Some(b'/') if self.how.contains(Lookup::BENEATH) => return Err(Errno::EXDEV),
                    Some(b'/') => self.at = self.check_mount(self.root.clone())?,
                    Some(_) => {}
                }
                Ok(Some(text))
            }
            Link::Place(place) => {
                if self.how.contains(Lookup::NO_MAGICLINKS) {
                    return Err(Errno::ELOOP);
                }
                if self.how.intersects(Lookup::BENEATH | Lookup::IN_ROOT) {
                    return Err(Errno::EXDEV);
                }
                self.at = self.check_mount(place)?;
                Ok(None)
            }
        }
    }

    /// Takes one component that is not the last, through all links.
    fn step(&mut self, name: &[u8]) -> Result<()> {
        let next = self.child(name)?;
        if next.inode().kind != FileKind::Symlink {
            self.at = next;
            return Ok(());
        }
        let mut stack = KVec::new();
        if let Some(text) = self.follow(&next)? {
            stack.push(Frame { text, done: 0 }, Gfp::KERNEL)?;
        }
        while let Some(top) = stack.last_mut() {
            let Some(range) = top.next() else {
                stack.pop();
                continue;
            };
            let next = self.child(&top.text[range])?;
            if next.inode().kind != FileKind::Symlink {
                self.at = next;
            } else if let Some(text) = self.follow(&next)? {
                stack.push(Frame { text, done: 0 }, Gfp::KERNEL)?;
            }
        }
        Ok(())
    }

    /// Walks all of `text` but its last component; says what that is, and whether slashes follow it.
    fn walk_to_last<'t>(&mut self, text: &'t [u8]) -> Result<(Last<'t>, bool)> {
        let mut rest = skip_slashes(text);
        if rest.is_empty() {
            return Ok((Last::Root, true));
        }
        loop {
            let (name, after) = split(rest);
            rest = skip_slashes(after);
            if rest.is_empty() {
                let last = match name {
                    b"." => Last::Dot,
                    b".." => Last::DotDot,
                    _ => Last::Name(name),
                };
                return Ok((last, !after.is_empty()));
            }
            self.step(name)?;
        }
    }

    /// Looks all of `text` up.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP`, `ENAMETOOLONG`, `ENOMEM`, `EXDEV` under a restriction.
    pub fn lookup(mut self, text: &[u8]) -> Result<Path> {
        if text.is_empty() {
            return Ok(self.at);
        }
        let mut owned;
        let mut text = text;
        let mut directory = self.how.contains(Lookup::DIRECTORY);
        loop {
            let (last, slashes) = self.walk_to_last(text)?;
            directory |= slashes;
            let next = match last {
                Last::Root => break,
                Last::Name(name) => self.child(name)?,
                Last::Dot => self.child(b".")?,
                Last::DotDot => self.child(b"..")?,
            };
            let is_link = next.inode().kind == FileKind::Symlink;
            if !is_link || !(slashes || self.how.contains(Lookup::FOLLOW)) {
                self.at = next;
                break;
            }
            // What a path with slashes at its end names is followed to the end.
            self.how |= Lookup::FOLLOW;
            match self.follow(&next)? {
                Some(link) => {
                    owned = link;
                    text = &owned;
                }
                None => break,
            }
        }
        if directory && !self.at.inode().is_dir() { Err(Errno::ENOTDIR) } else { Ok(self.at) }
    }

    /// Walks to the directory of the last component: where something is made or removed.
    ///
    /// # Errors
    /// As for [`Walk::lookup`].
    pub fn parent<'t>(&mut self, text: &'t [u8]) -> Result<(Path, Last<'t>, bool)> {
        let (last, slashes) = self.walk_to_last(text)?;
        if !self.at.inode().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok((self.at.clone(), last, slashes))
    }

    /// After [`Walk::parent`]: what `name` is there.
    ///
    /// # Errors
    /// As for [`Walk::lookup`].
    pub fn last(&self, name: &[u8]) -> Result<Path> {
        self.child(name)
    }

    /// After [`Walk::last`] found a symbolic link: follows it, to its text or to a place.
    ///
    /// # Errors
    /// As for [`Walk::lookup`].
    pub fn last_link(&mut self, link: &Path) -> Result<core::result::Result<KVec<u8>, Path>> {
        Ok(self.follow(link)?.ok_or_else(|| self.at.clone()))
    }
}

impl<'a> Caller<'a> {
    /// Looks `text` up from `dirfd`.
    ///
    /// # Errors
    /// As for [`Walk::lookup`].
    pub fn lookup(self, dirfd: i32, text: &[u8], how: Lookup) -> Result<Path> {
        Walk::new(self, dirfd, text, how)?.lookup(text)
    }
}
