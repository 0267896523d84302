//! procfs: what the kernel tells of itself and of processes (Linux: `fs/proc/`).
//!
//! Nothing is kept: a look-up makes the dentry and the inode, an open file makes its text when it is read
//! from the start. The files of the whole system are tables in [`system`] and [`sys`], those of
//! a process one in [`process`].

mod fd;
mod kpage;
mod maps;
mod process;
mod status;
mod sys;
mod sysctl;
mod system;
mod text;
mod vm;
mod vmstat;
mod zones;

use core::sync::atomic::Ordering::Relaxed;

use rux_mm::gfp::Gfp;
use rux_mm::kbox_dyn;
use rux_mm::slab::{KArc, KBox, KString, KVec};
use rux_mm::sync::{Mutex, Rank};
use spin::Once;

use self::process::{Target, TaskEntry};
pub use self::text::Text;
use super::dentry::Dentry;
use super::file::{DirectoryFile, File, FileOps, Seek};
use super::inode::{Attributes, DirEntry, Inode, InodeOps, Link};
use super::iobuf::IoBuf;
use super::mount::Path;
use super::superblock::{FsType, SuperBlock, SuperOps};
use super::types::{Dev, FileKind, oflag};
use crate::errno::{Errno, Result};

/// proc, as mount(2) names it.
pub const PROC: FsType = FsType { name: "proc", magic: 0x9fa0 };

/// What a write to a file does.
type Write = fn(&[u8]) -> Result<()>;

/// One name in a directory that is the same for everybody.
enum Entry {
    /// A file: its permissions, its text, and what a write does.
    File { name: &'static str, mode: u32, show: fn(&mut Text) -> Result<()>, write: Option<Write> },
    /// A setting of numbers: what a write does, which says how many bytes it took. Only what is read or written at
    /// the start counts, and to write nothing is to set nothing (Linux: `do_proc_dointvec`).
    Numbers {
        name: &'static str,
        mode: u32,
        show: fn(&mut Text) -> Result<()>,
        write: fn(&[u8]) -> Result<usize>,
    },
    /// A file that is read where one wants: its permissions, and what puts bytes from a position on, and moves it.
    Bytes { name: &'static str, mode: u32, read: fn(&mut IoBuf<'_>, &mut u64) -> Result<usize> },
    /// A directory.
    Dir { name: &'static str, entries: &'static [Entry] },
    /// A symbolic link.
    Link { name: &'static str, text: fn() -> Result<KVec<u8>> },
}

impl Entry {
    const fn name(&self) -> &'static str {
        match self {
            Self::File { name, .. }
            | Self::Numbers { name, .. }
            | Self::Bytes { name, .. }
            | Self::Dir { name, .. }
            | Self::Link { name, .. } => name,
        }
    }

    const fn kind(&self) -> FileKind {
        match self {
            Self::File { .. } | Self::Numbers { .. } | Self::Bytes { .. } => FileKind::Regular,
            Self::Dir { .. } => FileKind::Directory,
            Self::Link { .. } => FileKind::Symlink,
        }
    }

    /// Its inode number: where it lies in the kernel is unique.
    fn ino(&self) -> u64 {
        1 << 40 | core::ptr::from_ref(self).addr() as u64 & 0xffff_ffff
    }
}

