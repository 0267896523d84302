//! ioctls of terminals (Linux: `drivers/tty/tty_ioctl.c`, `tty_io.c`, `tty_jobctrl.c`).

use super::termios::{TERMIOS_SIZE, Termios, lflag::*};
use super::{OpenTty, Tty, WindowSize, job};
use crate::errno::{Errno, Result};
use crate::fs::file::File;
use crate::fs::user;
use crate::signal::Signal;

const TCGETS: u32 = 0x5401;
const TCSETS: u32 = 0x5402;
const TCSETSF: u32 = 0x5404;
const TCSBRK: u32 = 0x5409;
const TCXONC: u32 = 0x540a;
const TCFLSH: u32 = 0x540b;
const TIOCEXCL: u32 = 0x540c;
const TIOCNXCL: u32 = 0x540d;
const TIOCSCTTY: u32 = 0x540e;
const TIOCGPGRP: u32 = 0x540f;
pub(super) const TIOCSPGRP: u32 = 0x5410;
const TIOCOUTQ: u32 = 0x5411;
const TIOCSTI: u32 = 0x5412;
const TIOCGWINSZ: u32 = 0x5413;
const TIOCSWINSZ: u32 = 0x5414;
const FIONREAD: u32 = 0x541b;
const TIOCNOTTY: u32 = 0x5422;
const TIOCSETD: u32 = 0x5423;
const TIOCGETD: u32 = 0x5424;
const TCSBRKP: u32 = 0x5425;
const TIOCGSID: u32 = 0x5429;
const TIOCVHANGUP: u32 = 0x5437;
const TIOCGEXCL: u32 = 0x8004_5440;
const TCGETS2: u32 = 0x802c_542a;
const TCSETS2: u32 = 0x402c_542b;
const TCSETSF2: u32 = 0x402c_542d;

impl Tty {
    pub(super) fn ioctl(&self, open: &OpenTty, file: &File, request: u32, arg: usize) -> Result<usize> {
        match request {
            TCGETS => user::put(arg, first_part(&self.termios()))?,
            TCGETS2 => user::put(arg, self.termios())?,
            TCSETS..=TCSETSF => {
                let mut termios = self.termios();
                let new: [u8; TERMIOS_SIZE] = user::get(arg)?;
                set_first_part(&mut termios, &new);
                self.set_termios(open, termios, request == TCSETSF)?;
            }
            TCSETS2..=TCSETSF2 => self.set_termios(open, user::get(arg)?, request == TCSETSF2)?,
            // What is written is on the line when write returns, so that there is nothing to wait for.
            TCSBRK | TCSBRKP => self.check_change(open, Signal::TTOU)?,
            TCXONC => {
                self.check_change(open, Signal::TTOU)?;
                self.flow(arg)?;
            }
            TCFLSH => {
                self.check_change(open, Signal::TTOU)?;
                if arg > 2 {
                    return Err(Errno::EINVAL);
                }
                if arg != 1 {
                    self.flush_input();
                }
            }
            TIOCEXCL | TIOCNXCL => self.settings.lock().exclusive = request == TIOCEXCL,
            TIOCGEXCL => user::put(arg, i32::from(self.settings.lock().exclusive))?,
            TIOCSCTTY => self.set_controlling(file, arg)?,
            TIOCNOTTY => self.give_up()?,
            TIOCGPGRP => user::put(arg, self.foreground()? as i32)?,
            TIOCSPGRP => {
                match self.check_change(open, Signal::TTOU) {
                    Err(Errno::EIO) => return Err(Errno::ENOTTY),
                    other => other?,
                }
                self.set_foreground(user::get(arg)?)?;
            }
            TIOCGSID => user::put(arg, self.session()? as i32)?,
            TIOCOUTQ => user::put(arg, 0i32)?,
            TIOCSTI => {
                if !job::is_privileged() {
                    return Err(Errno::EPERM);
                }
                let byte: u8 = user::get(arg)?;
                self.feed_some(&[byte]);
            }
            TIOCGWINSZ => {
                let size = self.settings.lock().size;
                user::put(arg, size)?;
            }
            TIOCSWINSZ => {
                let size: WindowSize = user::get(arg)?;
                let mut settings = self.settings.lock();
                let changed = settings.size != size;
                settings.size = size;
                drop(settings);
                if changed {
                    self.signal_foreground(Signal::WINCH);
                }
            }
            FIONREAD => {
                let readable = self.settings.lock().readable;
                user::put(arg, readable as i32)?;
            }
            TIOCGETD => user::put(arg, 0i32)?,
            TIOCSETD => {
                // N_TTY is the only line discipline.
                if user::get::<i32>(arg)? != 0 {
                    return Err(Errno::EINVAL);
                }
            }
            TIOCVHANGUP => {
                if !job::is_privileged() {
                    return Err(Errno::EPERM);
                }
                self.hang_up();
            }
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }

    fn set_termios(&self, open: &OpenTty, mut new: Termios, flush: bool) -> Result<()> {
        self.check_change(open, Signal::TTOU)?;
        if flush {
            self.flush_input();
        }
        let mut ldisc = self.ldisc.lock();
        let old = self.termios();
        // The line's speed and form are QEMU's affair: what is asked for is kept and shown.
        new.line = 0;
        if (old.lflag ^ new.lflag) & ICANON != 0 {
            ldisc.change_mode(new.lflag & ICANON != 0);
        }
        if new.iflag & super::termios::iflag::IXON == 0 {
            ldisc.stopped = false;
        }
        self.settings.lock().termios = new;
        self.publish(&ldisc);
        drop(ldisc);
        self.input.wake();
        self.output.wake();
        self.work.wake_one();
        Ok(())
    }

    fn flush_input(&self) {
        let mut ldisc = self.ldisc.lock();
        ldisc.flush_input();
        self.publish(&ldisc);
        drop(ldisc);
        self.work.wake_one();
    }

    fn flow(&self, what: usize) -> Result<()> {
        let mut ldisc = self.ldisc.lock();
        match what {
            0 => ldisc.stopped = true,
            1 => ldisc.stopped = false,
            // The other side is to stop or go on: sent as the characters that say so.
            2 | 3 => {
                let index = if what == 2 { super::VSTOP } else { super::VSTART };
                let c = self.termios().cc[index];
                if c != 0 {
                    crate::console::write(&[c]);
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        self.publish(&ldisc);
        drop(ldisc);
        self.output.wake();
        Ok(())
    }
}

/// `struct termios` of a `struct termios2`.
fn first_part(termios: &Termios) -> [u8; TERMIOS_SIZE] {
    let mut part = [0; TERMIOS_SIZE];
    let flags = [termios.iflag, termios.oflag, termios.cflag, termios.lflag];
    for (bytes, flag) in part.chunks_exact_mut(4).zip(flags) {
        bytes.copy_from_slice(&flag.to_le_bytes());
    }
    part[16] = termios.line;
    part[17..].copy_from_slice(&termios.cc);
    part
}

fn set_first_part(termios: &mut Termios, part: &[u8; TERMIOS_SIZE]) {
    let word = |n: usize| u32::from_le_bytes([part[n], part[n + 1], part[n + 2], part[n + 3]]);
    (termios.iflag, termios.oflag, termios.cflag, termios.lflag) = (word(0), word(4), word(8), word(12));
    termios.line = part[16];
    termios.cc.copy_from_slice(&part[17..]);
}
