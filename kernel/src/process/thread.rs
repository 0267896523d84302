//! What a user thread has beyond its [`Task`]: the process, files, signals, and what it told the kernel
//! to do at its end.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use rux_mm::slab::KArc;
use rux_mm::sync::{IrqSpinLock, Rank};

use super::list::{Link, Linked};
use super::{Cred, Pid, Process, Tasklist, ThreadCount};
use crate::errno::{Errno, Result};
use crate::fs::{FileTable, FsContext};
use crate::signal::ThreadSignals;
use crate::task::{self, Task};
use crate::wait::WaitQueue;

/// The lists of a process' threads; the process' signal lock guards them.
pub struct ThreadTag;

/// What a user thread has beyond its [`Task`].
pub struct Thread {
    process: KArc<Process>,
    /// Its number. An exec gives the process' own to the thread that did it.
    pid: IrqSpinLock<KArc<Pid>>,
    tid: AtomicU32,
    link: Link<Task>,
    cred: IrqSpinLock<KArc<Cred>>,
    count: IrqSpinLock<Option<ThreadCount>>,
    files: IrqSpinLock<Option<KArc<FileTable>>>,
    fs: IrqSpinLock<Option<KArc<FsContext>>>,
    /// Signals for this thread alone, and its mask.
    pub signals: ThreadSignals,
    /// Where to write 0 and wake a futex at the end (`CLONE_CHILD_CLEARTID`); 0 for nowhere.
    pub clear_child_tid: AtomicU64,
    /// The list of futexes that the thread holds (`set_robust_list`); 0 for none.
    pub robust_list: AtomicU64,
    /// The parent that vfork'ed this thread's process waits for it.
    pub(super) vfork: IrqSpinLock<Option<KArc<VforkDone>>>,
    /// On the way out: no signal is given to it any more.
    pub(super) exiting: AtomicBool,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: AtomicBool,
    /// `PR_SET_PDEATHSIG`; 0 for none.
    pub parent_death_signal: AtomicU32,
    /// `personality`.
    pub personality: AtomicU32,
    /// `PR_SET_TIMERSLACK`, in nanoseconds.
    pub timer_slack: AtomicU64,
    /// Faults without and with I/O.
    pub faults: (AtomicU64, AtomicU64),
}

// SAFETY: the link is only touched through the list of the thread's one process, under its signal lock.
unsafe impl Sync for Thread {}
// SAFETY: as above.
unsafe impl Send for Thread {}

// SAFETY: the link is always the thread's own; a thread belongs to one process for life, and its list is guarded
// by that process' signal lock. Only user threads are put on such a list.
unsafe impl Linked<ThreadTag> for Task {
    fn link(&self) -> &Link<Self> {
        static NOBODY: NobodysLink = NobodysLink(Link::new());
        match &self.user {
            Some(thread) => &thread.link,
            None => &NOBODY.0,
        }
    }
}

/// What a kernel thread, which is never on a list, has for a link.
struct NobodysLink(Link<Task>);
// SAFETY: no kernel thread is ever put on a list of threads.
unsafe impl Sync for NobodysLink {}

impl core::fmt::Debug for Thread {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Thread").field("tid", &self.tid()).finish_non_exhaustive()
    }
}

/// What a new thread is made of.
pub struct ThreadParts {
    /// Its process.
    pub process: KArc<Process>,
    /// Its number.
    pub pid: KArc<Pid>,
    /// For whom it acts.
    pub cred: KArc<Cred>,
    /// That it is counted.
    pub count: ThreadCount,
    /// Its files.
    pub files: KArc<FileTable>,
    /// Its place in the tree of files.
    pub fs: KArc<FsContext>,
    /// Its signals.
    pub signals: ThreadSignals,
}

impl Thread {
    /// A thread that has not run. It is not yet on its process' list.
    pub fn new(parts: ThreadParts) -> Self {
        Self {
            tid: AtomicU32::new(parts.pid.nr()),
            process: parts.process,
            pid: IrqSpinLock::new(Rank::ThreadField, parts.pid),
            link: Link::new(),
            cred: IrqSpinLock::new(Rank::ThreadField, parts.cred),
            count: IrqSpinLock::new(Rank::ThreadField, Some(parts.count)),
            files: IrqSpinLock::new(Rank::ThreadField, Some(parts.files)),
            fs: IrqSpinLock::new(Rank::ThreadField, Some(parts.fs)),
            signals: parts.signals,
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            vfork: IrqSpinLock::new(Rank::ThreadField, None),
            exiting: AtomicBool::new(false),
            no_new_privs: AtomicBool::new(false),
            parent_death_signal: AtomicU32::new(0),
            personality: AtomicU32::new(0),
            timer_slack: AtomicU64::new(50_000),
            faults: (AtomicU64::new(0), AtomicU64::new(0)),
        }
    }

