//! Terminals (Linux: `drivers/tty/`). There is one: the serial line.
//!
//! What is typed comes byte by byte in an interrupt and waits in a ring; a kernel thread feeds it to
//! the line discipline, as that echoes, sends signals and may sleep. The session and the foreground group
//! are [`job`]'s, the ioctls [`ioctl`]'s.

mod ioctl;
mod job;
pub mod ldisc;
pub mod termios;

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rux_mm::gfp::Gfp;
use rux_mm::slab::KBox;
use rux_mm::sync::{IrqSpinLock, Mutex, Rank, SpinLock};

use self::ldisc::{Effect, Ldisc};
use self::termios::{Termios, cc::*, lflag::*};
use super::device;
use super::file::{File, FileOps, Seek};
use super::iobuf::IoBuf;
use super::poll::{Events, PollTable, WaitPoint};
use super::types::{Dev, oflag};
use crate::errno::{Errno, Result};
use crate::signal::Signal;
use crate::wait::{WaitError, WaitQueue};
use crate::{console, sched, time};

pub use job::{of_session, session_ends};

/// Bytes that wait for the line discipline.
const TYPED: usize = 1024;

struct Typed {
    ring: [u8; TYPED],
    from: usize,
    len: usize,
    /// Full: the device keeps what comes, and tells of it no more.
    throttled: bool,
}

/// `struct winsize`: rows, columns, and sizes in pixels.
pub type WindowSize = [u16; 4];

/// A terminal.
struct Tty {
    typed: IrqSpinLock<Typed>,
    /// The thread that feeds the line discipline sleeps here.
    work: WaitQueue,
    ldisc: Mutex<Ldisc>,
    settings: SpinLock<Settings>,
    job: IrqSpinLock<job::Job>,
    /// Readers, and who polls for input.
    input: WaitPoint,
    /// Writers that `^S` stopped.
    output: WaitPoint,
    /// How often the line was hung up: files that were opened before are dead.
    hangups: AtomicU32,
}

/// What conditions of waiters look at, as they must not sleep.
#[derive(Clone, Copy)]
struct Settings {
    termios: Termios,
    size: WindowSize,
    readable: usize,
    has_room: bool,
    stopped: bool,
    /// `TIOCEXCL`: nobody but root opens it again.
    exclusive: bool,
}

static TTY: Tty = Tty {
    typed: IrqSpinLock::new(Rank::Device, Typed { ring: [0; TYPED], from: 0, len: 0, throttled: false }),
    work: WaitQueue::new(),
    ldisc: Mutex::new(Rank::Tty, Ldisc::new()),
    settings: SpinLock::new(
        Rank::Names,
        Settings {
            termios: Termios::STANDARD,
            size: [0; 4],
            readable: 0,
            has_room: true,
            stopped: false,
            exclusive: false,
        },
    ),
    job: IrqSpinLock::new(Rank::Names, job::Job::NONE),
    input: WaitPoint::new(),
    output: WaitPoint::new(),
    hangups: AtomicU32::new(0),
};

/// Whether a typed byte can be taken; if not, the device waits until [`Tty::feed`] has made room (Linux:
/// `tty_throttle`). In an interrupt.
fn has_room() -> bool {
    let mut typed = TTY.typed.lock();
    if typed.len == TYPED {
        typed.throttled = true;
        console::listen(false);
    }
    !typed.throttled
}

/// A typed byte, in an interrupt.
fn receive(byte: u8) {
    let mut typed = TTY.typed.lock();
    if typed.len < TYPED {
        let at = (typed.from + typed.len) % TYPED;
        typed.ring[at] = byte;
        typed.len += 1;
    }
    drop(typed);
    TTY.work.wake_one();
}

/// Starts the terminal, once at boot.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn init() -> Result<()> {
    sched::spawn_kthread("tty", |_| TTY.feed(), 0)?;
    console::set_receiver(console::Receiver { has_room, receive });
    Ok(())
}

impl Tty {
    fn termios(&self) -> Termios {
        self.settings.lock().termios
    }

    /// Publishes what waiters look at, while the line discipline is still locked.
    fn publish(&self, ldisc: &Ldisc) {
        let mut settings = self.settings.lock();
        settings.readable = ldisc.readable(&settings.termios);
        settings.has_room = ldisc.has_room(&settings.termios);
        settings.stopped = ldisc.stopped;
    }

