//! The kernel's log: a ring of the last messages, and the back end of the crate `log`
//! (Linux: `kernel/printk/`).
//!
//! A message goes to the ring, to the serial line unless the command line has `quiet`, and to whoever
//! [`set_copy`] named.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};

use rux_machine::{HartMask, Hot, HotExt, Hw};
use rux_mm::sync::{IrqSpinLock, Rank};
use spin::Once;

use crate::wait::WaitQueue;
use crate::{console, ipi, time};

/// Bytes of the ring (Linux: `CONFIG_LOG_BUF_SHIFT` = 17).
const SIZE: usize = 1 << 17;
/// The longest message; the rest is cut (Linux: `PRINTKRB_RECORD_MAX` = 1024).
const MESSAGE: usize = 1000;
/// In front of each message: its length (2 bytes), its level, a spare byte, its time.
const HEADER: usize = 12;

struct Ring {
    bytes: [u8; SIZE],
    /// Where the oldest record starts, and where the next will; both count on for ever.
    start: u64,
    end: u64,
    /// Sequence numbers of the same.
    first: u64,
    next: u64,
}

static RING: IrqSpinLock<Ring> =
    IrqSpinLock::new(Rank::Log, Ring { bytes: [0; SIZE], start: 0, end: 0, first: 0, next: 0 });
static READERS: WaitQueue = WaitQueue::new();
static QUIET: AtomicBool = AtomicBool::new(false);
/// Whether readers are to be woken once interrupts are on.
static WAKE: AtomicBool = AtomicBool::new(false);
/// Set by a panic.
static BROKEN: AtomicBool = AtomicBool::new(false);
static COPY: Once<fn(&[u8])> = Once::new();

impl Ring {
    fn put(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.bytes[self.end as usize % SIZE] = byte;
            self.end += 1;
        }
    }

    fn get(&self, at: u64, buffer: &mut [u8]) {
        for (to, at) in buffer.iter_mut().zip(at..) {
            *to = self.bytes[at as usize % SIZE];
        }
    }

    fn header(&self, at: u64) -> (usize, u8, u64) {
        let mut header = [0; HEADER];
        self.get(at, &mut header);
        let [l0, l1, level, _, time @ ..] = header;
        (usize::from(u16::from_ne_bytes([l0, l1])), level, u64::from_ne_bytes(time))
    }

    fn push(&mut self, level: u8, time: u64, text: &[u8]) {
        let needed = (HEADER + text.len()) as u64;
        while self.end + needed - self.start > SIZE as u64 {
            self.start += (HEADER + self.header(self.start).0) as u64;
            self.first += 1;
        }
        let [l0, l1] = (text.len() as u16).to_ne_bytes();
        self.put(&[l0, l1, level, 0]);
        self.put(&time.to_ne_bytes());
        self.put(text);
        self.next += 1;
    }
}

/// Copies whole records, each as `<level>[seconds] text\n`, from sequence `from` on; returns the bytes
/// copied and the sequence to go on with. Records that the ring has lost are passed over.
pub fn read(from: u64, buffer: &mut [u8]) -> (usize, u64) {
    let ring = RING.lock();
    let (mut at, mut sequence) = (ring.start, ring.first);
    let mut done = 0;
    while sequence < ring.next {
        let (len, level, time) = ring.header(at);
        if sequence >= from {
            let mut line = Line::<40>::new();
            // A prefix always fits.
            let _ = write!(line, "<{level}>{}", Stamp(time));
            let total = line.len + len + 1;
            if done + total > buffer.len() {
                break;
            }
            buffer[done..done + line.len].copy_from_slice(line.as_bytes());
            ring.get(at + HEADER as u64, &mut buffer[done + line.len..done + line.len + len]);
            buffer[done + total - 1] = b'\n';
            done += total;
        }
        at += (HEADER + len) as u64;
        sequence += 1;
    }
    (done, sequence.max(from))
}

/// A record of the log, but for its text.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Its number.
    pub sequence: u64,
    /// Its syslog level, 0 to 7.
    pub level: u8,
    /// Nanoseconds since boot.
    pub time: u64,
    /// Bytes of its text.
    pub len: usize,
}

/// The first record at or above sequence `from`, its text copied to `text` as far as that goes; `None` when
/// it is yet to come.
pub fn record(from: u64, text: &mut [u8]) -> Option<Record> {
    let ring = RING.lock();
    let (mut at, mut sequence) = (ring.start, ring.first);
    while sequence < ring.next {
        let (len, level, time) = ring.header(at);
        if sequence >= from {
            let len = len.min(text.len());
            ring.get(at + HEADER as u64, &mut text[..len]);
            return Some(Record { sequence, level, time, len });
        }
        at += (HEADER + len) as u64;
        sequence += 1;
    }
    None
}

