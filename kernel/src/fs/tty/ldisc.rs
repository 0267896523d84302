//! The line discipline: from what is typed to what a program reads, with echo and line editing; and
//! from what a program writes to what goes out (Linux: `drivers/tty/n_tty.c`).
//!
//! What is typed goes into a ring. In canonical mode a program sees it up to `ready`, the end of the
//! last complete line; each end of a line is marked. An end of file is a marked 0 that no reader sees.

use super::termios::{Termios, cc::*, iflag::*, lflag::*, oflag::*};
use crate::console;

/// Bytes of the ring (Linux: `N_TTY_BUF_SIZE`).
pub const BUFFER: usize = 4096;
const BELL: u8 = 7;
const BACKSPACE: u8 = 8;
const TAB: u8 = 9;

/// What a typed byte leads to beyond the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// SIGINT to the foreground group.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGTSTP.
    Suspend,
}

/// The state of one terminal's input and output.
pub struct Ldisc {
    ring: [u8; BUFFER],
    /// Bit n: byte n of the ring ends a line.
    marks: [u64; BUFFER / 64],
    /// Next byte to read, end of what may be read in canonical mode, next byte to write. They count all bytes
    /// ever; the ring holds those between.
    tail: usize,
    ready: usize,
    head: usize,
    /// Where the cursor is, and where the line that is edited began.
    column: usize,
    line_column: usize,
    /// The next byte is taken as it is.
    literal_next: bool,
    /// `^S` came and no `^Q` since.
    pub stopped: bool,
}

impl Ldisc {
    /// Nothing typed, nothing written.
    pub const fn new() -> Self {
        Self {
            ring: [0; BUFFER],
            marks: [0; BUFFER / 64],
            tail: 0,
            ready: 0,
            head: 0,
            column: 0,
            line_column: 0,
            literal_next: false,
            stopped: false,
        }
    }

    fn is_marked(&self, at: usize) -> bool {
        self.marks[at % BUFFER / 64] >> (at % 64) & 1 != 0
    }

    fn mark(&mut self, at: usize, on: bool) {
        let bit = 1 << (at % 64);
        let word = &mut self.marks[at % BUFFER / 64];
        *word = if on { *word | bit } else { *word & !bit };
    }

    /// Bytes that a reader could get now.
    pub fn readable(&self, termios: &Termios) -> usize {
        if termios.local(ICANON) { self.ready - self.tail } else { self.head - self.tail }
    }

    /// Whether another typed byte can be taken: a line without end drops bytes rather than stand still.
    pub fn has_room(&self, termios: &Termios) -> bool {
        self.head - self.tail < BUFFER - 1 || (termios.local(ICANON) && self.ready == self.tail)
    }

    /// Forgets what was typed and not read.
    pub fn flush_input(&mut self) {
        self.tail = self.head;
        self.ready = self.head;
        self.marks = [0; BUFFER / 64];
        self.literal_next = false;
    }

    /// The settings change between canonical and raw: what is there can be read in either.
    pub fn change_mode(&mut self, canonical: bool) {
        self.marks = [0; BUFFER / 64];
        if canonical && self.head != self.tail {
            self.mark(self.head - 1, true);
        }
        self.ready = self.head;
        self.literal_next = false;
    }

    fn store(&mut self, c: u8) {
        if self.head - self.tail >= BUFFER {
            return;
        }
        self.ring[self.head % BUFFER] = c;
        self.mark(self.head, false);
        self.head += 1;
    }

    /// Stores the end of a line and hands the line over.
    fn store_end(&mut self, c: u8) {
        if self.head - self.tail >= BUFFER {
            return;
        }
        self.store(c);
        self.mark(self.head - 1, true);
        self.ready = self.head;
    }

