//! The command line's `slab_debug=` (Linux: `setup_slub_debug`, `parse_slub_debug_flags`,
//! `kmem_cache_flags`; `Documentation/mm/slab.rst`).
//!
//! Blocks stand between semicolons. A block is letters, and perhaps a comma and the names of caches that
//! it is for, between commas, each of which may end in `*`. The block without names is for all caches that
//! no block names; without letters it is the default, `FZPU`; `-` is nothing. `init_on_alloc=` and `init_on_free=`
//! are for all caches; poison is stronger (`slab_want_init_on_alloc`).

use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering::Relaxed};

use super::DebugFlags;
use crate::page_alloc::debug::Checks;
use crate::slab::geometry::Geometry;
use crate::slab::kmem::Shape;

/// The option's text, kept as long as the machine.
#[derive(Debug)]
pub(in crate::slab) struct Options {
    text: AtomicPtr<u8>,
    /// Bytes, plus 1; 0 when the option was not given.
    len: AtomicUsize,
    /// What is wiped of every cache.
    wiping: AtomicU8,
}

/// One block.
#[derive(Clone, Copy)]
struct Block<'a> {
    flags: DebugFlags,
    /// Whether caches whose slabs would need more pages for it are left alone.
    only_same_order: bool,
    names: Option<&'a str>,
}

impl Options {
    pub(in crate::slab) const fn new() -> Self {
        Self {
            text: AtomicPtr::new(core::ptr::null_mut()),
            len: AtomicUsize::new(0),
            wiping: AtomicU8::new(0),
        }
    }

    /// Sets the option's value: what is behind `slab_debug=`, or nothing for a bare `slab_debug`. Called
    /// once, before there is a cache.
    pub(in crate::slab) fn set(&self, text: &'static str) {
        self.text.store(text.as_ptr().cast_mut(), Relaxed);
        self.len.store(text.len() + 1, Relaxed);
        for letter in text.split(';').flat_map(|block| letters(block).chars()) {
            if !"-fzpuato".contains(letter.to_ascii_lowercase()) {
                log::error!("slab_debug option '{letter}' unknown. skipped");
            }
        }
    }

    /// Sets what is wiped of every cache, as [`Options::set`].
    pub(in crate::slab) fn set_wiping(&self, checks: Checks) {
        let mut wiping = DebugFlags::empty();
        wiping.set(DebugFlags::INIT_ON_ALLOC, checks.contains(Checks::INIT_ON_ALLOC));
        wiping.set(DebugFlags::INIT_ON_FREE, checks.contains(Checks::INIT_ON_FREE));
        self.wiping.store(wiping.bits(), Relaxed);
    }

    fn text(&self) -> Option<&'static str> {
        let len = self.len.load(Relaxed).checked_sub(1)?;
        // SAFETY: a string's bytes and its length, set together before anybody asks.
        let bytes = unsafe { core::slice::from_raw_parts(self.text.load(Relaxed), len) };
        core::str::from_utf8(bytes).ok()
    }

    /// What is to be watched of a cache of that shape.
    pub(in crate::slab) fn flags_for(&self, shape: &Shape) -> DebugFlags {
        let watched = self.watched_of(shape);
        if watched.contains(DebugFlags::POISON) {
            return watched;
        }
        watched | DebugFlags::from_bits_retain(self.wiping.load(Relaxed))
    }

    fn watched_of(&self, shape: &Shape) -> DebugFlags {
        let Some(text) = self.text() else { return DebugFlags::empty() };
        let Some(block) = block_for(text, shape.name) else { return DebugFlags::empty() };
        let order = |flags| Geometry::new(shape.size, shape.align, flags).min_order;
        if block.only_same_order && order(block.flags) > order(DebugFlags::empty()) {
            return block.flags.difference(DebugFlags::WITH_ROOM);
        }
        block.flags
    }
}

fn letters(block: &str) -> &str {
    block.split(',').next().unwrap_or("")
}

fn block(text: &str) -> Block<'_> {
    let mut flags = DebugFlags::empty();
    let mut only_same_order = false;
    if letters(text).is_empty() {
        flags = DebugFlags::DEFAULT;
    }
    for letter in letters(text).bytes() {
        match letter.to_ascii_lowercase() {
            b'-' => flags = DebugFlags::empty(),
            b'f' => flags |= DebugFlags::CONSISTENCY,
            b'z' => flags |= DebugFlags::RED_ZONE,
            b'p' => flags |= DebugFlags::POISON,
            b'u' => flags |= DebugFlags::STORE_USER,
            b't' => flags |= DebugFlags::TRACE,
            b'o' => only_same_order = true,
            // `a` is for failslab, which here is `inject`; what is unknown was said to be so.
            _ => {}
        }
    }
    Block { flags, only_same_order, names: text.split_once(',').map(|(_, names)| names) }
}

/// The first block that names the cache, or else the one without names.
fn block_for<'a>(text: &'a str, cache: &str) -> Option<Block<'a>> {
    let blocks = || text.split(';').map(block);
    let named = blocks().find(|block| {
        block.names.is_some_and(|names| {
            names.split(',').any(|name| match name.split_once('*') {
                Some((start, _)) => cache.starts_with(start),
                None => name == cache,
            })
        })
    });
    named.or_else(|| blocks().find(|block| block.names.is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &'static str, name: &'static str) -> String {
        let options = Options::new();
        options.set(text);
        let shape = Shape { name, size: 4096, align: 8, reclaimable: false };
        let flags = options.flags_for(&shape);
        "FZPUT"
            .chars()
            .zip(0..)
            .filter(|(_, bit)| flags.bits() >> bit & 1 != 0)
            .map(|(letter, _)| letter)
            .collect()
    }

    #[test]
    fn the_option_is_read_as_linux_reads_it() {
        let cases = [
            ("", "any", "FZPU"),
            ("-", "any", ""),
            ("fz", "any", "FZ"),
            ("PUT", "any", "PUT"),
            ("ZP,dentry", "dentry", "ZP"),
            ("ZP,dentry", "inode", ""),
            (",dentry", "dentry", "FZPU"),
            ("ZP,name*", "names", "ZP"),
            ("ZP,name*", "nam", ""),
            ("U,a,kmalloc-*,b", "kmalloc-64", "U"),
            ("F,a;Z,b;P", "a", "F"),
            ("F,a;Z,b;P", "b", "Z"),
            ("F,a;Z,b;P", "c", "P"),
            ("FZPU;-,quiet", "quiet", ""),
            ("ax!Z", "any", "Z"),
            // A page for a page: with the zones there would be two.
            ("OFZ", "any", "F"),
        ];
        for (text, name, expected) in cases {
            assert_eq!(flags(text, name), expected, "slab_debug={text} for {name}");
        }
        let options = Options::new();
        assert!(options.flags_for(&Shape { name: "x", size: 8, align: 8, reclaimable: false }).is_empty());
    }
}