/// The sequence number of the oldest record kept, and of the next to come.
pub fn range() -> (u64, u64) {
    let ring = RING.lock();
    (ring.first, ring.next)
}

/// Bytes that the ring has room for.
pub fn size() -> usize {
    SIZE
}

/// The queue that is woken when a record comes.
pub fn readers() -> &'static WaitQueue {
    &READERS
}

/// Text of at most `N` bytes; what is more is cut.
struct Line<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Line<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<const N: usize> Write for Line<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let len = text.len().min(N - self.len);
        self.bytes[self.len..self.len + len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

/// `[    1.234567] `.
struct Stamp(u64);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 / 1000;
        write!(f, "[{:5}.{:06}] ", micros / 1_000_000, micros % 1_000_000)
    }
}

/// Adds a message of a syslog level (0 to 7) to the log; writes it to the serial line unless quiet.
pub fn message(level: u8, args: fmt::Arguments<'_>) {
    let mut text = Line::<MESSAGE>::new();
    // What does not fit is cut; no argument of ours fails.
    let _ = text.write_fmt(args);
    emit(level, text.as_bytes(), !QUIET.load(Relaxed));
}

fn emit(level: u8, text: &[u8], loud: bool) {
    let time = time::now();
    let broken = BROKEN.load(Relaxed);
    if broken {
        if let Some(mut ring) = RING.try_lock() {
            ring.push(level, time, text);
        }
    } else {
        RING.lock().push(level, time, text);
    }
    let mut stamp = Line::<24>::new();
    let _ = write!(stamp, "{}", Stamp(time));
    if loud {
        console::write(stamp.as_bytes());
        console::write(text);
        console::write(b"\r\n");
    }
    if let Some(copy) = COPY.get() {
        copy(stamp.as_bytes());
        copy(text);
        copy(b"\n");
    }
    if broken {
        return;
    }
    if Hw::irqs_on() {
        wake_readers();
    } else if !WAKE.swap(true, SeqCst) {
        // Whoever logs with interrupts off may hold a lock that stands below those that waking takes.
        ipi::send_reschedule(HartMask::one(Hw::hart()));
    }
}

fn wake_readers() {
    if !READERS.is_empty() {
        READERS.wake_all();
    }
}

/// Wakes those who read the log if a message came while that could not be done. From the software interrupt.
pub(crate) fn wake_deferred() {
    if WAKE.load(SeqCst) && WAKE.swap(false, SeqCst) {
        wake_readers();
    }
}

/// Has every message copied to `copy` too, those in the ring first. The first call counts. `copy` is
/// called in any context, and logs nothing itself.
pub(crate) fn set_copy(copy: fn(&[u8])) {
    let mut from = 0;
    let mut buffer = [0; MESSAGE + 64];
    loop {
        let (len, next) = read(from, &mut buffer);
        if len == 0 {
            break;
        }
        for line in buffer[..len].split_inclusive(|&byte| byte == b'\n') {
            // Without the level.
            let start = line.iter().position(|&byte| byte == b'>').map_or(0, |at| at + 1);
            copy(&line[start..]);
        }
        from = next;
    }
    COPY.call_once(|| copy);
}

/// Whether [`break_locks`] was called.
pub(crate) fn is_broken() -> bool {
    BROKEN.load(Relaxed)
}

/// From now on every message is written to the serial line, and no lock is waited for.
pub(crate) fn break_locks() {
    BROKEN.store(true, Relaxed);
    QUIET.store(false, Relaxed);
    console::break_lock();
}

struct Backend;

impl log::Log for Backend {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = match record.level() {
            log::Level::Error => 3,
            log::Level::Warn => 4,
            log::Level::Info => 6,
            log::Level::Debug | log::Level::Trace => 7,
        };
        message(level, *record.args());
    }

    fn flush(&self) {}
}

/// Takes what the crate `log` is given; `quiet` keeps it off the serial line.
pub(crate) fn init(quiet: bool) {
    QUIET.store(quiet, Relaxed);
    // Only the first call counts, and this is it.
    let _ = log::set_logger(&Backend);
    log::set_max_level(if cfg!(debug_assertions) { log::LevelFilter::Debug } else { log::LevelFilter::Info });
}
