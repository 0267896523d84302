//! Pipes and fifos (Linux: `fs/pipe.c`).
//!
//! A pipe has a number of slots, 16 at first, each for one page. A write of at most a page goes
//! into the last page's rest or into a new slot whole: so it is atomic. Who waits is woken when the pipe
//! stops being empty, or full.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rux_mm::addr::{Order, PAGE_SIZE};
use rux_mm::gfp::Gfp;
use rux_mm::page_alloc::{PageBlock, alloc_pages};
use rux_mm::slab::{KArc, KBox, KVec};
use rux_mm::sync::{Mutex, MutexGuard, Rank};

use super::anon;
use super::current;
use super::file::{File, FileOps};
use super::inode::InodeOps;
use super::iobuf::IoBuf;
use super::mount::Path;
use super::poll::{Events, PollTable, WaitPoint};
use super::types::oflag::*;
use crate::errno::{Errno, Result};
use crate::process::cred::{Caps, Cred};
use crate::uaccess;

/// Slots of a new pipe (Linux: `PIPE_DEF_BUFFERS`).
const DEFAULT_SLOTS: usize = 16;
/// The largest pipe of those without privilege, in bytes (`/proc/sys/fs/pipe-max-size`).
pub const PIPE_MAX_SIZE: usize = 1 << 20;

struct Slot {
    page: PageBlock,
    start: usize,
    len: usize,
    /// A later write may go into the rest of the page.
    can_merge: bool,
}

impl Slot {
    fn bytes(&mut self, start: usize, len: usize) -> &mut [u8] {
        // SAFETY: the page is this slot's alone, and `start + len` is at most its size: all callers keep
        // within `PAGE_SIZE`.
        unsafe { core::slice::from_raw_parts_mut(self.page.as_ptr().add(start), len) }
    }
}

struct State {
    /// A ring: `head` is the oldest of `used` slots.
    ring: KVec<Option<Slot>>,
    head: usize,
    used: usize,
    readers: u32,
    writers: u32,
    /// How many readers and writers ever came, for a fifo's opening to notice one that left again.
    reader_count: u64,
    writer_count: u64,
    /// A page that was emptied, for the next write.
    spare: Option<PageBlock>,
}

/// A pipe.
pub struct Pipe {
    state: Mutex<State>,
    /// What the conditions of waiters look at, as they must not sleep: slots used, and whether the
    /// other side is there.
    status: rux_mm::sync::SpinLock<Status>,
    readable: WaitPoint,
    writable: WaitPoint,
    opened: WaitPoint,
    /// Somebody polls: every read and write is an event then, for edge-triggered epolls.
    polled: AtomicBool,
}

#[derive(Clone, Copy, Default)]
struct Status {
    empty: bool,
    full: bool,
    readers: u32,
    writers: u32,
    reader_count: u64,
    writer_count: u64,
}

impl State {
    fn slot(&mut self, n: usize) -> Option<&mut Slot> {
        let size = self.ring.len();
        self.ring.get_mut((self.head + n) % size)?.as_mut()
    }

    fn is_full(&self) -> bool {
        self.used >= self.ring.len()
    }

    fn status(&self) -> Status {
        Status {
            empty: self.used == 0,
            full: self.is_full(),
            readers: self.readers,
            writers: self.writers,
            reader_count: self.reader_count,
            writer_count: self.writer_count,
        }
    }
}

