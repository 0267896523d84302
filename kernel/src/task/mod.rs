//! A thread, of a program or of the kernel (Linux: `struct task_struct`).
//!
//! Here is what the scheduler and the traps need. What a program's thread has beyond that (its process,
//! its signals) is [`Thread`], which belongs to `process`.

mod policy;
mod space;
mod times;

pub use policy::Policy;
pub(crate) use space::{ActiveSpace, leave_space};
pub use space::{current_space, replace_current_space};

use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use rux_machine::{HartMask, Hot, Hw, ThreadInfo};
use rux_mm::addr::{Order, PAGE_SIZE};
use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::page_alloc::{PageBlock, alloc_pages};
use rux_mm::slab::KArc;
use rux_mm::stat::{self, Item};

use crate::fpu::FpState;
use crate::heap::Node;
use crate::process::Thread;
use crate::sched::{self, Context};
use crate::trap::TrapFrame;

/// A kernel stack: a block of [`STACK_ORDER`].
pub const STACK_BYTES: usize = PAGE_SIZE << STACK_ORDER;
/// log2 of a kernel stack's pages: 16 KiB, and 32 KiB where the compiler keeps all its copies (Linux: `THREAD_SIZE`,
/// twice as much with KASAN).
pub const STACK_ORDER: usize = if cfg!(debug_assertions) { 3 } else { 2 };
/// What the lowest words of a stack hold as long as it was never used up.
const CANARY: [u64; 2] = [0x5748_4f20_4741_5645, 0x2054_4845_2046_4c4f];
/// Below this distance from its end a stack counts as used up: what handling that needs.
const STACK_RESERVE: usize = 512;

/// What a thread does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum State {
    /// Runs or waits for a hart.
    Running = 0,
    /// Sleeps until woken or until a signal comes.
    Interruptible = 1,
    /// Sleeps until woken or until a signal comes that ends the process.
    Killable = 2,
    /// Sleeps until woken.
    Uninterruptible = 3,
    /// Sleeps until SIGCONT (`process` wakes it by [`Task::wake`]) or a fatal signal.
    Stopped = 4,
    /// Will not run again.
    Dead = 5,
}

impl State {
    const ALL: [Self; 6] = [
        Self::Running,
        Self::Interruptible,
        Self::Killable,
        Self::Uninterruptible,
        Self::Stopped,
        Self::Dead,
    ];
}

/// [`Task::work`]: a signal waits.
const WORK_SIGNAL: u32 = 1;
/// [`Task::work`]: the thread is to die.
const WORK_FATAL: u32 = 2;

/// The memory of a kernel stack, which `KernelStack` in /proc/meminfo counts.
struct Stack(PageBlock);

impl Stack {
    fn new() -> Result<Self, AllocError> {
        let block = alloc_pages(Gfp::KERNEL, Order::new(STACK_ORDER).ok_or(AllocError)?)?;
        // SAFETY: the block is ours and larger than the canary.
        unsafe { block.as_ptr().cast::<[u64; 2]>().write(CANARY) };
        stat::add(Item::KernelStackKb, (STACK_BYTES / 1024) as i64);
        Ok(Self(block))
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.as_ptr()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        stat::add(Item::KernelStackKb, -((STACK_BYTES / 1024) as i64));
    }
}

/// What the scheduler keeps of a thread.
pub(crate) struct SchedEntity {
    pub(crate) context: UnsafeCell<Context>,
    /// Its place in a run queue; guarded by the lock of the queue of the hart that `info.hart` names.
    pub(crate) node: UnsafeCell<Node>,
    /// Run time in nanoseconds, weighed by the nice value; the key in the queue. Not changed while queued.
    pub(crate) runtime_weighted: AtomicU64,
    /// Until when its time is accounted.
    pub(crate) started: AtomicU64,
    /// Whether it runs or is in a queue. Guarded as `node`.
    pub(crate) queued: AtomicBool,
    /// Whether a hart uses its stack and registers.
    pub(crate) on_hart: AtomicBool,
    /// Whether the last tick found it in user mode.
    pub(crate) in_user: AtomicBool,
    pub(crate) is_idle: AtomicBool,
    /// Whether its death was announced; see `sched::announce`.
    pub(crate) announced: AtomicBool,
    weight: AtomicU32,
    nice: AtomicI32,
    policy: AtomicU32,
    affinity: AtomicU64,
    user_ns: AtomicU64,
    system_ns: AtomicU64,
    switches: [AtomicU64; 2],
}

