//! Where a read puts its bytes and a write takes them from: the segments of a program's memory, or a
//! buffer of the kernel's own (Linux: `struct iov_iter`).
//!
//! A copy that meets a bad address stops there: what was copied before counts, and `EFAULT` is
//! returned only when that is nothing.

use rux_mm::addr::{PAGE_SIZE, VirtAddr};
use rux_mm::slab::KVec;

use crate::errno::{Errno, Result};
use crate::uaccess;

/// The most bytes that one read or write moves (Linux: `MAX_RW_COUNT`).
pub const MAX_RW_COUNT: usize = i32::MAX as usize & !(PAGE_SIZE - 1);

/// One piece of a program's memory.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Where it starts.
    pub start: VirtAddr,
    /// How many bytes.
    pub len: usize,
}

enum Memory<'a> {
    User(&'a [Segment]),
    Read(&'a mut [u8]),
    Write(&'a [u8]),
}

/// A cursor over the memory of one read or write.
pub struct IoBuf<'a> {
    memory: Memory<'a>,
    /// Bytes into the first segment that is left, or into the kernel's buffer.
    offset: usize,
    left: usize,
}

impl<'a> IoBuf<'a> {
    /// Over a program's memory. More than [`MAX_RW_COUNT`] bytes are left out.
    pub fn user(segments: &'a [Segment]) -> Self {
        let total = segments.iter().fold(0usize, |sum, s| sum.saturating_add(s.len));
        Self { memory: Memory::User(segments), offset: 0, left: total.min(MAX_RW_COUNT) }
    }

    /// A kernel's buffer to be filled by a read.
    pub fn kernel_read(buffer: &'a mut [u8]) -> Self {
        let left = buffer.len();
        Self { memory: Memory::Read(buffer), offset: 0, left }
    }

    /// A kernel's buffer to be written.
    pub fn kernel_write(buffer: &'a [u8]) -> Self {
        Self { memory: Memory::Write(buffer), offset: 0, left: buffer.len() }
    }

    /// Bytes that are left.
    #[inline]
    pub fn left(&self) -> usize {
        self.left
    }

    /// Lets at most `bytes` be left.
    pub fn truncate(&mut self, bytes: usize) {
        self.left = self.left.min(bytes);
    }

    /// Moves bytes with `copy(address, done, n)` segment by segment; it says how many it moved.
    fn each(&mut self, want: usize, mut copy: impl FnMut(VirtAddr, usize, usize) -> usize) -> usize {
        let Memory::User(segments) = &mut self.memory else { return 0 };
        let want = want.min(self.left);
        let mut done = 0;
        while done < want {
            let Some(segment) = segments.first() else { break };
            let n = (segment.len - self.offset).min(want - done);
            // A wrapped address is beyond user space, so that the copy refuses it.
            let at = VirtAddr::new(segment.start.get().wrapping_add(self.offset as u64));
            let moved = if n == 0 { 0 } else { copy(at, done, n) };
            done += moved;
            self.offset += moved;
            if self.offset == segment.len {
                *segments = &segments[1..];
                self.offset = 0;
            }
            if moved < n {
                break;
            }
        }
        self.left -= done;
        done
    }

    /// Puts as much of `bytes` as fits; says how much.
    ///
    /// # Errors
    /// `EFAULT` when not a byte could be put where some fit.
    pub fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        let want = bytes.len().min(self.left);
        let done = match &mut self.memory {
            Memory::User(_) => {
                self.each(want, |at, done, n| uaccess::copy_to_user_partial(at, &bytes[done..done + n]))
            }
            Memory::Read(buffer) => {
                buffer[self.offset..self.offset + want].copy_from_slice(&bytes[..want]);
                self.offset += want;
                self.left -= want;
                want
            }
            Memory::Write(_) => 0,
        };
        if done == 0 && want != 0 { Err(Errno::EFAULT) } else { Ok(done) }
    }

    /// Fills as much of `bytes` as there is; says how much.
    ///
    /// # Errors
    /// `EFAULT` when not a byte could be taken where there were some.
    pub fn take(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let want = bytes.len().min(self.left);
        let done = match &mut self.memory {
            Memory::User(_) => {
                self.each(want, |at, done, n| uaccess::copy_from_user_partial(&mut bytes[done..done + n], at))
            }
            Memory::Write(buffer) => {
                bytes[..want].copy_from_slice(&buffer[self.offset..self.offset + want]);
                self.offset += want;
                self.left -= want;
                want
            }
            Memory::Read(_) => 0,
        };
        if done == 0 && want != 0 { Err(Errno::EFAULT) } else { Ok(done) }
    }

    /// Puts `bytes` zeroes, or as many as fit; says how many.
    ///
    /// # Errors
    /// As for [`IoBuf::put`].
    pub fn put_zeroes(&mut self, bytes: usize) -> Result<usize> {
        static ZEROES: [u8; PAGE_SIZE] = [0; PAGE_SIZE];
        let mut done = 0;
        while done < bytes && self.left > 0 {
            let n = (bytes - done).min(PAGE_SIZE);
            match self.put(&ZEROES[..n]) {
                Ok(moved) => {
                    done += moved;
                    if moved < n {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
}

/// Where the bytes of a system call are: one segment without allocation, or as many as readv(2) has.
pub enum Segments {
    /// read(2), write(2).
    One([Segment; 1]),
    /// readv(2), writev(2).
    Many(KVec<Segment>),
}

impl Segments {
    /// The segments.
    pub fn as_slice(&self) -> &[Segment] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}