    /// The kernel thread: typed bytes into the line discipline, for ever.
    fn feed(&self) {
        let mut block = [0; 64];
        loop {
            self.work.wait_uninterruptible(|| self.typed.lock().len > 0 && self.settings.lock().has_room);
            let mut typed = self.typed.lock();
            let n = typed.len.min(block.len());
            for slot in &mut block[..n] {
                *slot = typed.ring[typed.from];
                typed.from = (typed.from + 1) % TYPED;
            }
            typed.len -= n;
            if core::mem::take(&mut typed.throttled) {
                console::listen(true);
            }
            drop(typed);
            let mut rest = &block[..n];
            while !rest.is_empty() {
                rest = self.feed_some(rest);
                if !rest.is_empty() {
                    self.work.wait_uninterruptible(|| self.settings.lock().has_room);
                }
            }
        }
    }

    /// Feeds bytes as long as there is room; says which are left.
    fn feed_some<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let mut ldisc = self.ldisc.lock();
        let termios = self.termios();
        let was_stopped = ldisc.stopped;
        let mut rest = bytes;
        while let Some((&c, after)) = rest.split_first() {
            if !ldisc.has_room(&termios) {
                break;
            }
            rest = after;
            let signal = match ldisc.receive(c, &termios) {
                Effect::None => continue,
                Effect::Interrupt => Signal::INT,
                Effect::Quit => Signal::QUIT,
                Effect::Suspend => Signal::TSTP,
            };
            self.publish(&ldisc);
            self.signal_foreground(signal);
        }
        self.publish(&ldisc);
        let readable = ldisc.readable(&termios) > 0;
        let restarted = was_stopped && !ldisc.stopped;
        drop(ldisc);
        if readable {
            self.input.wake();
        }
        if restarted {
            self.output.wake();
        }
        rest
    }

    /// Whether a reader finds something: a line, or in raw mode at least a byte.
    fn has_input(&self) -> bool {
        self.settings.lock().readable > 0
    }

    fn read(&self, file: &OpenTty, buf: &mut IoBuf<'_>, nonblocking: bool) -> Result<usize> {
        self.may_read(file)?;
        let mut done = 0;
        let mut block = [0; 256];
        // Between two bytes of a raw read with VMIN and VTIME the clock starts with the first byte.
        let mut deadline = None;
        let began = time::now();
        let result = loop {
            if file.is_hung_up() {
                break Ok(());
            }
            let mut ldisc = self.ldisc.lock();
            let t = self.termios();
            let canonical = t.local(ICANON);
            let (minimum, tenths) = (usize::from(t.cc[VMIN]), u64::from(t.cc[VTIME]));
            if ldisc.readable(&t) > 0 {
                let want = buf.left().min(block.len());
                let (n, ended) = ldisc.read(&mut block[..want], &t);
                self.publish(&ldisc);
                drop(ldisc);
                self.work.wake_one();
                match buf.put(&block[..n]) {
                    Ok(moved) => {
                        done += moved;
                        if moved < n {
                            break Ok(());
                        }
                    }
                    Err(e) => break Err(e),
                }
                if ended || buf.left() == 0 {
                    break Ok(());
                }
                if !canonical {
                    if done >= minimum.max(1) {
                        break Ok(());
                    }
                    if tenths > 0 {
                        deadline = Some(time::now() + tenths * (time::SECOND / 10));
                    }
                }
                continue;
            }
            drop(ldisc);
            // A line longer than the block goes on in the next; the rest of a line that was cut short
            // waits for the next read.
            if canonical && done > 0 {
                break Ok(());
            }
            if !canonical && minimum == 0 {
                if done > 0 || tenths == 0 {
                    break Ok(());
                }
                deadline = Some(began + tenths * (time::SECOND / 10));
            }
            if nonblocking {
                break Err(Errno::EAGAIN);
            }
            let ready = || self.has_input() || file.is_hung_up() || self.termios() != t;
            match self.input.queue().wait_deadline(deadline, ready) {
                Ok(()) => {}
                Err(WaitError::TimedOut) => break Ok(()),
                Err(WaitError::Interrupted) => break Err(Errno::ERESTARTSYS),
            }
        };
        if done > 0 { Ok(done) } else { result.map(|()| 0) }
    }

    fn write(&self, file: &OpenTty, buf: &mut IoBuf<'_>, nonblocking: bool) -> Result<usize> {
        if self.termios().local(TOSTOP) {
            self.check_change(file, Signal::TTOU)?;
        }
        let mut done = 0;
        let mut block = [0; 256];
        while buf.left() > 0 {
            if super::current::signal_pending() {
                return if done > 0 { Ok(done) } else { Err(Errno::ERESTARTSYS) };
            }
            if file.is_hung_up() {
                return if done > 0 { Ok(done) } else { Err(Errno::EIO) };
            }
            if self.settings.lock().stopped {
                if nonblocking {
                    return if done > 0 { Ok(done) } else { Err(Errno::EAGAIN) };
                }
                let going = || !self.settings.lock().stopped || file.is_hung_up();
                if self.output.wait(going).is_err() {
                    return if done > 0 { Ok(done) } else { Err(Errno::ERESTARTSYS) };
                }
                continue;
            }
            let n = match buf.take(&mut block) {
                Ok(n) => n,
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            };
            self.ldisc.lock().output(&block[..n], &self.termios());
            done += n;
        }
        Ok(done)
    }

    /// The line is cut: files that are open get end of file and EIO (Linux: `tty_vhangup`). The settings stay, as
    /// with every serial driver of Linux: init may still print what the program that ended has written.
    fn hang_up(&self) {
        self.hangups.fetch_add(1, Relaxed);
        let mut ldisc = self.ldisc.lock();
        ldisc.flush_input();
        ldisc.stopped = false;
        self.publish(&ldisc);
        drop(ldisc);
        self.input.wake();
        self.output.wake();
    }
}