/// A thread. Lives in a `KArc`; `tp` points to it while it runs in the kernel, since `info` is first.
#[repr(C)]
pub struct Task {
    info: ThreadInfo,
    state: AtomicU32,
    work: AtomicU32,
    pub(crate) sched: SchedEntity,
    stack: UnsafeCell<Option<Stack>>,
    pub(crate) fp: UnsafeCell<FpState>,
    space: space::SpaceSlot,
    comm: [AtomicU64; 2],
    started_at: u64,
    /// The thread's number; 0 for a kernel thread.
    pub tid: u32,
    /// What a user thread has beyond this; `None` for a kernel thread.
    pub user: Option<Thread>,
}

// SAFETY: the cells are touched only by the thread itself, or by the scheduler as their comments say.
unsafe impl Send for Task {}
// SAFETY: as above.
unsafe impl Sync for Task {}

impl Task {
    /// A thread without a stack that has always run: the boot hart's.
    pub(crate) const fn boot() -> Self {
        Self::empty()
    }

    const fn empty() -> Self {
        Self {
            info: ThreadInfo::new(),
            state: AtomicU32::new(State::Running as u32),
            work: AtomicU32::new(0),
            sched: SchedEntity {
                context: UnsafeCell::new(Context { ra: 0, sp: 0, s: [0; 12] }),
                node: UnsafeCell::new(Node::new()),
                runtime_weighted: AtomicU64::new(0),
                started: AtomicU64::new(0),
                queued: AtomicBool::new(true),
                on_hart: AtomicBool::new(false),
                in_user: AtomicBool::new(false),
                is_idle: AtomicBool::new(false),
                announced: AtomicBool::new(false),
                weight: AtomicU32::new(times::WEIGHT_OF_NICE_0),
                nice: AtomicI32::new(0),
                policy: AtomicU32::new(0),
                affinity: AtomicU64::new(u64::MAX),
                user_ns: AtomicU64::new(0),
                system_ns: AtomicU64::new(0),
                switches: [const { AtomicU64::new(0) }; 2],
            },
            stack: UnsafeCell::new(None),
            fp: UnsafeCell::new(FpState::ZERO),
            space: space::SpaceSlot::new(),
            comm: [const { AtomicU64::new(0) }; 2],
            started_at: 0,
            tid: 0,
            user: None,
        }
    }

    /// Makes this static thread, which runs, the idle one of its hart; `stack` is where its stack starts.
    pub(crate) fn adopt_boot(&'static self, stack: *mut u8, bytes: usize) {
        self.set_limits(stack as usize, bytes);
        self.info.task.store(core::ptr::from_ref(self).addr(), Relaxed);
        self.sched.is_idle.store(true, Relaxed);
        self.sched.on_hart.store(true, Relaxed);
        self.set_comm(b"swapper");
    }

    fn new(tid: u32, user: Option<Thread>) -> Result<KArc<Self>, AllocError> {
        let stack = Stack::new()?;
        let base = stack.as_ptr();
        let mut task = KArc::new_with(Gfp::KERNEL, || const { Self::empty() })?;
        // A constant is copied once, what is put together is moved at every step. Nobody else has the task yet.
        let new = KArc::get_mut(&mut task).ok_or(AllocError)?;
        new.stack = UnsafeCell::new(Some(stack));
        new.started_at = crate::time::now();
        new.tid = tid;
        new.user = user;
        task.set_limits(base as usize, STACK_BYTES);
        task.info.task.store(KArc::as_ptr(&task).addr(), Relaxed);
        Ok(task)
    }

    fn set_limits(&self, base: usize, bytes: usize) {
        self.info.kernel_sp.store(base + bytes - size_of::<TrapFrame>(), Relaxed);
        self.info.scratch[0].store((base + STACK_RESERVE) as u64, Relaxed);
    }

    /// A kernel thread, not yet started, that will call `body(arg)`.
    pub(crate) fn new_kernel(name: &str, body: fn(usize), arg: usize) -> Result<KArc<Self>, AllocError> {
        let task = Self::new(0, None)?;
        task.set_comm(name.as_bytes());
        // SAFETY: nobody else has the task yet.
        let context = unsafe { &mut *task.sched.context.get() };
        context.ra = sched::kthread_start();
        context.sp = task.info.kernel_sp.load(Relaxed) + size_of::<TrapFrame>();
        context.s[0] = body as usize;
        context.s[1] = arg;
        Ok(task)
    }

