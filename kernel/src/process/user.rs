//! The accounts of users: how many processes each has, for `RLIMIT_NPROC` (Linux: `kernel/user.c`).

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};
use rux_mm::sync::{IrqSpinLock, Rank};

/// One user's account. It lives while credentials name the user.
#[derive(Debug)]
pub struct User {
    uid: u32,
    /// Threads whose real user this is.
    pub processes: AtomicUsize,
    /// Signals queued for this user's threads (`RLIMIT_SIGPENDING`).
    pub signals: AtomicUsize,
}

static USERS: IrqSpinLock<KVec<KArc<User>>> = IrqSpinLock::new(Rank::Users, KVec::new());

impl User {
    /// The account of user `uid`, made if there is none yet.
    pub fn find(uid: u32) -> Result<KArc<Self>, AllocError> {
        let fresh = Self { uid, processes: AtomicUsize::new(0), signals: AtomicUsize::new(0) };
        let fresh = KArc::new(fresh, Gfp::KERNEL)?;
        let mut users = USERS.lock();
        match users.binary_search_by_key(&uid, |user| user.uid) {
            Ok(place) => users.get(place).cloned().ok_or(AllocError),
            Err(_) => {
                // Accounts that nobody uses go when somebody needs a new one.
                users.retain(|user| KArc::strong_count(user) > 1);
                let place = users.partition_point(|user| user.uid < uid);
                users.insert(place, fresh.clone(), Gfp::NOWAIT)?;
                Ok(fresh)
            }
        }
    }

    /// Whose account this is.
    pub const fn uid(&self) -> u32 {
        self.uid
    }

    /// Counts one more thread.
    pub fn add_process(&self) {
        self.processes.fetch_add(1, Relaxed);
    }

    /// Counts one thread less.
    pub fn remove_process(&self) {
        self.processes.fetch_sub(1, Relaxed);
    }
}