    /// Takes one typed byte.
    pub fn receive(&mut self, c: u8, t: &Termios) -> Effect {
        let mut c = c;
        if t.iflag & ISTRIP != 0 {
            c &= 0x7f;
        }
        if t.iflag & IUCLC != 0 && t.local(IEXTEN) {
            c = c.to_ascii_lowercase();
        }
        if self.literal_next {
            self.literal_next = false;
            self.receive_plain(c, t);
            return Effect::None;
        }
        if t.iflag & IXON != 0 {
            if t.is_control(c, VSTART) {
                self.stopped = false;
                return Effect::None;
            }
            if t.is_control(c, VSTOP) {
                self.stopped = true;
                return Effect::None;
            }
            if self.stopped && t.iflag & IXANY != 0 {
                self.stopped = false;
            }
        }
        if t.local(ISIG) {
            let signals = [(VINTR, Effect::Interrupt), (VQUIT, Effect::Quit), (VSUSP, Effect::Suspend)];
            for (index, effect) in signals {
                if t.is_control(c, index) {
                    if !t.local(NOFLSH) {
                        self.flush_input();
                    }
                    if t.iflag & IXON != 0 {
                        self.stopped = false;
                    }
                    if t.local(ECHO) {
                        self.echo(c, t);
                    }
                    return effect;
                }
            }
        }
        match c {
            b'\r' if t.iflag & IGNCR != 0 => return Effect::None,
            b'\r' if t.iflag & ICRNL != 0 => c = b'\n',
            b'\n' if t.iflag & INLCR != 0 => c = b'\r',
            _ => {}
        }
        if t.local(ICANON) && self.receive_editing(c, t) {
            return Effect::None;
        }
        self.receive_plain(c, t);
        Effect::None
    }

    /// A byte that edits or ends the line; says whether it was one.
    fn receive_editing(&mut self, c: u8, t: &Termios) -> bool {
        let extended = t.local(IEXTEN);
        if t.is_control(c, VERASE) || t.is_control(c, VKILL) || (t.is_control(c, VWERASE) && extended) {
            self.erase(c, t);
        } else if t.is_control(c, VLNEXT) && extended {
            self.literal_next = true;
            if t.local(ECHO) && t.local(ECHOCTL) {
                self.output(b"^\x08", t);
            }
        } else if t.is_control(c, VREPRINT) && t.local(ECHO) && extended {
            self.echo(c, t);
            self.output_newline(t);
            for at in self.ready..self.head {
                self.echo(self.ring[at % BUFFER], t);
            }
        } else if c == b'\n' {
            if t.local(ECHO) || t.local(ECHONL) {
                self.output_newline(t);
            }
            self.store_end(c);
        } else if t.is_control(c, VEOF) {
            self.store_end(0);
        } else if t.is_control(c, VEOL) || (t.is_control(c, VEOL2) && extended) {
            if t.local(ECHO) {
                self.begin_echo();
                self.echo(c, t);
            }
            self.store_end(c);
        } else {
            return false;
        }
        true
    }

    fn receive_plain(&mut self, c: u8, t: &Termios) {
        if self.head - self.tail >= BUFFER - 1 {
            if t.iflag & IMAXBEL != 0 {
                self.send(&[BELL]);
            }
            return;
        }
        if t.local(ECHO) {
            self.begin_echo();
            if c == b'\n' { self.output_newline(t) } else { self.echo(c, t) }
        }
        self.store(c);
    }

    /// A line begins where the cursor is when its first byte is echoed.
    fn begin_echo(&mut self) {
        if self.ready == self.head {
            self.line_column = self.column;
        }
    }

    fn echo(&mut self, c: u8, t: &Termios) {
        if t.local(ECHOCTL) && is_shown_as_control(c) {
            self.output(&[b'^', c ^ 0x40], t);
        } else {
            self.output(&[c], t);
        }
    }

    /// Erases a byte, a word or the line (Linux: `eraser`).
    fn erase(&mut self, c: u8, t: &Termios) {
        if self.head == self.ready {
            return;
        }
        let (word, line) = (t.is_control(c, VWERASE), t.is_control(c, VKILL));
        if line {
            if !t.local(ECHO) {
                self.head = self.ready;
                return;
            }
            if !(t.local(ECHOK) && t.local(ECHOKE) && t.local(ECHOE)) {
                self.head = self.ready;
                self.echo(c, t);
                if t.local(ECHOK) {
                    self.output_newline(t);
                }
                return;
            }
        }
        let mut seen_word = false;
        while self.head != self.ready {
            // The bytes of one UTF-8 character go together.
            let mut first = self.head - 1;
            while t.iflag & IUTF8 != 0 && self.ring[first % BUFFER] & 0xc0 == 0x80 && first > self.ready {
                first -= 1;
            }
            let gone = self.ring[first % BUFFER];
            if word {
                if gone.is_ascii_alphanumeric() || gone == b'_' {
                    seen_word = true;
                } else if seen_word {
                    break;
                }
            }
            self.head = first;
            if t.local(ECHO) {
                if !t.local(ECHOE) && !line {
                    self.echo(t.cc[VERASE], t);
                } else if gone == TAB {
                    self.erase_tab(t);
                } else {
                    let width =
                        if is_shown_as_control(gone) { if t.local(ECHOCTL) { 2 } else { 0 } } else { 1 };
                    for _ in 0..width {
                        self.send(&[BACKSPACE, b' ', BACKSPACE]);
                        self.column = self.column.saturating_sub(1);
                    }
                }
            }
            if !word && !line {
                break;
            }
        }
    }