    /// The idle thread of a further hart, which starts on the stack's end.
    pub(crate) fn new_idle() -> Result<&'static Self, AllocError> {
        let task = Self::new_kernel("swapper", |_| {}, 0)?;
        // SAFETY: the share is never given back.
        let task = unsafe { &*KArc::into_raw(task) };
        task.sched.is_idle.store(true, Relaxed);
        task.sched.on_hart.store(true, Relaxed);
        Ok(task)
    }

    /// A program's thread, not yet started, that will enter user mode with `frame`. Nice value, affinity and name
    /// are the running thread's, and so are the floating-point registers if `frame` says that they are in use.
    ///
    /// # Errors
    /// No memory for it; `user` and `space` are dropped.
    pub fn new_user(
        tid: u32,
        frame: &TrapFrame,
        space: KArc<rux_mm::space::Space>,
        user: Thread,
    ) -> Result<KArc<Self>, AllocError> {
        let task = Self::new(tid, Some(user))?;
        let parent = current();
        for (to, from) in task.comm.iter().zip(&parent.comm) {
            to.store(from.load(Relaxed), Relaxed);
        }
        task.inherit_policy(parent);
        task.set_affinity(parent.affinity());
        task.space.set_first(space);
        let at = task.info.kernel_sp.load(Relaxed);
        let mut frame = frame.clone();
        crate::fpu::inherit(&task, &mut frame);
        // SAFETY: the stack is the task's own, and there is room for a frame at its top.
        unsafe { (at as *mut TrapFrame).write(frame) };
        // SAFETY: nobody else has the task yet.
        let context = unsafe { &mut *task.sched.context.get() };
        context.ra = sched::user_start();
        context.sp = at;
        Ok(task)
    }

    /// Lets a thread of [`Task::new_user`] run.
    pub fn start(this: KArc<Self>) {
        sched::start(this);
    }

    /// Frees the stack of a dead thread.
    ///
    /// # Safety
    /// `task` is dead, and no hart uses its stack.
    pub(crate) unsafe fn free_stack(task: *const Self) {
        // SAFETY: nobody uses the stack any more, and the scheduler's share keeps the task.
        drop(unsafe { (*(*task).stack.get()).take() });
    }

    /// Its address, for the assembly.
    pub(crate) fn as_ptr(&self) -> *const () {
        core::ptr::from_ref(self).cast()
    }

    /// What the machine keeps of it.
    pub(crate) fn info(&self) -> &ThreadInfo {
        &self.info
    }

    /// The task whose run-queue node is `node`.
    pub(crate) fn of_node(node: NonNull<Node>) -> NonNull<Self> {
        let offset = core::mem::offset_of!(Self, sched) + core::mem::offset_of!(SchedEntity, node);
        // SAFETY: only tasks' nodes are in run queues.
        unsafe { node.cast::<u8>().sub(offset).cast() }
    }

    /// The hart that runs it, or ran it last.
    pub fn hart(&self) -> usize {
        self.info.hart.load(SeqCst) as usize
    }

    /// What it does.
    pub fn state(&self) -> State {
        State::ALL.get(self.state.load(Relaxed) as usize).copied().unwrap_or(State::Dead)
    }

    /// Says what it is about to do. By the thread itself, before it looks at what it waits for; by who wakes
    /// it, under the run queue's lock.
    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state as u32, Relaxed);
        // Pairs with the fence of `sched::wake`: either the waker sees the state, or the sleeper what it waits for.
        core::sync::atomic::fence(SeqCst);
    }

    /// Where its frame of a trap from user mode is.
    pub(crate) fn user_frame(&self) -> *mut TrapFrame {
        self.info.kernel_sp.load(Relaxed) as *mut TrapFrame
    }

    /// The program's stack pointer, at the trap that the thread is in. By the thread itself.
    pub fn user_sp(&self) -> u64 {
        // SAFETY: the frame is at the top of the thread's own stack; one word of it is read.
        unsafe { (*self.user_frame()).sp() as u64 }
    }

    /// The lowest address of its kernel stack, and one past the highest.
    pub(crate) fn stack_bounds(&self) -> (usize, usize) {
        let top = self.info.kernel_sp.load(Relaxed) + size_of::<TrapFrame>();
        (top.wrapping_sub(STACK_BYTES), top)
    }

    /// Panics if the stack was used up.
    pub(crate) fn check_stack(&self) {
        // SAFETY: the stack is mapped while the thread lives.
        let canary = unsafe { (*self.stack.get()).as_ref() }.map(|stack| {
            // SAFETY: as above; the canary is at its start.
            unsafe { stack.as_ptr().cast::<[u64; 2]>().read() }
        });
        assert!(canary.is_none_or(|canary| canary == CANARY), "the kernel stack was used up");
    }

    /// The name, at most 15 bytes and a NUL (`comm`).
    pub fn comm(&self) -> [u8; 16] {
        let mut comm = [0; 16];
        for (bytes, word) in comm.chunks_exact_mut(8).zip(&self.comm) {
            bytes.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
        }
        comm[15] = 0;
        comm
    }

    /// Names the thread; what is over 15 bytes is cut.
    pub fn set_comm(&self, name: &[u8]) {
        let mut comm = [0; 16];
        let len = name.len().min(15);
        comm[..len].copy_from_slice(&name[..len]);
        for (bytes, word) in comm.as_chunks::<8>().0.iter().zip(&self.comm) {
            word.store(u64::from_ne_bytes(*bytes), Relaxed);
        }
    }

    /// Whether [`crate::signal::deliver`] is to run before the thread is next in user mode, and sleeps that
    /// signals interrupt end (Linux: TIF_SIGPENDING).
    ///
    /// The order against what it tells of comes from the locks on both sides: of the signals, or, for a
    /// sleeper, of the run queue, whose waker looks at the state after it set this.
    #[inline(always)]
    pub fn signal_pending(&self) -> bool {
        self.work.load(Relaxed) != 0
    }

    /// Whether the thread is to die: see `fatal` of [`Task::notify_signal`].
    #[inline]
    pub fn fatal_pending(&self) -> bool {
        self.work.load(Relaxed) & WORK_FATAL != 0
    }

    /// Sets [`Task::signal_pending`] and sees to it that the thread notices: wakes it from an
    /// interruptible sleep (if `fatal`, from a killable one and from a stop too), interrupts it in user mode.
    /// Any context; takes the run queue's lock.
    pub fn notify_signal(&self, fatal: bool) {
        self.work.fetch_or(if fatal { WORK_SIGNAL | WORK_FATAL } else { WORK_SIGNAL }, SeqCst);
        let states: &[State] = if fatal {
            &[State::Interruptible, State::Killable, State::Stopped]
        } else {
            &[State::Interruptible]
        };
        if !sched::wake(self, states) {
            let _off = rux_machine::PreemptGuard::new();
            let hart = self.hart();
            if hart != crate::hart::this().index() {
                crate::ipi::send_reschedule(HartMask::one(hart));
            }
        }
    }

    /// Wakes the thread from `state`; says whether it was in it.
    pub fn wake(&self, state: State) -> bool {
        sched::wake(self, &[state])
    }

    /// Stops the running thread until [`Task::wake`] from [`State::Stopped`] or a fatal signal.
    /// `still`, asked after the state is set, says whether it is to stop at all; it must not sleep.
    pub fn stop_current(still: impl FnOnce() -> bool) {
        let task = current();
        task.set_state(State::Stopped);
        if still() && !task.fatal_pending() {
            sched::schedule();
        }
        task.set_state(State::Running);
    }

    /// Clears [`Task::signal_pending`]; by the thread itself, under the lock that guards its signals.
    pub fn clear_signal_pending(&self) {
        self.work.fetch_and(!WORK_SIGNAL, SeqCst);
    }

    /// The harts that it may run on.
    pub fn affinity(&self) -> HartMask {
        HartMask::from_bits(self.sched.affinity.load(Relaxed))
    }

    /// Sets [`Task::affinity`]; takes effect when the thread next wakes or is moved.
    pub fn set_affinity(&self, harts: HartMask) {
        self.sched.affinity.store(harts.bits(), Relaxed);
    }

    /// When it was made, in nanoseconds since boot.
    pub fn started_at(&self) -> u64 {
        self.started_at
    }

    /// The letter that /proc/PID/stat shows: R, S, D, T, or X for a dead one; Z is for `process` to say.
    pub fn state_letter(&self) -> char {
        match self.state() {
            State::Running => 'R',
            State::Interruptible => 'S',
            State::Killable | State::Uninterruptible => 'D',
            State::Stopped => 'T',
            State::Dead => 'X',
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("tid", &self.tid).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// The running thread. The reference is good for as long as the thread runs: do not hand it to others.
#[inline(always)]
pub fn current() -> &'static Task {
    // SAFETY: the thread's descriptor is the first field of its task.
    unsafe { &*core::ptr::from_ref::<ThreadInfo>(Hw::thread()).cast::<Task>() }
}

/// A share of the running thread, for others to keep. Not for the boot or an idle thread, which have no owner.
pub fn current_arc() -> KArc<Task> {
    // SAFETY: the scheduler keeps a share of each thread that runs.
    unsafe { KArc::clone_raw(core::ptr::from_ref(current())) }
}
