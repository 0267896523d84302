//! Who may touch a hart's lists: the hart itself while it is there, and in its place whoever wants them drained
//! once it has gone.
//!
//! A hart that is there looks at nothing on its fast path: others never touch its lists, they leave word that they
//! want them drained and make it serve that, in an interrupt or the next time that it looks. A hart that goes
//! away leaves its seat, and who finds an empty one takes it for as long as it drains; the hart waits for that
//! when it comes back. `mm/tests/loom` models this very source.

use super::shim::{AtomicU32, Ordering, relax};

/// Nobody is there; and with [`USED`] never set nobody ever was, so there is nothing to drain.
const HERE: u32 = 1;
/// Somebody drains in the hart's place.
const TAKEN: u32 = 2;
/// The hart is asked to drain.
const WANTED: u32 = 4;
/// The hart was there once.
const USED: u32 = 8;

/// The word. All zeroes is a hart that was never there.
#[derive(Debug)]
pub(crate) struct Seat(AtomicU32);

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// The hart is there, and drains when it serves requests.
    Hart,
    /// The hart is away and its lists are drained now.
    Done,
    /// The hart is away, and somebody else drains its lists at this moment.
    Other,
}

impl Seat {
    /// With a word of zero: nobody was ever there.
    pub(crate) const fn new(word: AtomicU32) -> Self {
        Self(word)
    }

    /// The hart comes: from here on the lists are its own. Waits for who drains them.
    pub(crate) fn arrive(&self) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if seen & HERE != 0 {
                return;
            }
            if seen & TAKEN != 0 {
                relax();
                seen = self.0.load(Ordering::Relaxed);
                continue;
            }
            // Acquire: what was done to the lists in the hart's place.
            match self.0.compare_exchange(seen, HERE | USED, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// The hart goes, having drained its lists. It touches them no more. One that could not drain them loses
    /// requests that are open; the next one drains in its place.
    pub(crate) fn leave(&self) {
        // Release: what it did to the lists. A request that comes between the drain and this is served by it. An
        // exchange, not a store: in the order of changes, a request is before it or after it for all.
        self.0.swap(USED, Ordering::Release);
    }

    /// Asks that the lists be drained. In the place of a hart that is away, runs `drain` at once.
    pub(crate) fn ask(&self, drain: impl FnOnce()) -> Asked {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let next = match seen {
                // Written although it changes nothing: the hart's arrival comes after this then, and sees what was
                // done before the request.
                0 => 0,
                _ if seen & TAKEN != 0 => return Asked::Other,
                _ if seen & HERE != 0 => seen | WANTED,
                _ => USED | TAKEN,
            };
            // Also where the word is there already: its hart must see what was done before this request.
            match self.0.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if next == 0 => return Asked::Done,
                Ok(_) if next & HERE != 0 => return Asked::Hart,
                Ok(_) => {
                    drain();
                    self.0.swap(USED, Ordering::Release);
                    return Asked::Done;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// The hart, which is there, looks whether it is asked, and drains then.
    pub(crate) fn serve(&self, drain: impl FnOnce()) {
        if self.0.load(Ordering::Relaxed) & WANTED != 0 {
            // Again, with Acquire: what was done before the request decides where pages go, now and from here on.
            self.0.load(Ordering::Acquire);
            drain();
            // Release, so that who waits sees the pages where they went. After the drain: who asks before this
            // finds nothing in the lists that was there when it asked.
            self.0.fetch_and(!WANTED, Ordering::Release);
        }
    }

    /// Whether the hart was ever there; if not, its lists are empty.
    pub(crate) fn was_used(&self) -> bool {
        self.0.load(Ordering::Relaxed) & USED != 0
    }

    /// Whether a request waits for the hart.
    #[cfg(loom)]
    #[allow(dead_code)]
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Acquire) & WANTED != 0
    }
}