    /// Goes back over a tab: to where the text before it ended.
    fn erase_tab(&mut self, t: &Termios) {
        let mut column = self.line_column;
        for at in self.ready..self.head {
            match self.ring[at % BUFFER] {
                TAB => column = (column | 7) + 1,
                c if is_shown_as_control(c) => column += if t.local(ECHOCTL) { 2 } else { 0 },
                c if t.iflag & IUTF8 != 0 && c & 0xc0 == 0x80 => {}
                _ => column += 1,
            }
        }
        while self.column > column {
            self.send(&[BACKSPACE]);
            self.column -= 1;
        }
    }

    fn output_newline(&mut self, t: &Termios) {
        self.output(b"\n", t);
    }

    fn send(&mut self, bytes: &[u8]) {
        console::write(bytes);
    }

    /// Sends what a program, or the echo, writes: processed as the settings say (Linux: `process_output`).
    pub fn output(&mut self, bytes: &[u8], t: &Termios) {
        if t.oflag & OPOST == 0 {
            self.send(bytes);
            return;
        }
        let mut start = 0;
        for (at, &c) in bytes.iter().enumerate() {
            let replaced: Option<&[u8]> = match c {
                b'\n' => {
                    if t.oflag & (ONLRET | ONLCR) != 0 {
                        self.column = 0;
                        self.line_column = 0;
                    }
                    (t.oflag & ONLCR != 0).then_some(b"\r\n")
                }
                b'\r' if t.oflag & ONOCR != 0 && self.column == 0 => Some(b""),
                b'\r' => {
                    if t.oflag & OCRNL != 0 {
                        if t.oflag & ONLRET != 0 {
                            self.column = 0;
                        }
                        Some(b"\n")
                    } else {
                        self.column = 0;
                        None
                    }
                }
                TAB => {
                    let spaces = 8 - self.column % 8;
                    self.column += spaces;
                    (t.oflag & TABDLY == XTABS).then(|| &b"        "[..spaces])
                }
                BACKSPACE => {
                    self.column = self.column.saturating_sub(1);
                    None
                }
                c if c.is_ascii_control() => None,
                c => {
                    if t.iflag & IUTF8 == 0 || c & 0xc0 != 0x80 {
                        self.column += 1;
                    }
                    if t.oflag & OLCUC != 0 && c.is_ascii_lowercase() {
                        self.send(&bytes[start..at]);
                        self.send(&[c.to_ascii_uppercase()]);
                        start = at + 1;
                    }
                    None
                }
            };
            if let Some(replaced) = replaced {
                self.send(&bytes[start..at]);
                self.send(replaced);
                start = at + 1;
            }
        }
        self.send(&bytes[start..]);
    }

    /// Takes what a reader gets, at most `out.len()` bytes and one line: how many bytes, and whether the
    /// line ended.
    pub fn read(&mut self, out: &mut [u8], t: &Termios) -> (usize, bool) {
        let canonical = t.local(ICANON);
        let end = if canonical { self.ready } else { self.head };
        let mut n = 0;
        while self.tail < end {
            let (c, marked) = (self.ring[self.tail % BUFFER], canonical && self.is_marked(self.tail));
            // The end of file is taken even where no byte fits any more: as on Linux it would
            // otherwise be read as an end of file of its own.
            if marked && c == 0 {
                self.mark(self.tail, false);
                self.tail += 1;
                return (n, true);
            }
            let Some(slot) = out.get_mut(n) else { return (n, false) };
            *slot = c;
            n += 1;
            self.mark(self.tail, false);
            self.tail += 1;
            if marked {
                return (n, true);
            }
        }
        (n, false)
    }
}

impl Default for Ldisc {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether `ECHOCTL` shows the byte as `^X`.
fn is_shown_as_control(c: u8) -> bool {
    c.is_ascii_control() && c != TAB && c != b'\n'
}