impl Pipe {
    /// An empty pipe that nobody has open.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<KArc<Self>> {
        let mut ring = KVec::new();
        ring.try_extend((0..DEFAULT_SLOTS).map(|_| None), Gfp::KERNEL)?;
        let state = State {
            ring,
            head: 0,
            used: 0,
            readers: 0,
            writers: 0,
            reader_count: 0,
            writer_count: 0,
            spare: None,
        };
        let pipe = Self {
            status: rux_mm::sync::SpinLock::new(Rank::Names, state.status()),
            state: Mutex::new(Rank::Pipe, state),
            readable: WaitPoint::new(),
            writable: WaitPoint::new(),
            opened: WaitPoint::new(),
            polled: AtomicBool::new(false),
        };
        Ok(KArc::new(pipe, Gfp::KERNEL)?)
    }

    /// Publishes what waiters look at, before the state is unlocked.
    fn publish(&self, state: &State) {
        *self.status.lock() = state.status();
    }

    fn status(&self) -> Status {
        *self.status.lock()
    }

    fn unlock(&self, state: MutexGuard<'_, State>) {
        self.publish(&state);
    }

    /// Counts an end that comes; says how things stood at that very moment.
    fn attach(&self, reads: bool, writes: bool) -> Status {
        let mut state = self.state.lock();
        state.readers += u32::from(reads);
        state.writers += u32::from(writes);
        state.reader_count += u64::from(reads);
        state.writer_count += u64::from(writes);
        let status = state.status();
        self.unlock(state);
        self.opened.wake();
        status
    }

    fn detach(&self, reads: bool, writes: bool) {
        let mut state = self.state.lock();
        state.readers -= u32::from(reads);
        state.writers -= u32::from(writes);
        if state.readers == 0 && state.writers == 0 {
            state.ring.iter_mut().for_each(|slot| *slot = None);
            (state.head, state.used, state.spare) = (0, 0, None);
        }
        self.unlock(state);
        self.readable.wake();
        self.writable.wake();
    }

    fn read(&self, buf: &mut IoBuf<'_>, nonblocking: bool) -> Result<usize> {
        if buf.left() == 0 {
            return Ok(0);
        }
        let mut done = 0;
        let mut state = self.state.lock();
        let mut was_full = state.is_full();
        let result = loop {
            if state.used > 0 {
                let Some(slot) = state.slot(0) else { break Err(Errno::EIO) };
                let (start, n) = (slot.start, slot.len.min(buf.left()));
                let moved = match buf.put(slot.bytes(start, n)) {
                    Ok(moved) => moved,
                    Err(e) => break Err(e),
                };
                slot.start += moved;
                slot.len -= moved;
                done += moved;
                let emptied = slot.len == 0;
                if emptied {
                    let head = state.head;
                    let slot = state.ring[head].take();
                    state.head = (head + 1) % state.ring.len();
                    state.used -= 1;
                    if state.spare.is_none() {
                        state.spare = slot.map(|slot| slot.page);
                    }
                }
                if moved < n || buf.left() == 0 {
                    break Ok(());
                }
                continue;
            }
            if state.writers == 0 || done > 0 {
                break Ok(());
            }
            if nonblocking {
                break Err(Errno::EAGAIN);
            }
            self.unlock(state);
            if was_full {
                self.writable.wake();
            }
            let waited = self.readable.wait(|| {
                let status = self.status();
                !status.empty || status.writers == 0
            });
            state = self.state.lock();
            was_full = state.is_full();
            if waited.is_err() {
                break Err(Errno::ERESTARTSYS);
            }
        };
        let wake = (was_full || self.polled.load(Relaxed)) && !state.is_full();
        self.unlock(state);
        if wake {
            self.writable.wake();
        }
        if done > 0 { Ok(done) } else { result.map(|()| 0) }
    }

    /// Puts the first bytes of a write into the rest of the last page, if all that is not whole pages fits.
    fn merge(state: &mut State, buf: &mut IoBuf<'_>) -> Result<usize> {
        let part = buf.left() % PAGE_SIZE;
        if part == 0 || state.used == 0 {
            return Ok(0);
        }
        let last = state.used - 1;
        let Some(slot) = state.slot(last) else { return Ok(0) };
        let end = slot.start + slot.len;
        if !slot.can_merge || end + part > PAGE_SIZE {
            return Ok(0);
        }
        let moved = buf.take(slot.bytes(end, part))?;
        slot.len += moved;
        Ok(moved)
    }

    fn write(&self, buf: &mut IoBuf<'_>, nonblocking: bool, packets: bool) -> Result<usize> {
        let total = buf.left();
        if total == 0 {
            return Ok(0);
        }
        let mut state = self.state.lock();
        if state.readers == 0 {
            self.unlock(state);
            current::send_sigpipe();
            return Err(Errno::EPIPE);
        }
        let mut was_empty = state.used == 0;
        let first = if packets { Ok(0) } else { Self::merge(&mut state, buf) };
        let result = loop {
            if let Err(e) = first {
                break Err(e);
            }
            if buf.left() == 0 {
                break Ok(());
            }
            if state.readers == 0 {
                current::send_sigpipe();
                break Err(Errno::EPIPE);
            }
            if !state.is_full() {
                let page = match state.spare.take() {
                    Some(page) => Ok(page),
                    None => alloc_pages(Gfp::USER, Order::ZERO),
                };
                let Ok(page) = page else { break Err(Errno::ENOMEM) };
                let mut slot = Slot { page, start: 0, len: 0, can_merge: !packets };
                let n = buf.left().min(PAGE_SIZE);
                match buf.take(slot.bytes(0, n)) {
                    Ok(moved) => slot.len = moved,
                    Err(e) => {
                        state.spare = Some(slot.page);
                        break Err(e);
                    }
                }
                let moved = slot.len;
                let (at, size) = (state.head + state.used, state.ring.len());
                state.ring[at % size] = Some(slot);
                state.used += 1;
                if moved < n {
                    // The memory ended; what went in counts.
                    break Ok(());
                }
                continue;
            }
            if nonblocking {
                break Err(Errno::EAGAIN);
            }
            self.unlock(state);
            if was_empty {
                self.readable.wake();
            }
            let waited = self.writable.wait(|| {
                let status = self.status();
                !status.full || status.readers == 0
            });
            state = self.state.lock();
            was_empty = state.used == 0;
            if waited.is_err() {
                break Err(Errno::ERESTARTSYS);
            }
        };
        let wake = (was_empty || self.polled.load(Relaxed)) && state.used > 0;
        self.unlock(state);
        if wake {
            self.readable.wake();
        }
        match total - buf.left() {
            0 => result.map(|()| 0),
            done => Ok(done),
        }
    }

    /// The bytes that are in it (`FIONREAD`).
    fn pending(&self) -> usize {
        self.state.lock().ring.iter().flatten().map(|slot| slot.len).sum()
    }

    /// How many bytes fit (`F_GETPIPE_SZ`).
    pub fn capacity(&self) -> usize {
        self.state.lock().ring.len() * PAGE_SIZE
    }

    /// Makes it so large that `bytes` fit (`F_SETPIPE_SZ`); says how many do.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM` above [`PIPE_MAX_SIZE`], `EBUSY` when more is in it, `ENOMEM`.
    pub fn resize(&self, bytes: usize, cred: &Cred) -> Result<usize> {
        let slots = bytes.max(1).div_ceil(PAGE_SIZE).checked_next_power_of_two().ok_or(Errno::EINVAL)?;
        if slots > (1 << 31) / PAGE_SIZE {
            return Err(Errno::EINVAL);
        }
        if slots * PAGE_SIZE > PIPE_MAX_SIZE && !cred.capable(Caps::SYS_RESOURCE) {
            return Err(Errno::EPERM);
        }
        let mut ring = KVec::with_capacity(slots, Gfp::KERNEL)?;
        let mut state = self.state.lock();
        if state.used > slots {
            return Err(Errno::EBUSY);
        }
        for n in 0..state.used {
            let at = (state.head + n) % state.ring.len();
            let slot = state.ring[at].take();
            ring.push(slot, Gfp::KERNEL)?;
        }
        let used = state.used;
        ring.try_extend((used..slots).map(|_| None), Gfp::KERNEL)?;
        (state.ring, state.head) = (ring, 0);
        self.unlock(state);
        self.writable.wake();
        Ok(slots * PAGE_SIZE)
    }
}