/// A terminal, open.
struct OpenTty {
    /// Opened as /dev/console: it survives a hang-up, and reads from any group.
    console: bool,
    hangups: u32,
}

impl OpenTty {
    fn is_hung_up(&self) -> bool {
        !self.console && self.hangups != TTY.hangups.load(Relaxed)
    }
}

/// What serves an open terminal.
///
/// # Errors
/// `ENXIO` for /dev/tty without a controlling terminal, `EBUSY` after `TIOCEXCL`.
pub fn open(dev: Dev, flags: u32) -> Result<KBox<dyn FileOps>> {
    if dev == device::TTY && !job::has_terminal() {
        return Err(Errno::ENXIO);
    }
    if TTY.settings.lock().exclusive && !job::is_privileged() {
        return Err(Errno::EBUSY);
    }
    let open = OpenTty { console: dev == device::CONSOLE, hangups: TTY.hangups.load(Relaxed) };
    if flags & oflag::O_NOCTTY == 0 && dev == device::SERIAL {
        TTY.become_controlling();
    }
    Ok(rux_mm::kbox_dyn!(KBox::new(open, Gfp::KERNEL)? => dyn FileOps))
}

impl FileOps for OpenTty {
    fn read(&self, file: &File, buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        if self.is_hung_up() {
            return Ok(0);
        }
        let read = TTY.read(self, buf, file.nonblocking())?;
        file.inode().touch_accessed();
        Ok(read)
    }

    fn write(&self, file: &File, buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        if self.is_hung_up() {
            return Err(Errno::EIO);
        }
        TTY.write(self, buf, file.nonblocking())
    }

    fn seek(&self) -> Seek {
        Seek::Stream
    }

    fn poll(&self, _file: &File, table: &mut PollTable<'_>) -> Events {
        table.watch(&TTY.input);
        table.watch(&TTY.output);
        if self.is_hung_up() {
            return Events::IN | Events::OUT | Events::ERR | Events::HUP | Events::RDNORM | Events::WRNORM;
        }
        let settings = *TTY.settings.lock();
        let mut events = Events::empty();
        let minimum = usize::from(settings.termios.cc[VMIN]).max(1);
        let enough = settings.termios.local(ICANON) || settings.termios.cc[VTIME] != 0;
        if settings.readable >= if enough { 1 } else { minimum } {
            events |= Events::IN | Events::RDNORM;
        }
        if !settings.stopped {
            events |= Events::OUT | Events::WRNORM;
        }
        events
    }

    fn pollable(&self) -> bool {
        true
    }

    fn ioctl(&self, file: &File, request: u32, arg: usize) -> Result<usize> {
        if self.is_hung_up() {
            return Err(if request == ioctl::TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO });
        }
        TTY.ioctl(self, file, request, arg)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}
