//! The settings of a terminal (Linux: `include/uapi/asm-generic/termbits.h`).

use crate::uaccess::Plain;

/// How many control characters there are.
pub const NCCS: usize = 19;

/// `struct termios2`: its first 36 bytes are `struct termios`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Termios {
    /// Input.
    pub iflag: u32,
    /// Output.
    pub oflag: u32,
    /// The line.
    pub cflag: u32,
    /// Everything else.
    pub lflag: u32,
    /// The line discipline; always 0.
    pub line: u8,
    /// Control characters; 0 is none.
    pub cc: [u8; NCCS],
    /// Bits a second in.
    pub ispeed: u32,
    /// Bits a second out.
    pub ospeed: u32,
}

const _: () = assert!(size_of::<Termios>() == 44);

/// Bytes of `struct termios`.
pub const TERMIOS_SIZE: usize = 36;

// SAFETY: integers without padding.
unsafe impl Plain for Termios {}

/// Indices into [`Termios::cc`].
pub mod cc {
    pub const VINTR: usize = 0;
    pub const VQUIT: usize = 1;
    pub const VERASE: usize = 2;
    pub const VKILL: usize = 3;
    pub const VEOF: usize = 4;
    pub const VTIME: usize = 5;
    pub const VMIN: usize = 6;
    pub const VSTART: usize = 8;
    pub const VSTOP: usize = 9;
    pub const VSUSP: usize = 10;
    pub const VEOL: usize = 11;
    pub const VREPRINT: usize = 12;
    pub const VWERASE: usize = 14;
    pub const VLNEXT: usize = 15;
    pub const VEOL2: usize = 16;
}

/// Bits of [`Termios::iflag`].
pub mod iflag {
    pub const ISTRIP: u32 = 0x20;
    pub const INLCR: u32 = 0x40;
    pub const IGNCR: u32 = 0x80;
    pub const ICRNL: u32 = 0x100;
    pub const IUCLC: u32 = 0x200;
    pub const IXON: u32 = 0x400;
    pub const IXANY: u32 = 0x800;
    pub const IMAXBEL: u32 = 0x2000;
    pub const IUTF8: u32 = 0x4000;
}

/// Bits of [`Termios::oflag`].
pub mod oflag {
    pub const OPOST: u32 = 1;
    pub const OLCUC: u32 = 2;
    pub const ONLCR: u32 = 4;
    pub const OCRNL: u32 = 8;
    pub const ONOCR: u32 = 0x10;
    pub const ONLRET: u32 = 0x20;
    pub const TABDLY: u32 = 0x1800;
    pub const XTABS: u32 = 0x1800;
}

/// Bits of [`Termios::lflag`].
pub mod lflag {
    pub const ISIG: u32 = 1;
    pub const ICANON: u32 = 2;
    pub const ECHO: u32 = 8;
    pub const ECHOE: u32 = 0x10;
    pub const ECHOK: u32 = 0x20;
    pub const ECHONL: u32 = 0x40;
    pub const NOFLSH: u32 = 0x80;
    pub const TOSTOP: u32 = 0x100;
    pub const ECHOCTL: u32 = 0x200;
    pub const ECHOKE: u32 = 0x800;
    pub const IEXTEN: u32 = 0x8000;
}

impl Termios {
    /// What a serial console starts with: 115,200 bits a second, 8 bits, and a line editor.
    pub const STANDARD: Self = {
        use self::{cc::*, iflag::*, lflag::*, oflag::*};
        let mut cc = [0; NCCS];
        cc[VINTR] = 3;
        cc[VQUIT] = 0x1c;
        cc[VERASE] = 0x7f;
        cc[VKILL] = 0x15;
        cc[VEOF] = 4;
        cc[VMIN] = 1;
        cc[VSTART] = 0x11;
        cc[VSTOP] = 0x13;
        cc[VSUSP] = 0x1a;
        cc[VREPRINT] = 0x12;
        // VDISCARD, which nothing acts upon.
        cc[13] = 0x0f;
        cc[VWERASE] = 0x17;
        cc[VLNEXT] = 0x16;
        Self {
            iflag: ICRNL | IXON,
            oflag: OPOST | ONLCR,
            // B115200, CS8, CREAD, HUPCL, CLOCAL.
            cflag: 0o10002 | 0o60 | 0o200 | 0o2000 | 0o4000,
            lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
            line: 0,
            cc,
            ispeed: 115_200,
            ospeed: 115_200,
        }
    };

    /// Whether all bits of `flag` are set in `lflag`.
    pub const fn local(&self, flag: u32) -> bool {
        self.lflag & flag != 0
    }

    /// Whether `c` is the control character at `index`.
    pub const fn is_control(&self, c: u8, index: usize) -> bool {
        c != 0 && self.cc[index] == c
    }
}
