//! Directories of tmpfs: the dentries in them by name, and by the order in which they came.
//!
//! The second order is that of getdents64(2): every name has a number of its own that never comes again,
//! so that a reading goes on at the right place whatever was made and removed meanwhile
//! (Linux: `simple_offset`). Both are under one lock; two directories are locked by address. Renames and
//! rmdir come one at a time for a file system (`SuperBlock::rename`), so a directory that is about to
//! be removed can be closed for new names before its parent is locked.

use core::cmp::Ordering;

use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KBox, KVec};
use rux_mm::sync::{Rank, RwSem, WriteGuard};

use super::{Counted, Limits, new_inode};
use crate::errno::{Errno, Result};
use crate::fs::chunked::Chunked;
use crate::fs::dentry::{Dentry, owned_name};
use crate::fs::file::{DirectoryFile, FileOps};
use crate::fs::inode::{Attributes, DirEntry, Inode, InodeOps, New, RenameEnd};
use crate::fs::mount::Path;
use crate::fs::types::NAME_MAX;

/// What a name adds to the size of its directory (Linux: `BOGO_DIRENT_SIZE`).
const ENTRY_SIZE: u64 = 20;

struct Entry {
    name: KVec<u8>,
    dentry: KArc<Dentry>,
}

struct Children {
    by_name: Chunked<Entry>,
    by_cookie: Chunked<(u64, KArc<Dentry>)>,
    next_cookie: u64,
    /// It was removed, or is about to be: nothing more is made in it.
    dead: bool,
}

/// What a directory of tmpfs contains.
pub struct Directory {
    children: RwSem<Children>,
    counted: Counted,
}

fn by_name(name: &[u8]) -> impl Fn(&Entry) -> Ordering {
    move |entry: &Entry| (*entry.name).cmp(name)
}

impl Children {
    fn find(&self, name: &[u8]) -> Option<&KArc<Dentry>> {
        let place = self.by_name.search(by_name(name)).ok()?;
        self.by_name.get(place).map(|entry| &entry.dentry)
    }

    /// Puts `dentry` in under `name`, which it does not have yet.
    fn insert(&mut self, name: KVec<u8>, cookie: u64, dentry: &KArc<Dentry>) -> Result<()> {
        let Err(place) = self.by_name.search(by_name(&name)) else { return Err(Errno::EEXIST) };
        let Err(last) = self.by_cookie.search(|(other, _)| other.cmp(&cookie)) else {
            return Err(Errno::EEXIST);
        };
        self.by_cookie.insert(last, (cookie, dentry.clone()))?;
        if let Err(error) = self.by_name.insert(place, Entry { name, dentry: dentry.clone() }) {
            self.remove_cookie(cookie);
            return Err(error.into());
        }
        Ok(())
    }

    fn remove_cookie(&mut self, cookie: u64) {
        if let Ok(place) = self.by_cookie.search(|(other, _)| other.cmp(&cookie)) {
            self.by_cookie.remove(place);
        }
    }

    fn remove(&mut self, name: &[u8], cookie: u64) {
        if let Ok(place) = self.by_name.search(by_name(name)) {
            self.by_name.remove(place);
        }
        self.remove_cookie(cookie);
    }

    /// Puts `dentry` in the place of the one that has the name and the cookie.
    fn replace(&mut self, name: &[u8], cookie: u64, dentry: &KArc<Dentry>) {
        if let Ok(place) = self.by_name.search(by_name(name))
            && let Some(entry) = self.by_name.get_mut(place)
        {
            entry.dentry = dentry.clone();
        }
        if let Ok(place) = self.by_cookie.search(|(other, _)| other.cmp(&cookie))
            && let Some((_, entry)) = self.by_cookie.get_mut(place)
        {
            *entry = dentry.clone();
        }
    }

    fn new_cookie(&mut self) -> u64 {
        self.next_cookie += 1;
        self.next_cookie - 1
    }
}

impl Directory {
    pub(super) fn new(counted: Counted) -> Self {
        let children =
            Children { by_name: Chunked::new(), by_cookie: Chunked::new(), next_cookie: 2, dead: false };
        Self { children: RwSem::new(Rank::Directory, children), counted }
    }

    fn limits(&self) -> &KArc<Limits> {
        &self.counted.0
    }

    /// The directory behind an inode of this file system.
    fn of(inode: &Inode) -> Result<&Self> {
        inode.ops().as_any().downcast_ref().ok_or(Errno::ENOTDIR)
    }