/// What an inode of procfs stands for.
enum Node {
    /// /proc.
    Root,
    /// One of the whole system.
    System(&'static Entry),
    /// /proc/PID or /proc/PID/task/TID.
    Process(Target),
    /// A name in it.
    OfProcess(Target, &'static TaskEntry),
    /// /proc/PID/fd/N.
    Fd(Target, i32),
    /// /proc/PID/fdinfo/N.
    FdInfo(Target, i32),
}

impl Node {
    fn kind(&self) -> FileKind {
        match self {
            Self::Root | Self::Process(_) => FileKind::Directory,
            Self::System(entry) => entry.kind(),
            Self::OfProcess(_, entry) => entry.kind(),
            Self::Fd(..) => FileKind::Symlink,
            Self::FdInfo(..) => FileKind::Regular,
        }
    }

    fn mode(&self) -> u32 {
        match self {
            Self::Root | Self::Process(_) => 0o555,
            Self::System(
                Entry::File { mode, .. } | Entry::Numbers { mode, .. } | Entry::Bytes { mode, .. },
            ) => *mode,
            Self::System(Entry::Dir { .. }) => 0o555,
            Self::System(Entry::Link { .. }) => 0o777,
            Self::OfProcess(_, entry) => entry.mode(),
            Self::Fd(target, fd) => fd::link_mode(target, *fd),
            Self::FdInfo(..) => 0o444,
        }
    }

    fn ino(&self) -> u64 {
        match self {
            Self::Root => 1,
            Self::System(entry) => entry.ino(),
            Self::Process(target) => target.ino(0),
            Self::OfProcess(target, entry) => target.ino(entry.number()),
            Self::Fd(target, fd) => target.ino(0x1000 + 2 * *fd as u64),
            Self::FdInfo(target, fd) => target.ino(0x1001 + 2 * *fd as u64),
        }
    }

    fn target(&self) -> Option<&Target> {
        match self {
            Self::Root | Self::System(_) => None,
            Self::Process(target)
            | Self::OfProcess(target, _)
            | Self::Fd(target, _)
            | Self::FdInfo(target, _) => Some(target),
        }
    }

    /// The text of a file.
    fn show(&self, text: &mut Text) -> Result<()> {
        match self {
            Self::System(Entry::File { show, .. } | Entry::Numbers { show, .. }) => show(text),
            Self::OfProcess(target, TaskEntry::File { show, .. }) => show(target, text),
            Self::FdInfo(target, fd) => fd::show_info(target, *fd, text),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Says how many bytes it took of those that were written at `pos`.
    fn write(&self, bytes: &[u8], pos: u64) -> Result<usize> {
        match self {
            Self::System(Entry::File { write: Some(write), .. }) => write(bytes).map(|()| bytes.len()),
            Self::System(Entry::Numbers { .. }) if pos != 0 || bytes.is_empty() => Ok(bytes.len()),
            Self::System(Entry::Numbers { write, .. }) => write(bytes),
            Self::OfProcess(target, TaskEntry::File { write: Some(write), .. }) => {
                write(target, bytes).map(|()| bytes.len())
            }
            // Written to by root, whom no permission holds back.
            _ => Err(Errno::EIO),
        }
    }
}

/// An inode of procfs.
struct ProcInode {
    node: KArc<Node>,
}

fn make_inode(sb: &KArc<SuperBlock>, node: Node) -> Result<KArc<Inode>> {
    let (kind, ino) = (node.kind(), node.ino());
    let mut attributes = Attributes::new(kind, node.mode(), 0, 0);
    if kind == FileKind::Directory {
        attributes.nlink = 2;
    }
    let ops = ProcInode { node: KArc::new(node, Gfp::KERNEL)? };
    let ops = kbox_dyn!(KBox::new(ops, Gfp::KERNEL)? => dyn InodeOps);
    Inode::new(sb, ino, kind, Dev::default(), attributes, ops)
}

/// A number in its one form, without leading zeroes.
fn parse_number(name: &[u8]) -> Option<u32> {
    if name.len() > 1 && name.first() == Some(&b'0') {
        return None;
    }
    core::str::from_utf8(name).ok().filter(|name| name.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// Position of the first process in a reading of /proc.
const FIRST_PROCESS: u64 = 256;

/// Shows the names of a table of entries from position `pos` on; says whether there is room for more.
fn read_entries(entries: &'static [Entry], pos: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> bool {
    let skip = pos.saturating_sub(2) as usize;
    entries.iter().enumerate().skip(skip).all(|(n, entry)| {
        let name = entry.name().as_bytes();
        emit(DirEntry { name, ino: entry.ino(), kind: entry.kind(), next: n as u64 + 3 })
    })
}

fn find_entry(entries: &'static [Entry], name: &[u8]) -> Option<Node> {
    entries.iter().find(|entry| entry.name().as_bytes() == name).map(Node::System)
}

impl InodeOps for ProcInode {
    fn lookup(&self, dir: &KArc<Dentry>, name: &[u8]) -> Result<KArc<Dentry>> {
        let found = match &*self.node {
            Node::Root => match find_entry(system::ROOT, name) {
                Some(node) => Some(node),
                None => parse_number(name).and_then(Target::process).map(Node::Process),
            },
            Node::System(Entry::Dir { entries, .. }) => find_entry(entries, name),
            Node::Process(target) => {
                process::find(target, name).map(|entry| Node::OfProcess(target.clone(), entry))
            }
            Node::OfProcess(target, TaskEntry::Dir { what, .. }) => fd::find(target, *what, name)?,
            _ => return Err(Errno::ENOTDIR),
        };
        let node = found.ok_or(Errno::ENOENT)?;
        Dentry::new(make_inode(&dir.inode.sb, node)?, Some(dir.clone()), name, 0)
    }

    fn may_add(&self) -> Result<()> {
        Err(Errno::ENOENT)
    }

    fn readdir(
        &self,
        _dir: &KArc<Dentry>,
        pos: u64,
        emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        match &*self.node {
            Node::Root => {
                if read_entries(system::ROOT, pos, emit) {
                    process::read_processes(pos.max(FIRST_PROCESS) - FIRST_PROCESS, emit)?;
                }
            }
            Node::System(Entry::Dir { entries, .. }) => {
                read_entries(entries, pos, emit);
            }
            Node::Process(target) => process::read_entries(target, pos, emit),
            Node::OfProcess(target, TaskEntry::Dir { what, .. }) => fd::read(target, *what, pos, emit)?,
            _ => return Err(Errno::ENOTDIR),
        }
        Ok(())
    }

    fn follow(&self, _inode: &Inode, _following: bool) -> Result<Link> {
        match &*self.node {
            Node::System(Entry::Link { text, .. }) => Ok(Link::Text(text()?)),
            Node::OfProcess(target, TaskEntry::Link { place, .. }) => {
                target.may_look()?;
                Ok(Link::Place(place(target)?))
            }
            Node::Fd(target, fd) => {
                target.may_look()?;
                Ok(Link::Place(target.files()?.get_any(*fd).map_err(|_| Errno::ENOENT)?.path.clone()))
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(&self, path: &Path, flags: u32) -> Result<KBox<dyn FileOps>> {
        match path.inode().kind {
            FileKind::Directory => Ok(kbox_dyn!(KBox::new(DirectoryFile, Gfp::KERNEL)? => dyn FileOps)),
            FileKind::Symlink => Err(Errno::ELOOP),
            _ => {
                if let Node::OfProcess(target, TaskEntry::File { private: true, .. }) = &*self.node {
                    target.may_look()?;
                }
                // There is nothing to make or to cut.
                let _ = flags & oflag::O_TRUNC;
                let file = ProcFile { node: self.node.clone(), text: Mutex::new(Rank::ProcText, None) };
                Ok(kbox_dyn!(KBox::new(file, Gfp::KERNEL)? => dyn FileOps))
            }
        }
    }

    fn resize(&self, _inode: &Inode, _size: u64) -> Result<()> {
        Ok(())
    }

    fn block_size(&self) -> usize {
        1024
    }

    fn refresh(&self, attributes: &mut Attributes) {
        attributes.mode = self.node.mode();
        if let Some(target) = self.node.target() {
            (attributes.uid, attributes.gid) = target.owner(self.node.kind());
        }
        if matches!(&*self.node, Node::Root) {
            attributes.nlink = 2 + crate::process::threads() as u32;
        }
    }

    fn may_change(&self) -> Result<()> {
        Err(Errno::EPERM)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// An open file of procfs.
struct ProcFile {
    node: KArc<Node>,
    /// The text as it was when the file was last read from its start.
    text: Mutex<Option<KVec<u8>>>,
}

/// The most that is taken of one write.
const MAX_WRITE: usize = 4096;

impl FileOps for ProcFile {
    fn read(&self, _file: &File, buf: &mut IoBuf<'_>, pos: &mut u64) -> Result<usize> {
        if let Node::System(Entry::Bytes { read, .. }) = &*self.node {
            return read(buf, pos);
        }
        if *pos != 0 && matches!(&*self.node, Node::System(Entry::Numbers { .. })) {
            return Ok(0);
        }
        let mut kept = self.text.lock();
        if *pos == 0 || kept.is_none() {
            let mut text = Text::new();
            self.node.show(&mut text)?;
            *kept = Some(text.finish()?);
        }
        let text = kept.as_deref().unwrap_or_default();
        let rest = usize::try_from(*pos).ok().and_then(|pos| text.get(pos..)).unwrap_or_default();
        let done = buf.put(rest)?;
        *pos += done as u64;
        Ok(done)
    }

    fn write(&self, _file: &File, buf: &mut IoBuf<'_>, pos: &mut u64) -> Result<usize> {
        let mut bytes = KVec::new();
        bytes.resize(buf.left().min(MAX_WRITE), 0, Gfp::KERNEL)?;
        let done = buf.take(&mut bytes)?;
        let taken = self.node.write(&bytes[..done], *pos)?;
        *pos += taken as u64;
        Ok(taken)
    }

    fn seek(&self) -> Seek {
        Seek::Position
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

struct Super;

impl SuperOps for Super {}

static INSTANCE: Once<(KArc<SuperBlock>, KArc<Dentry>)> = Once::new();

/// Makes the instance, once at boot.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn init() -> Result<()> {
    let sb = SuperBlock::new(PROC, kbox_dyn!(KBox::new(Super, Gfp::KERNEL)? => dyn SuperOps))?;
    sb.mounts.fetch_add(1, Relaxed);
    let root = Dentry::new(make_inode(&sb, Node::Root)?, None, b"/", 0)?;
    INSTANCE.call_once(|| (sb, root));
    Ok(())
}

/// The instance, for a mount: everybody sees the same processes.
///
/// # Errors
/// `ENODEV` before [`init`].
pub fn instance() -> Result<(KArc<SuperBlock>, KArc<Dentry>)> {
    INSTANCE.get().cloned().ok_or(Errno::ENODEV)
}

/// A formatted text as bytes.
fn format(args: core::fmt::Arguments<'_>) -> Result<KVec<u8>> {
    Ok(KString::format(args, Gfp::KERNEL)?.into_bytes())
}
