//! Signals that wait: a set, and a queue of what came with them (Linux: `struct sigpending`).

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KBox};

use super::info::SigInfo;
use super::set::{SigSet, Signal};
use crate::process::User;

/// One signal in a queue.
struct Entry {
    info: SigInfo,
    signal: Signal,
    next: Option<KBox<Entry>>,
    user: KArc<User>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.user.signals.fetch_sub(1, Relaxed);
    }
}

/// Signals that wait for a thread, or for any thread of a process.
#[derive(Default)]
pub struct Pending {
    set: SigSet,
    head: Option<KBox<Entry>>,
    /// The last entry, while there is one.
    tail: Option<NonNull<Entry>>,
}

// SAFETY: `tail` points into what `head` owns.
unsafe impl Send for Pending {}

/// Why a signal could not be queued: the limit is reached, or there is no memory (`EAGAIN`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueFull;

/// Entries taken off a queue; dropped by whoever took them, without the lock.
#[must_use = "to be dropped after the lock is given back"]
pub struct Flushed(Option<KBox<Entry>>);

impl Drop for Flushed {
    fn drop(&mut self) {
        // One by one: the natural way would recurse as deep as the queue is long.
        while let Some(mut entry) = self.0.take() {
            self.0 = entry.next.take();
        }
    }
}

impl Pending {
    /// None.
    pub const fn new() -> Self {
        Self { set: SigSet::EMPTY, head: None, tail: None }
    }

    /// Which signals wait.
    #[inline]
    pub const fn set(&self) -> SigSet {
        self.set
    }

    /// Adds `signal` without information: it cannot fail.
    pub fn mark(&mut self, signal: Signal) {
        self.set = self.set.with(signal);
    }

    /// Adds `signal` with `info`, for a receiver whose account is `user` and who may have `limit`
    /// queued; what the kernel itself sends passes over the limit. Of an ordinary signal one is kept.
    /// When there is no room, a signal that is nothing without its information is refused; any other
    /// is marked without (Linux: `__send_signal_locked`).
    pub fn queue(
        &mut self,
        signal: Signal,
        info: SigInfo,
        user: &KArc<User>,
        limit: u64,
    ) -> Result<(), QueueFull> {
        if !signal.is_realtime() && self.set.contains(signal) {
            return Ok(());
        }
        let queued = user.signals.fetch_add(1, Relaxed) as u64;
        let free_of_limit = !signal.is_realtime() && info.code >= 0;
        let entry = if queued < limit || free_of_limit {
            // An entry that cannot be had gives the count back as it is dropped unboxed.
            let entry = Entry { info, signal, next: None, user: user.clone() };
            KBox::new(entry, Gfp::ATOMIC | Gfp::NOWARN).ok()
        } else {
            user.signals.fetch_sub(1, Relaxed);
            None
        };
        match entry {
            Some(mut entry) => {
                let last = NonNull::from(&mut *entry);
                // SAFETY: `tail` is the last entry of the list that `head` owns, and `self` is borrowed
                // uniquely.
                match self.tail.map(|mut tail| unsafe { tail.as_mut() }) {
                    Some(tail) => tail.next = Some(entry),
                    None => self.head = Some(entry),
                }
                self.tail = Some(last);
            }
            None if signal.is_realtime() && info.code != super::info::SI_USER => return Err(QueueFull),
            None => {}
        }
        self.mark(signal);
        Ok(())
    }

    /// Takes the next signal of those in `allowed` out, with what came with it.
    pub fn take(&mut self, allowed: SigSet) -> Option<(SigInfo, Flushed)> {
        let signal = self.set.and(allowed).next()?;
        let mut found = None;
        let mut more = false;
        let flushed = self.sift(|entry| {
            if entry.signal != signal || found.is_some() {
                more |= entry.signal == signal;
                return true;
            }
            found = Some(entry.info);
            false
        });
        if !more {
            self.set = self.set.without(signal);
        }
        // Without an entry there was no room for one when it was sent.
        let info = found.unwrap_or(SigInfo::from_user(signal, super::info::SI_USER, 0, 0));
        Some((info, flushed.unwrap_or(Flushed(None))))
    }

    /// Takes all of `signals` out unseen.
    pub fn discard(&mut self, signals: SigSet) -> Flushed {
        if self.set.and(signals).is_empty() {
            return Flushed(None);
        }
        self.set = self.set.minus(signals);
        self.sift(|entry| !signals.contains(entry.signal)).unwrap_or(Flushed(None))
    }

    /// Takes out the entries for which `keep` is false; `None` when there are none.
    fn sift(&mut self, mut keep: impl FnMut(&Entry) -> bool) -> Option<Flushed> {
        let mut rest = self.head.take();
        self.tail = None;
        let mut out: Option<KBox<Entry>> = None;
        let mut end = &mut self.head;
        while let Some(mut entry) = rest {
            rest = entry.next.take();
            if keep(&entry) {
                let entry = end.insert(entry);
                self.tail = Some(NonNull::from(&mut **entry));
                end = &mut entry.next;
            } else {
                entry.next = out;
                out = Some(entry);
            }
        }
        out.map(|out| Flushed(Some(out)))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        drop(Flushed(self.head.take()));
    }
}