    /// Gives `inode` the name, unless there is one.
    fn add(&self, dir: &KArc<Dentry>, name: &[u8], inode: KArc<Inode>) -> Result<KArc<Dentry>> {
        let entry_name = owned_name(name)?;
        let mut children = self.children.write();
        if children.dead {
            return Err(Errno::ENOENT);
        }
        if children.find(name).is_some() {
            return Err(Errno::EEXIST);
        }
        let cookie = children.new_cookie();
        let is_dir = inode.is_dir();
        let dentry = Dentry::new(inode, Some(dir.clone()), name, cookie)?;
        children.insert(entry_name, cookie, &dentry)?;
        drop(children);
        dir.inode.touch_modified();
        if is_dir {
            dir.inode.update(|a| a.nlink += 1);
        }
        Ok(dentry)
    }

    /// Closes an empty directory for good, before its name goes.
    fn close(&self) -> Result<()> {
        let mut children = self.children.write();
        if !children.by_name.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        children.dead = true;
        Ok(())
    }

    fn reopen(&self) {
        self.children.write().dead = false;
    }

    /// The locks of one or two directories, in the order of their addresses.
    fn lock_two<'a>(
        &'a self,
        other: &'a Self,
    ) -> (WriteGuard<'a, Children>, Option<WriteGuard<'a, Children>>) {
        if core::ptr::eq(self, other) {
            return (self.children.write(), None);
        }
        if core::ptr::from_ref(&self.children).addr() < core::ptr::from_ref(&other.children).addr() {
            let first = self.children.write();
            let second = other.children.write_nested();
            (first, Some(second))
        } else {
            let second = other.children.write();
            let first = self.children.write_nested();
            (first, Some(second))
        }
    }
}

/// A victim lost a name; a directory all of them.
fn unlinked(victim: &Dentry, dir: &Inode) {
    victim.set_unlinked();
    victim.inode.drop_link();
    if victim.inode.is_dir() {
        dir.update(|a| a.nlink -= 1);
    }
}

impl InodeOps for Directory {
    fn lookup(&self, _dir: &KArc<Dentry>, name: &[u8]) -> Result<KArc<Dentry>> {
        self.children.read().find(name).cloned().ok_or(Errno::ENOENT)
    }

    fn create(
        &self,
        dir: &KArc<Dentry>,
        name: &[u8],
        new: New<'_>,
        attributes: Attributes,
    ) -> Result<KArc<Dentry>> {
        let inode = new_inode(&dir.inode.sb, self.limits(), new, attributes)?;
        self.add(dir, name, inode)
    }

    fn create_unnamed(&self, dir: &KArc<Dentry>, attributes: Attributes) -> Result<KArc<Dentry>> {
        let inode = new_inode(&dir.inode.sb, self.limits(), New::Regular, attributes)?;
        let mut name = rux_mm::slab::KString::new();
        core::fmt::write(&mut name, format_args!("#{}", inode.ino)).map_err(|_| Errno::ENOMEM)?;
        let dentry = Dentry::new(inode, Some(dir.clone()), name.as_bytes(), 0)?;
        dentry.set_unlinked();
        Ok(dentry)
    }

    fn link(&self, dir: &KArc<Dentry>, name: &[u8], inode: &KArc<Inode>) -> Result<()> {
        inode.add_link()?;
        let added = self.add(dir, name, inode.clone());
        if added.is_err() {
            inode.drop_link();
        }
        added.map(drop)
    }

    fn unlink(&self, dir: &KArc<Dentry>, name: &[u8], victim: &KArc<Dentry>) -> Result<()> {
        let _one_at_a_time = victim.inode.is_dir().then(|| dir.inode.sb.rename.lock());
        let gone_dir = if victim.inode.is_dir() { Some(Self::of(&victim.inode)?) } else { None };
        if let Some(gone) = gone_dir {
            gone.close()?;
        }
        let mut children = self.children.write();
        if !children.find(name).is_some_and(|found| KArc::ptr_eq(found, victim)) {
            drop(children);
            // Another rmdir may have taken the very directory away: it stays closed then.
            if let Some(gone) = gone_dir
                && !victim.is_unlinked()
            {
                gone.reopen();
            }
            return Err(Errno::ESTALE);
        }
        children.remove(name, victim.cookie());
        drop(children);
        unlinked(victim, &dir.inode);
        dir.inode.touch_modified();
        Ok(())
    }