/// An end of a pipe, or both in one (a fifo opened with `O_RDWR`).
pub struct PipeEnd {
    pipe: KArc<Pipe>,
    reads: bool,
    writes: bool,
}

impl PipeEnd {
    fn open(pipe: KArc<Pipe>, reads: bool, writes: bool) -> Result<(KBox<dyn FileOps>, Status)> {
        // The end is counted before it exists, and given back by its drop.
        let status = pipe.attach(reads, writes);
        let end = Self { pipe, reads, writes };
        Ok((rux_mm::kbox_dyn!(KBox::new(end, Gfp::KERNEL)? => dyn FileOps), status))
    }

    /// The pipe.
    pub fn pipe(&self) -> &KArc<Pipe> {
        &self.pipe
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.pipe.detach(self.reads, self.writes);
    }
}

impl FileOps for PipeEnd {
    fn read(&self, file: &File, buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        self.pipe.read(buf, file.nonblocking())
    }

    fn write(&self, file: &File, buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        self.pipe.write(buf, file.nonblocking(), file.flags() & O_DIRECT != 0)
    }

    fn poll(&self, _file: &File, table: &mut PollTable<'_>) -> Events {
        let mut events = Events::empty();
        self.pipe.polled.store(true, Relaxed);
        if self.reads {
            table.watch(&self.pipe.readable);
        }
        if self.writes {
            table.watch(&self.pipe.writable);
        }
        let status = self.pipe.status();
        if self.reads {
            if !status.empty {
                events |= Events::IN | Events::RDNORM;
            }
            if status.writers == 0 && status.writer_count > 0 {
                events |= Events::HUP;
            }
        }
        if self.writes {
            if !status.full {
                events |= Events::OUT | Events::WRNORM;
            }
            if status.readers == 0 {
                events |= Events::ERR;
            }
        }
        events
    }

