//! Signal numbers and sets of them (Linux: `include/linux/signal.h`).

use linux_raw_sys::general as abi;

/// A signal's number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident = $value:ident)*) => {
        impl Signal {
            $(#[doc = concat!("`", stringify!($value), "`.")] pub const $name: Self = Self(abi::$value as u8);)*
        }
    };
}

signals! {
    HUP = SIGHUP INT = SIGINT QUIT = SIGQUIT ILL = SIGILL TRAP = SIGTRAP ABRT = SIGABRT BUS = SIGBUS
    FPE = SIGFPE KILL = SIGKILL USR1 = SIGUSR1 SEGV = SIGSEGV USR2 = SIGUSR2 PIPE = SIGPIPE
    ALRM = SIGALRM TERM = SIGTERM STKFLT = SIGSTKFLT CHLD = SIGCHLD CONT = SIGCONT STOP = SIGSTOP
    TSTP = SIGTSTP TTIN = SIGTTIN TTOU = SIGTTOU URG = SIGURG XCPU = SIGXCPU XFSZ = SIGXFSZ
    VTALRM = SIGVTALRM PROF = SIGPROF WINCH = SIGWINCH IO = SIGIO PWR = SIGPWR SYS = SIGSYS
}

/// What a signal does to a process that does not handle it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultAction {
    /// Ends the process.
    Terminate,
    /// Ends the process; Linux would write a core file, were it allowed to (`RLIMIT_CORE` is 0 by default).
    Core,
    /// Stops the process.
    Stop,
    /// Nothing (and `SIGCONT`, whose effect comes when it is sent).
    Ignore,
}

impl Signal {
    /// The largest number.
    pub const MAX: usize = 64;
    /// The first real-time signal, as the kernel counts.
    pub const RT_MIN: Self = Self(32);

    /// The signal with this number; `None` for 0 and above 64.
    #[inline]
    pub const fn new(number: u32) -> Option<Self> {
        if number >= 1 && number <= Self::MAX as u32 { Some(Self(number as u8)) } else { None }
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// 0 to 63, for arrays.
    #[inline]
    pub const fn index(self) -> usize {
        (self.0 - 1) as usize & 63
    }

    /// Whether each one sent is kept, in order.
    #[inline]
    pub const fn is_realtime(self) -> bool {
        self.0 >= Self::RT_MIN.0
    }

    /// Whether it cannot be handled, blocked or ignored.
    #[inline]
    pub const fn is_kernel_only(self) -> bool {
        SigSet::UNBLOCKABLE.contains(self)
    }

    /// What it does without a handler.
    pub const fn default_action(self) -> DefaultAction {
        match self {
            Self::QUIT
            | Self::ILL
            | Self::TRAP
            | Self::ABRT
            | Self::BUS
            | Self::FPE
            | Self::SEGV
            | Self::XCPU
            | Self::XFSZ
            | Self::SYS => DefaultAction::Core,
            Self::STOP | Self::TSTP | Self::TTIN | Self::TTOU => DefaultAction::Stop,
            Self::CHLD | Self::CONT | Self::URG | Self::WINCH => DefaultAction::Ignore,
            _ => DefaultAction::Terminate,
        }
    }
}

/// A set of signals, in the layout of `sigset_t`: bit `n - 1` for signal `n`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// What no program blocks: `SIGKILL` and `SIGSTOP`.
    pub const UNBLOCKABLE: Self = Self::of(&[Signal::KILL, Signal::STOP]);
    /// What stops a process by default.
    pub const STOPS: Self = Self::of(&[Signal::STOP, Signal::TSTP, Signal::TTIN, Signal::TTOU]);
    /// What the running instruction causes: delivered before all others.
    pub const SYNCHRONOUS: Self =
        Self::of(&[Signal::SEGV, Signal::BUS, Signal::ILL, Signal::TRAP, Signal::FPE, Signal::SYS]);

    /// The set of these.
    pub const fn of(signals: &[Signal]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < signals.len() {
            bits |= 1 << signals[i].index();
            i += 1;
        }
        Self(bits)
    }

    /// Whether `signal` is in.
    #[inline]
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 >> signal.index() & 1 != 0
    }

    /// With `signal`.
    #[inline]
    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | 1 << signal.index())
    }

    /// Without `signal`.
    #[inline]
    pub const fn without(self, signal: Signal) -> Self {
        Self(self.0 & !(1 << signal.index()))
    }

    /// In either.
    #[inline]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// In both.
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// In `self` but not in `other`.
    #[inline]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// All but these.
    #[inline]
    pub const fn complement(self) -> Self {
        Self(!self.0)
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The one to deliver first: a synchronous one if there is one, else the lowest number.
    #[inline]
    pub const fn next(self) -> Option<Signal> {
        let first = self.and(Self::SYNCHRONOUS);
        let from = if first.is_empty() { self } else { first };
        if from.is_empty() { None } else { Some(Signal(from.0.trailing_zeros() as u8 + 1)) }
    }
}

impl core::fmt::Debug for SigSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
