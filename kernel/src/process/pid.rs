//! Process numbers (Linux: `kernel/pid.c`).
//!
//! A number names up to four things: a thread, a process, a process group, a session. It is free again
//! once it names none; a [`Pid`] may live longer, in the hands of who remembered it, and then names
//! nothing for ever.

use core::array;

use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KBox};
use rux_mm::sync::{IrqSpinLock, Rank};

use super::list::List;
use super::tasklist::{Tasklist, UnderTasklist};
use super::{PgrpTag, Process};
use crate::task::Task;

/// One past the largest number (`/proc/sys/kernel/pid_max`).
pub const PID_MAX: u32 = 32_768;
/// Where numbers go on after the largest: the low ones are left to the system's own.
const RESERVED: u32 = 300;
/// Numbers in one leaf of the table: its pointers fill one page.
const LEAF: usize = 512;
const LEAVES: usize = PID_MAX as usize / LEAF;

/// A number, and what it names.
pub struct Pid {
    nr: u32,
    named: UnderTasklist<Named>,
}

/// What a number names.
pub struct Named {
    /// The thread.
    pub task: Option<KArc<Task>>,
    /// The process: until it is reaped.
    pub process: Option<KArc<Process>>,
    /// The members of the process group.
    pub group: List<Process, PgrpTag>,
    /// How many processes are in the session.
    pub session: usize,
}

impl Named {
    fn is_nothing(&self) -> bool {
        self.task.is_none() && self.process.is_none() && self.group.is_empty() && self.session == 0
    }
}

impl Pid {
    /// The number.
    #[inline]
    pub const fn nr(&self) -> u32 {
        self.nr
    }

    /// What it names.
    pub fn named<'a>(&'a self, tasklist: &'a Tasklist) -> &'a Named {
        self.named.get(tasklist)
    }

    /// What it names, to be changed; afterwards [`Pid::release`] if that took something away.
    pub fn named_mut<'a>(&'a self, tasklist: &'a mut Tasklist) -> &'a mut Named {
        self.named.get_mut(tasklist)
    }

    /// Frees the number if it names nothing any more.
    pub fn release(&self, tasklist: &Tasklist) {
        if self.named.get(tasklist).is_nothing() {
            let freed = TABLE.lock().remove(self.nr);
            drop(freed);
        }
    }
}

impl core::fmt::Debug for Pid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "pid:{}", self.nr)
    }
}

struct Leaf {
    used: usize,
    pids: KBox<[Option<KArc<Pid>>; LEAF]>,
}

struct Table {
    leaves: [Option<Leaf>; LEAVES],
    last: u32,
}

static TABLE: IrqSpinLock<Table> =
    IrqSpinLock::new(Rank::PidTable, Table { leaves: [const { None }; LEAVES], last: 0 });

/// Why there is no number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PidError {
    /// All are taken (`EAGAIN`).
    Exhausted,
    /// No memory.
    NoMemory,
}

impl From<AllocError> for PidError {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

impl Table {
    fn get(&self, nr: u32) -> Option<&KArc<Pid>> {
        let leaf = self.leaves.get(nr as usize / LEAF)?.as_ref()?;
        leaf.pids.get(nr as usize % LEAF)?.as_ref()
    }

    /// The first number at or above `from` and below `to` that is free.
    fn free_from(&self, from: u32, to: u32) -> Option<u32> {
        let mut nr = from;
        while nr < to {
            match self.leaves.get(nr as usize / LEAF)? {
                Some(leaf) if leaf.used == LEAF => nr = (nr / LEAF as u32 + 1) * LEAF as u32,
                _ if self.get(nr).is_some() => nr += 1,
                _ => return Some(nr),
            }
        }
        None
    }

    fn remove(&mut self, nr: u32) -> (Option<KArc<Pid>>, Option<Leaf>) {
        let Some(slot) = self.leaves.get_mut(nr as usize / LEAF) else { return (None, None) };
        let Some(leaf) = slot else { return (None, None) };
        let pid = leaf.pids.get_mut(nr as usize % LEAF).and_then(Option::take);
        leaf.used -= usize::from(pid.is_some());
        let empty = leaf.used == 0;
        (pid, if empty { slot.take() } else { None })
    }
}

/// Draws the next free number. It is taken until [`Pid::release`] finds that it names nothing, so
/// the caller releases it if what it was for fails (Linux: `alloc_pid`).
pub fn allocate() -> Result<KArc<Pid>, PidError> {
    let named = Named { task: None, process: None, group: List::new(), session: 0 };
    let mut pid = KArc::new(Pid { nr: 0, named: UnderTasklist::new(named) }, Gfp::KERNEL)?;
    let mut spare = None;
    loop {
        let mut table = TABLE.lock();
        let from = if table.last + 1 >= PID_MAX { RESERVED } else { table.last + 1 };
        let nr = match table.free_from(from, PID_MAX) {
            Some(nr) => nr,
            None => table.free_from(RESERVED, from).ok_or(PidError::Exhausted)?,
        };
        let slot = table.leaves.get_mut(nr as usize / LEAF).ok_or(PidError::Exhausted)?;
        if slot.is_none() {
            *slot = spare.take().map(|pids| Leaf { used: 0, pids });
        }
        let Some(leaf) = slot else {
            drop(table);
            spare = Some(KBox::new(array::from_fn(|_| None), Gfp::KERNEL)?);
            continue;
        };
        let place = leaf.pids.get_mut(nr as usize % LEAF).ok_or(PidError::Exhausted)?;
        if let Some(pid) = KArc::get_mut(&mut pid) {
            pid.nr = nr;
        }
        *place = Some(pid.clone());
        leaf.used += 1;
        table.last = nr;
        return Ok(pid);
    }
}

/// The number `nr`, if it names something.
pub fn find(nr: u32) -> Option<KArc<Pid>> {
    TABLE.lock().get(nr).cloned()
}

/// The first taken number at or above `from`: so everybody is visited, each step under the lock alone.
pub fn next(from: u32) -> Option<KArc<Pid>> {
    let table = TABLE.lock();
    let mut nr = from;
    while nr < PID_MAX {
        match table.leaves.get(nr as usize / LEAF)? {
            None => nr = (nr / LEAF as u32 + 1) * LEAF as u32,
            Some(_) => match table.get(nr) {
                Some(pid) => return Some(pid.clone()),
                None => nr += 1,
            },
        }
    }
    None
}

/// The process with number `nr`, dead but not reaped included.
pub fn find_process(nr: u32) -> Option<KArc<Process>> {
    find(nr)?.named(&Tasklist::lock()).process.clone()
}

/// The thread with number `nr`.
pub fn find_task(nr: u32) -> Option<KArc<Task>> {
    find(nr)?.named(&Tasklist::lock()).task.clone()
}

/// The number given out last (`/proc/loadavg`).
pub fn last() -> u32 {
    TABLE.lock().last
}