    fn rename(&self, from: &RenameEnd<'_>, to: &RenameEnd<'_>, exchange: bool) -> Result<()> {
        let Some(moved) = from.dentry else { return Err(Errno::ENOENT) };
        let to_dir = Self::of(&to.dir.inode)?;
        // What can fail for want of memory comes first.
        let (entry_name, moved_name) = (owned_name(to.name)?, owned_name(to.name)?);
        let back_name = owned_name(from.name)?;
        let replaced_dir = match to.dentry {
            Some(victim) if !exchange && victim.inode.is_dir() => Some(Self::of(&victim.inode)?),
            _ => None,
        };
        if let Some(gone) = replaced_dir {
            gone.close()?;
        }
        let result =
            self.rename_locked(from, to, moved, to_dir, exchange, (entry_name, moved_name, back_name));
        if result.is_err()
            && let Some(gone) = replaced_dir
        {
            gone.reopen();
        }
        result
    }

    fn readdir(
        &self,
        _dir: &KArc<Dentry>,
        pos: u64,
        emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let children = self.children.read();
        let place = match children.by_cookie.search(|(cookie, _)| cookie.cmp(&pos)) {
            Ok(place) | Err(place) => place,
        };
        let mut name = [0; NAME_MAX + 1];
        for (cookie, dentry) in children.by_cookie.iter_from(place) {
            let n = dentry.copy_name(&mut name);
            let inode = &dentry.inode;
            if !emit(DirEntry { name: &name[..n], ino: inode.ino, kind: inode.kind, next: cookie + 1 }) {
                break;
            }
        }
        Ok(())
    }

    fn open(&self, _path: &Path, _flags: u32) -> Result<KBox<dyn FileOps>> {
        Ok(rux_mm::kbox_dyn!(KBox::new(DirectoryFile, Gfp::KERNEL)? => dyn FileOps))
    }

    fn size(&self) -> u64 {
        (self.children.read().by_name.len() as u64 + 2) * ENTRY_SIZE
    }

    fn take_child(&self) -> Option<KArc<Dentry>> {
        let mut children = self.children.write();
        children.dead = true;
        children.by_cookie = Chunked::new();
        children.by_name.pop().map(|entry| entry.dentry)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

impl Directory {
    fn rename_locked(
        &self,
        from: &RenameEnd<'_>,
        to: &RenameEnd<'_>,
        moved: &KArc<Dentry>,
        to_dir: &Self,
        exchange: bool,
        (entry_name, moved_name, back_name): (KVec<u8>, KVec<u8>, KVec<u8>),
    ) -> Result<()> {
        let (mut first, mut second) = self.lock_two(to_dir);
        let target: &Children = second.as_deref().unwrap_or(&first);
        let same = |found: Option<&KArc<Dentry>>, expected: Option<&KArc<Dentry>>| match (found, expected) {
            (Some(found), Some(expected)) => KArc::ptr_eq(found, expected),
            (None, None) => true,
            _ => false,
        };
        if !same(first.find(from.name), from.dentry) || !same(target.find(to.name), to.dentry) {
            return Err(Errno::ESTALE);
        }
        if target.dead {
            return Err(Errno::ENOENT);
        }
        let old_cookie = moved.cookie();
        let target: &mut Children = second.as_deref_mut().unwrap_or(&mut first);
        let cookie = match to.dentry {
            Some(victim) => victim.cookie(),
            None => {
                let cookie = target.new_cookie();
                target.insert(entry_name, cookie, moved)?;
                cookie
            }
        };
        let mut left = [(None, KVec::new()), (None, KVec::new())];
        if let Some(victim) = to.dentry {
            target.replace(to.name, cookie, moved);
            if exchange {
                first.replace(from.name, old_cookie, victim);
                left[0] = victim.relocate(from.dir.clone(), back_name, old_cookie);
            }
        }
        if !exchange {
            first.remove(from.name, old_cookie);
        }
        left[1] = moved.relocate(to.dir.clone(), moved_name, cookie);
        drop(first);
        drop(second);
        drop(left);
        let crosses = !KArc::ptr_eq(from.dir, to.dir);
        let shift = |from: &Inode, to: &Inode| {
            from.update(|a| a.nlink -= 1);
            to.update(|a| a.nlink += 1);
        };
        if crosses && moved.inode.is_dir() {
            shift(&from.dir.inode, &to.dir.inode);
        }
        match to.dentry {
            Some(victim) if !exchange => unlinked(victim, &to.dir.inode),
            Some(other) => {
                if crosses && other.inode.is_dir() {
                    shift(&to.dir.inode, &from.dir.inode);
                }
                other.inode.touch_changed();
            }
            None => {}
        }
        moved.inode.touch_changed();
        from.dir.inode.touch_modified();
        if crosses {
            to.dir.inode.touch_modified();
        }
        Ok(())
    }
}