    fn pollable(&self) -> bool {
        true
    }

    fn ioctl(&self, _file: &File, request: u32, arg: usize) -> Result<usize> {
        const FIONREAD: u32 = 0x541b;
        match request {
            FIONREAD => {
                let addr = rux_mm::addr::VirtAddr::new(arg as u64);
                uaccess::write_user(addr, self.pipe.pending() as i32)?;
                Ok(0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// The inode of a pipe without a name: opened anew only by way of /proc/PID/fd.
struct PipeInode(KArc<Pipe>);

impl InodeOps for PipeInode {
    fn open(&self, _path: &Path, flags: u32) -> Result<KBox<dyn FileOps>> {
        open_fifo(self.0.clone(), flags)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// A new pipe: its end for reading and its end for writing, with `flags` of `O_NONBLOCK` and `O_DIRECT`.
///
/// # Errors
/// `ENFILE`, `ENOMEM`.
pub fn new_pipe(flags: u32, cred: &KArc<Cred>) -> Result<(KArc<File>, KArc<File>)> {
    let pipe = Pipe::new()?;
    let inode = rux_mm::kbox_dyn!(KBox::new(PipeInode(pipe.clone()), Gfp::KERNEL)? => dyn InodeOps);
    let path = anon::pipe_path(inode, cred)?;
    let (reader, _) = PipeEnd::open(pipe.clone(), true, false)?;
    let (writer, _) = PipeEnd::open(pipe, false, true)?;
    let reader = File::anonymous(path.clone(), flags & O_NONBLOCK, cred.clone(), reader)?;
    let writer = File::anonymous(path, flags & (O_NONBLOCK | O_DIRECT) | O_WRONLY, cred.clone(), writer)?;
    Ok((reader, writer))
}

/// Opens a fifo: waits for the other side, unless told not to (Linux: `fifo_open`).
///
/// # Errors
/// `ENXIO` to write without waiting while nobody reads; `ERESTARTSYS`; `ENOMEM`.
pub fn open_fifo(pipe: KArc<Pipe>, flags: u32) -> Result<KBox<dyn FileOps>> {
    let patient = flags & O_NONBLOCK == 0;
    // Who comes and leaves again before the waiter looks has come all the same: hence the counts, compared
    // with what they were when this end was counted.
    match flags & O_ACCMODE {
        O_RDWR => Ok(PipeEnd::open(pipe, true, true)?.0),
        O_WRONLY => {
            if !patient && pipe.status().readers == 0 {
                return Err(Errno::ENXIO);
            }
            let (end, at_open) = PipeEnd::open(pipe.clone(), false, true)?;
            let came = || {
                let now = pipe.status();
                now.readers > 0 || now.reader_count != at_open.reader_count
            };
            if patient && at_open.readers == 0 {
                pipe.opened.wait(came).map_err(|_| Errno::ERESTARTSYS)?;
            }
            Ok(end)
        }
        0 => {
            let (end, at_open) = PipeEnd::open(pipe.clone(), true, false)?;
            let came = || {
                let now = pipe.status();
                now.writers > 0 || now.writer_count != at_open.writer_count
            };
            if patient && at_open.writers == 0 {
                pipe.opened.wait(came).map_err(|_| Errno::ERESTARTSYS)?;
            }
            Ok(end)
        }
        _ => Err(Errno::EINVAL),
    }
}
