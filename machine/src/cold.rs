//! The cold half: what `mm` asks of the kernel around it, through function pointers set once.
//!
//! The kernel registers its table at boot with [`register`]; the simulator registers its own. Where
//! nobody has, [`Cold::NONE`] serves a single thread: nothing sleeps, no other hart exists.

use core::sync::atomic::AtomicU32;

use spin::Once;

use crate::{HartMask, Hot, Hw};

/// What other harts are to drop from their TLBs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fence {
    /// Leaf entries of `pages` base pages from `start` on, in one address space.
    Pages {
        /// The address space.
        asid: u16,
        /// First virtual address, page-aligned.
        start: u64,
        /// How many base pages.
        pages: usize,
    },
    /// All of one address space, cached tables included.
    Asid(u16),
    /// Everything.
    All,
    /// Nothing of the TLB: instructions are to be fetched anew.
    Instructions,
}

/// The table of the cold half. All times are nanoseconds since boot.
pub struct Cold {
    /// Sleeps until [`Cold::unpark`] names `word`, unless `*word != expected` already; may wake for no
    /// reason. After `deadline`, if any, it returns in any case. Not with pre-emption off.
    pub park: fn(word: &AtomicU32, expected: u32, deadline: Option<u64>),
    /// Wakes at most `count` threads that sleep on `word`, first come first served; says how many.
    pub unpark: fn(word: &AtomicU32, count: u32) -> u32,
    /// Waits a moment for another hart that takes its time, pre-emption off or not: under an emulator it may have no
    /// processor to run on as long as this one spins. With interrupts off it is no more than a turn of a loop.
    pub nap: fn(),
    /// Gives the hart to another thread, if one wants it. Called with pre-emption on.
    pub reschedule: fn(),
    /// Fences on `harts`, this one left out; returns once they have done it.
    pub remote_fence: fn(harts: HartMask, fence: Fence),
    /// Runs `f(arg)` on `harts`, this one left out, in an interrupt; returns once they have done it.
    pub run_on: fn(harts: HartMask, f: fn(*mut ()), arg: *mut ()),
    /// Starts a kernel thread; `false` when there is no memory for one.
    pub spawn: fn(name: &'static str, body: fn(usize), arg: usize) -> bool,
    /// The harts that run.
    pub online: fn() -> HartMask,
    /// Whether a signal that ends the running thread's process waits for it.
    pub fatal_signal: fn() -> bool,
    /// The number of the running thread as a user knows it, 0 for one of a kind that users do not.
    pub thread_id: fn() -> u32,
    /// Nanoseconds since boot.
    pub now: fn() -> u64,
    /// Fills `buffer` with bytes that nobody can guess.
    pub random: fn(buffer: &mut [u8]),
    /// Fills `callers` with where the running function's callers go on, innermost first; says how many.
    pub callers: fn(callers: &mut [usize]) -> usize,
    /// Tells `tell` the function that an address of [`Cold::callers`] is in, and how far; `false` where
    /// that is not known.
    pub symbol: fn(caller: usize, tell: TellSymbol<'_>) -> bool,
    /// The running thread.
    pub who: fn() -> Who,
}

/// Is told a function's name, and how far into it an address is.
pub type TellSymbol<'a> = &'a mut dyn FnMut(&str, usize);

/// A thread, as reports name it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Who {
    /// Its number.
    pub tid: u32,
    /// What it is called, filled up with zeroes.
    pub comm: [u8; 16],
}

impl Who {
    /// What it is called, without the zeroes.
    pub fn name(&self) -> core::slice::EscapeAscii<'_> {
        let len = self.comm.iter().position(|&byte| byte == 0).unwrap_or(self.comm.len());
        self.comm[..len].escape_ascii()
    }
}

impl Cold {
    /// One thread, alone.
    pub const NONE: Self = Self {
        park: |_, _, _| Hw::relax(),
        unpark: |_, _| 0,
        nap: || Hw::relax(),
        reschedule: || {},
        remote_fence: |_, _| {},
        run_on: |_, _, _| {},
        spawn: |_, _, _| false,
        online: || HartMask::one(0),
        fatal_signal: || false,
        thread_id: || 0,
        now: || 0,
        random: |buffer| buffer.fill(4),
        #[cfg(target_os = "none")]
        callers: |_| 0,
        #[cfg(not(target_os = "none"))]
        callers: crate::host::callers,
        #[cfg(target_os = "none")]
        symbol: |_, _| false,
        #[cfg(not(target_os = "none"))]
        symbol: crate::host::symbol,
        #[cfg(target_os = "none")]
        who: || Who { tid: 0, comm: [0; 16] },
        #[cfg(not(target_os = "none"))]
        who: crate::host::who,
    };
}

static TABLE: Once<&'static Cold> = Once::new();

/// Registers the table; the first call counts.
pub fn register(table: &'static Cold) {
    TABLE.call_once(|| table);
}

#[inline]
fn table() -> &'static Cold {
    TABLE.get().copied().unwrap_or(&Cold::NONE)
}

/// See [`Cold::park`].
pub fn park(word: &AtomicU32, expected: u32, deadline: Option<u64>) {
    (table().park)(word, expected, deadline)
}

/// See [`Cold::unpark`].
pub fn unpark(word: &AtomicU32, count: u32) -> u32 {
    (table().unpark)(word, count)
}

/// See [`Cold::nap`].
#[cold]
pub fn nap() {
    (table().nap)()
}

/// See [`Cold::reschedule`]. Nothing happens while interrupts are off, as whoever turned them off is not
/// to be switched away from; the next interrupt sees to it.
#[cold]
pub fn reschedule() {
    if Hw::irqs_on() {
        (table().reschedule)()
    }
}

/// See [`Cold::remote_fence`]. Nothing happens for an empty set.
pub fn remote_fence(harts: HartMask, fence: Fence) {
    if !harts.is_empty() {
        (table().remote_fence)(harts, fence)
    }
}

/// See [`Cold::run_on`].
pub fn run_on(harts: HartMask, f: fn(*mut ()), arg: *mut ()) {
    if !harts.is_empty() {
        (table().run_on)(harts, f, arg)
    }
}

/// See [`Cold::spawn`].
pub fn spawn(name: &'static str, body: fn(usize), arg: usize) -> bool {
    (table().spawn)(name, body, arg)
}

/// See [`Cold::online`].
pub fn online() -> HartMask {
    (table().online)()
}

/// See [`Cold::fatal_signal`].
pub fn fatal_signal() -> bool {
    (table().fatal_signal)()
}

/// See [`Cold::thread_id`].
pub fn thread_id() -> u32 {
    (table().thread_id)()
}

/// See [`Cold::now`].
pub fn now() -> u64 {
    (table().now)()
}

/// See [`Cold::random`].
pub fn random(buffer: &mut [u8]) {
    (table().random)(buffer)
}

/// See [`Cold::callers`].
#[inline(never)]
pub fn callers(callers: &mut [usize]) -> usize {
    (table().callers)(callers)
}

/// See [`Cold::symbol`].
pub fn symbol(caller: usize, tell: TellSymbol<'_>) -> bool {
    (table().symbol)(caller, tell)
}

/// See [`Cold::who`].
pub fn who() -> Who {
    (table().who)()
}
