//! The argument and environment strings of a new program, on their way from the old one.
//!
//! They are kept in pages until the new stack is there. Sizes are bounded as on Linux (`bprm_stack_limits`,
//! `MAX_ARG_STRLEN`).

use rux_mm::addr::{PAGE_SIZE, VirtAddr};
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KBox, KVec};
use rux_mm::space::Space;

use crate::errno::{Errno, Result};
use crate::uaccess;

/// The longest single string, with its NUL.
const MAX_STRING: usize = 32 * PAGE_SIZE;
/// The most strings.
const MAX_STRINGS: usize = i32::MAX as usize;
/// What all strings may take whatever the stack's limit.
const ARG_MIN: u64 = 128 << 10;
/// The most that all strings may take: three quarters of the default stack.
const ARG_MAX: u64 = 6 << 20;

/// The room that strings and pointers may take in all, for a soft stack limit.
pub(super) fn room(stack_limit: u64) -> usize {
    (stack_limit / 4).clamp(ARG_MIN, ARG_MAX) as usize
}

type Chunk = KBox<[u8; PAGE_SIZE]>;

/// NUL-terminated strings, one after the other.
pub(super) struct Strings {
    chunks: KVec<Chunk>,
    len: usize,
    count: usize,
    room: usize,
}

impl Strings {
    /// None, with room for `room` bytes, pointers included.
    pub(super) const fn new(room: usize) -> Self {
        Self { chunks: KVec::new(), len: 0, count: 0, room }
    }

    /// How many strings.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Bytes of all strings.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The free rest of the last chunk, of which there is one byte at least.
    fn rest(&mut self) -> Result<&mut [u8]> {
        let used = self.len % PAGE_SIZE;
        if self.len == self.chunks.len() * PAGE_SIZE {
            self.chunks.push(KBox::new_with(Gfp::KERNEL, || [0; PAGE_SIZE])?, Gfp::KERNEL)?;
        }
        let last = self.chunks.last_mut().ok_or(Errno::ENOMEM)?;
        last.get_mut(used..).ok_or(Errno::ENOMEM)
    }

    fn advance(&mut self, bytes: usize) -> Result<()> {
        self.len += bytes;
        if self.len + (self.count + 1) * size_of::<u64>() > self.room {
            return Err(Errno::E2BIG);
        }
        Ok(())
    }

    /// Adds a string of the kernel's.
    pub(super) fn push(&mut self, string: &[u8]) -> Result<()> {
        self.extend(string)?;
        self.extend(&[0])?;
        self.count += 1;
        Ok(())
    }

    fn extend(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let rest = self.rest()?;
            let part = bytes.len().min(rest.len());
            rest[..part].copy_from_slice(&bytes[..part]);
            bytes = &bytes[part..];
            self.advance(part)?;
        }
        Ok(())
    }

    /// Adds a string of the running program's.
    fn push_user(&mut self, string: VirtAddr) -> Result<()> {
        let mut done = 0;
        loop {
            let from = string.checked_add(done as u64).ok_or(Errno::EFAULT)?;
            let rest = self.rest()?;
            let room = rest.len();
            let len = uaccess::strncpy_from_user(rest, from)?;
            if len < room {
                rest[len] = 0;
                self.advance(len + 1)?;
                self.count += 1;
                return Ok(());
            }
            done += len;
            if done >= MAX_STRING {
                return Err(Errno::E2BIG);
            }
            self.advance(len)?;
        }
    }

    /// Adds what the array of pointers at `array` of the running program names, up to its null pointer; a null
    /// `array` names nothing.
    pub(super) fn push_user_array(&mut self, array: VirtAddr) -> Result<()> {
        if array.get() == 0 {
            return Ok(());
        }
        for index in 0..MAX_STRINGS as u64 {
            let slot = array.checked_add(index * size_of::<u64>() as u64).ok_or(Errno::EFAULT)?;
            let string: u64 = uaccess::read_user(slot)?;
            if string == 0 {
                return Ok(());
            }
            self.push_user(VirtAddr::new(string))?;
            if crate::signal::fatal_pending() {
                return Err(Errno::ERESTARTNOHAND);
            }
        }
        Err(Errno::E2BIG)
    }

    /// Adds `others` but for the first `skip` of them.
    pub(super) fn push_all(&mut self, others: &Self, skip: usize) -> Result<()> {
        let mut to_skip = skip.min(others.count);
        others.for_each_piece(|piece| {
            let mut piece = piece;
            while to_skip > 0 {
                let Some(end) = piece.iter().position(|&byte| byte == 0) else { return Ok(()) };
                piece = &piece[end + 1..];
                to_skip -= 1;
            }
            self.extend(piece)
        })?;
        self.count += others.count - skip.min(others.count);
        Ok(())
    }

    fn for_each_piece(&self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut left = self.len;
        for chunk in &self.chunks {
            let part = left.min(PAGE_SIZE);
            each(chunk.get(..part).unwrap_or_default())?;
            left -= part;
        }
        Ok(())
    }

    /// Writes all strings to `at` of `space`, and where each starts to `starts`.
    pub(super) fn write(&self, space: &Space, at: VirtAddr, starts: &mut KVec<u64>) -> Result<()> {
        let mut to = at.get();
        let mut starting = true;
        self.for_each_piece(|piece| {
            space.write_memory(VirtAddr::new(to), piece)?;
            for (offset, &byte) in piece.iter().enumerate() {
                if core::mem::replace(&mut starting, byte == 0) {
                    starts.push(to + offset as u64, Gfp::KERNEL)?;
                }
            }
            to += piece.len() as u64;
            Ok(())
        })
    }
}
