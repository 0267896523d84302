//! Who runs: every hart when the host lets it, or one at a time as a seed decides.
//!
//! In the seeded schedule a hart holds the turn from one yield point to the next. A hart that waits for a
//! word (`cold::park`) has no turn until it is woken; when all wait, the test has deadlocked and fails.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rux_machine::{Hot, Hw, IrqGuard};

use crate::rng::Rng;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not in a run, or done with it.
    Away,
    Ready,
    /// Sleeps on the word at this address.
    Parked(usize),
}

#[derive(Debug)]
struct Turns {
    states: Vec<State>,
    /// Whose turn it is.
    turn: usize,
    rng: Rng,
    /// Why the run is over, if it is.
    failed: Option<String>,
    /// What each hart is to run as soon as it takes interrupts.
    calls: Vec<Vec<Call>>,
}

/// One call on another hart (`cold::run_on`).
#[derive(Debug)]
struct Call {
    function: fn(*mut ()),
    argument: usize,
    done: Arc<AtomicBool>,
}

thread_local! {
    /// The thread serves a call: it yields to nobody meanwhile.
    static SERVING: Cell<bool> = const { Cell::new(false) };
}

impl Call {
    fn serve(self) {
        SERVING.set(true);
        let irqs = IrqGuard::new();
        (self.function)(self.argument as *mut ());
        drop(irqs);
        SERVING.set(false);
        self.done.store(true, Ordering::Release);
    }
}

/// The schedule of one machine.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Mutex<Turns>,
    changed: Condvar,
    /// One hart at a time.
    seeded: bool,
}

impl Turn {
    pub(crate) fn new(harts: usize, seeded: bool, seed: u64) -> Self {
        let turns = Turns {
            states: vec![State::Away; harts],
            turn: usize::MAX,
            rng: Rng::new(seed ^ 0x7475_726e),
            failed: None,
            calls: (0..harts).map(|_| Vec::new()).collect(),
        };
        Self { turns: Mutex::new(turns), changed: Condvar::new(), seeded }
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which harts are going to run, before the first of them does.
    pub(crate) fn begin(&self, harts: usize) {
        let mut turns = self.lock();
        turns.failed = None;
        turns.states.fill(State::Away);
        turns.states[..harts].fill(State::Ready);
        turns.pass();
    }

    /// Waits for the first turn.
    pub(crate) fn enter(&self, hart: usize) {
        if self.seeded {
            drop(self.wait(self.lock(), hart));
        }
    }

    /// Hands the turn on for good.
    pub(crate) fn exit(&self, hart: usize, panicked: bool) {
        let mut turns = self.lock();
        turns.states[hart] = State::Away;
        if panicked && turns.failed.is_none() {
            turns.failed = Some(format!("hart {hart} panicked"));
        }
        turns.pass();
        self.changed.notify_all();
    }

    /// A point at which another hart may run, and this one takes interrupts.
    pub(crate) fn yield_now(&self, hart: usize) {
        if SERVING.get() {
            return;
        }
        let mut turns = self.lock();
        if turns.states[hart] != State::Ready {
            drop(turns);
            return std::thread::yield_now();
        }
        if Hw::irqs_on() {
            while let Some(call) = turns.calls[hart].pop() {
                drop(turns);
                call.serve();
                turns = self.lock();
            }
        }
        if !self.seeded {
            turns.check();
            drop(turns);
            return std::thread::yield_now();
        }
        turns.pass();
        if turns.turn != hart {
            self.changed.notify_all();
            drop(self.wait(turns, hart));
        }
    }

    /// Runs `function(argument)` on `hart`, which is not `me`, and waits for it. What sleeps or is not in the run is
    /// `impersonate`d by the calling thread.
    pub(crate) fn call(
        &self,
        me: usize,
        hart: usize,
        function: fn(*mut ()),
        argument: *mut (),
        impersonate: impl Fn(&dyn Fn()),
    ) {
        let done = Arc::new(AtomicBool::new(false));
        let call = Call { function, argument: argument as usize, done: done.clone() };
        self.lock().calls[hart].push(call);
        while !done.load(Ordering::Acquire) {
            let mut turns = self.lock();
            if turns.states[hart] != State::Ready {
                // It stays where it is while `turns` is locked.
                let calls = std::mem::take(&mut turns.calls[hart]);
                let calls = Cell::new(Some(calls));
                impersonate(&|| calls.take().into_iter().flatten().for_each(Call::serve));
                continue;
            }
            drop(turns);
            self.yield_now(me);
        }
    }

    /// Sleeps on `word` unless `still` says no any more. May wake early.
    pub(crate) fn park(&self, hart: usize, word: usize, still: impl Fn() -> bool) {
        let mut turns = self.lock();
        if !still() {
            return;
        }
        turns.states[hart] = State::Parked(word);
        if self.seeded {
            turns.pass();
            self.changed.notify_all();
            drop(self.wait(turns, hart));
            return;
        }
        while turns.states[hart] != State::Ready {
            turns.check();
            if turns.states.iter().all(|state| matches!(state, State::Away | State::Parked(_))) {
                turns.failed = Some("every hart waits".into());
                self.changed.notify_all();
                continue;
            }
            turns = self.changed.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wakes at most `count` harts that sleep on `word`; says how many.
    pub(crate) fn unpark(&self, word: usize, count: u32) -> u32 {
        let mut turns = self.lock();
        let mut woken = 0;
        let mut sleeping = turns.states.iter_mut().filter(|state| **state == State::Parked(word));
        while woken < count {
            let Some(state) = sleeping.next() else { break };
            *state = State::Ready;
            woken += 1;
        }
        if woken > 0 {
            self.changed.notify_all();
        }
        woken
    }

    fn wait<'a>(&self, mut turns: MutexGuard<'a, Turns>, hart: usize) -> MutexGuard<'a, Turns> {
        while turns.turn != hart {
            turns.check();
            turns = self.changed.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
        turns.check();
        turns
    }
}

impl Turns {
    /// Picks who is next.
    fn pass(&mut self) {
        let ready = || self.states.iter().enumerate().filter(|(_, state)| **state == State::Ready);
        let count = ready().count() as u64;
        if count == 0 {
            let waits = self.states.iter().any(|state| matches!(state, State::Parked(_)));
            if waits && self.failed.is_none() {
                self.failed = Some(format!("every hart waits: {:x?}", self.states));
            }
            self.turn = usize::MAX;
            return;
        }
        let index = self.rng.below(count) as usize;
        self.turn = self
            .states
            .iter()
            .enumerate()
            .filter(|(_, state)| **state == State::Ready)
            .nth(index)
            .map_or(usize::MAX, |(hart, _)| hart);
    }

    /// Ends a hart whose run has failed elsewhere.
    fn check(&self) {
        if let Some(why) = &self.failed
            && !std::thread::panicking()
        {
            panic!("the run is over: {why}");
        }
    }
}