    /// Takes over what a new thread has from the one that made it.
    pub(super) fn inherit(&self, from: &Self) {
        self.no_new_privs.store(from.no_new_privs.load(Relaxed), Relaxed);
        self.personality.store(from.personality.load(Relaxed), Relaxed);
        self.timer_slack.store(from.timer_slack.load(Relaxed), Relaxed);
    }

    /// The process.
    #[inline]
    pub fn process(&self) -> &KArc<Process> {
        &self.process
    }

    /// The thread's number (`gettid`).
    #[inline]
    pub fn tid(&self) -> u32 {
        self.tid.load(Relaxed)
    }

    /// The thread's number, to be kept.
    pub fn pid_ref(&self) -> KArc<Pid> {
        self.pid.lock().clone()
    }

    /// Takes the process' own number, which the first thread gave up: exec, by another thread than the
    /// first. By the thread itself, when it is the only one.
    pub(crate) fn become_leader(&self) {
        let new = self.process.pid_ref().clone();
        let mut tasklist = Tasklist::lock();
        self.tid.store(new.nr(), Relaxed);
        let old = core::mem::replace(&mut *self.pid.lock(), new.clone());
        let task = old.named_mut(&mut tasklist).task.take();
        old.release(&tasklist);
        let none = core::mem::replace(&mut new.named_mut(&mut tasklist).task, task);
        drop(tasklist);
        drop((old, none));
    }

    /// Whether it has the process' own number.
    pub fn is_leader(&self) -> bool {
        self.tid() == self.process.pid()
    }

    /// Whether it is on its way out.
    #[inline]
    pub fn is_exiting(&self) -> bool {
        self.exiting.load(Relaxed)
    }

    /// For whom the thread acts.
    pub fn cred(&self) -> KArc<Cred> {
        self.cred.lock().clone()
    }

    /// Gives up the thread's being counted.
    pub(super) fn take_count(&self) -> Option<ThreadCount> {
        self.count.lock().take()
    }

    /// Acts for somebody else from now on. By the thread itself.
    pub fn set_cred(&self, cred: KArc<Cred>) {
        if !KArc::ptr_eq(&cred.user, &self.cred().user) {
            let count = ThreadCount::unlimited(cred.user.clone());
            drop(self.count.lock().replace(count));
        }
        let others = core::mem::replace(&mut *self.process.cred.lock(), cred.clone());
        let own = core::mem::replace(&mut *self.cred.lock(), cred);
        drop((others, own));
    }

    /// The open files.
    ///
    /// # Errors
    /// `ESRCH` when the thread is on its way out.
    pub fn files(&self) -> Result<KArc<FileTable>> {
        self.files.lock().clone().ok_or(Errno::ESRCH)
    }

    /// The place in the tree of files.
    ///
    /// # Errors
    /// `ESRCH` when the thread is on its way out.
    pub fn fs(&self) -> Result<KArc<FsContext>> {
        self.fs.lock().clone().ok_or(Errno::ESRCH)
    }

    /// Takes another file table; the old one may be closed by that, so the caller may sleep.
    pub fn set_files(&self, files: Option<KArc<FileTable>>) {
        let old = core::mem::replace(&mut *self.files.lock(), files);
        drop(old);
    }

    /// Takes another place in the tree of files.
    pub fn set_fs(&self, fs: Option<KArc<FsContext>>) {
        let old = core::mem::replace(&mut *self.fs.lock(), fs);
        drop(old);
    }
}

/// Lets a parent wait until its vfork'ed child has executed or ended.
#[derive(Default)]
pub struct VforkDone {
    done: AtomicBool,
    queue: WaitQueue,
}

impl VforkDone {
    /// Not done.
    pub const fn new() -> Self {
        Self { done: AtomicBool::new(false), queue: WaitQueue::new() }
    }

    /// Lets the parent go on.
    pub fn complete(&self) {
        self.done.store(true, core::sync::atomic::Ordering::Release);
        self.queue.wake_all();
    }

    /// Waits for the child, or for a signal that ends the process.
    pub fn wait(&self) {
        // A killed parent does not wait on: its child has its own reference to the memory.
        let _killed = self.queue.wait_killable(|| self.done.load(core::sync::atomic::Ordering::Acquire));
    }
}

/// The running user thread, with its task.
///
/// # Errors
/// `ESRCH` in a kernel thread.
#[inline]
pub fn current() -> Result<&'static Thread> {
    task::current().user.as_ref().ok_or(Errno::ESRCH)
}
