//! Who did something to an object, and when (Linux: `struct track`).

use core::fmt;

use rux_machine::cold::{self, Who};
use rux_machine::{HotExt, Hw};

/// The most callers that are remembered.
const DEPTH: usize = 8;
/// The most of our own functions between the caller and here.
const OWN_MOST: usize = 24;

/// See the head of the room. All zeroes is nobody.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Track {
    /// Nanoseconds since boot.
    when: u64,
    who: Who,
    hart: u32,
    /// Return addresses from outside of this room on, innermost first.
    callers: [usize; DEPTH],
    set: u32,
}

impl Track {
    /// The running thread, here and now.
    #[inline(never)]
    pub(super) fn new() -> Self {
        let mut all = [0; DEPTH + OWN_MOST];
        let count = cold::callers(&mut all);
        let own = all[..count].iter().take_while(|caller| is_own(**caller)).count();
        let mut callers = [0; DEPTH];
        for (kept, caller) in callers.iter_mut().zip(&all[own..count]) {
            *kept = *caller;
        }
        Self { when: cold::now(), who: cold::who(), hart: Hw::hart() as u32, callers, set: 1 }
    }

    pub(super) fn is_set(&self) -> bool {
        self.set != 0
    }

    /// The innermost caller: the owner.
    pub(super) fn owner(&self) -> usize {
        self.callers[0]
    }

    pub(super) fn who(&self) -> Who {
        self.who
    }

    /// Nanoseconds since boot.
    pub(super) fn when(&self) -> u64 {
        self.when
    }

    /// All callers that are remembered.
    pub(super) fn callers(&self) -> impl Iterator<Item = usize> + '_ {
        self.callers.iter().copied().take_while(|caller| *caller != 0)
    }
}

impl fmt::Display for Track {
    /// The owner, how long ago, and the thread.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = cold::now().saturating_sub(self.when) / 1_000_000;
        let Self { who, hart, .. } = self;
        write!(f, "{} age={age}ms hart={hart} tid={} ({})", Caller(self.owner()), who.tid, who.name())
    }
}

/// Whether an address is in what only passes on what somebody asked for: this room, or glue of the compiler.
fn is_own(caller: usize) -> bool {
    let mut own = false;
    cold::symbol(caller, &mut |name, _| {
        let name = name.trim_start_matches('<');
        own = ["rux_mm::slab::", "rux_machine::cold::", "core::", "alloc::"]
            .iter()
            .any(|room| name.starts_with(room));
    });
    own
}

/// Shows an address of the kernel with its function.
pub(super) struct Caller(pub(super) usize);

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        if !cold::symbol(self.0, &mut |name, offset| result = write!(f, "{name}+{offset:#x}")) {
            return write!(f, "{:#x}", self.0);
        }
        result
    }
}
