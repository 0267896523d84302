//! Who a thread acts for: user and group ids, capabilities (Linux: `kernel/cred.c`,
//! `security/commoncap.c`).
//!
//! A [`Cred`] never changes once it is published: a thread that changes its own makes a new one.

use bitflags::bitflags;
use rux_mm::slab::{KArc, KVec};

use super::user::User;
use crate::errno::{Errno, Result};

bitflags! {
    /// Capabilities; the bits are Linux's (`include/uapi/linux/capability.h`).
    #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
    pub struct Caps: u64 {
        /// Give files away.
        const CHOWN = 1 << 0;
        /// Pass over permission bits.
        const DAC_OVERRIDE = 1 << 1;
        /// Pass over permission bits to read and to search.
        const DAC_READ_SEARCH = 1 << 2;
        /// Act as the owner of any file.
        const FOWNER = 1 << 3;
        /// Keep the set-id bits of a file that is changed.
        const FSETID = 1 << 4;
        /// Signal anybody.
        const KILL = 1 << 5;
        /// Change group ids.
        const SETGID = 1 << 6;
        /// Change user ids.
        const SETUID = 1 << 7;
        /// Hand capabilities on.
        const SETPCAP = 1 << 8;
        /// Lock memory past the limit.
        const IPC_LOCK = 1 << 14;
        /// Reach hardware and low addresses.
        const SYS_RAWIO = 1 << 17;
        /// `chroot`.
        const SYS_CHROOT = 1 << 18;
        /// Look into other processes.
        const SYS_PTRACE = 1 << 19;
        /// Mount, name the host, and much else.
        const SYS_ADMIN = 1 << 21;
        /// `reboot`.
        const SYS_BOOT = 1 << 22;
        /// Raise priorities, choose harts for others.
        const SYS_NICE = 1 << 23;
        /// Pass over limits.
        const SYS_RESOURCE = 1 << 24;
        /// Set clocks.
        const SYS_TIME = 1 << 25;
        /// Take over a terminal, `vhangup`.
        const SYS_TTY_CONFIG = 1 << 26;
        /// Make device nodes.
        const MKNOD = 1 << 27;
        /// Read and clear the kernel's log.
        const SYSLOG = 1 << 34;
        /// The rest, up to the last that Linux 6.12 has (`CAP_CHECKPOINT_RESTORE`, 40).
        const _ = (1 << 41) - 1;
    }
}

/// A thread's credentials.
#[derive(Clone, Debug)]
pub struct Cred {
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Saved user id.
    pub suid: u32,
    /// User id for files.
    pub fsuid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Saved group id.
    pub sgid: u32,
    /// Group id for files.
    pub fsgid: u32,
    /// Supplementary groups, sorted; `None` for none.
    pub groups: Option<KArc<KVec<u32>>>,
    /// Capabilities that an executed file could be given.
    pub inheritable: Caps,
    /// Capabilities that may become effective.
    pub permitted: Caps,
    /// Capabilities that count.
    pub effective: Caps,
    /// Capabilities that may ever be gained.
    pub bounding: Caps,
    /// Capabilities that survive an exec without privilege.
    pub ambient: Caps,
    /// `PR_SET_KEEPCAPS`: keep the permitted capabilities when all ids leave 0.
    pub keep_caps: bool,
    /// The real user's account, which counts its processes.
    pub user: KArc<User>,
}

impl Cred {
    /// Root's, with every capability.
    pub fn root(user: KArc<User>) -> Self {
        Self {
            uid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            gid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            groups: None,
            inheritable: Caps::empty(),
            permitted: Caps::all(),
            effective: Caps::all(),
            bounding: Caps::all(),
            ambient: Caps::empty(),
            keep_caps: false,
            user,
        }
    }

    /// Whether `cap` is effective (Linux: `capable`).
    #[inline]
    pub const fn capable(&self, cap: Caps) -> bool {
        self.effective.contains(cap)
    }

    /// `EPERM` unless `cap` is effective.
    pub const fn require(&self, cap: Caps) -> Result<()> {
        if self.capable(cap) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// Whether `gid` is the group for files or a supplementary one (Linux: `in_group_p`).
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.has_supplementary(gid)
    }

    /// Whether `gid` is the effective group or a supplementary one (Linux: `in_egroup_p`).
    pub fn in_effective_group(&self, gid: u32) -> bool {
        self.egid == gid || self.has_supplementary(gid)
    }

    fn has_supplementary(&self, gid: u32) -> bool {
        self.groups.as_ref().is_some_and(|groups| groups.binary_search(&gid).is_ok())
    }

    /// Fits the capabilities to changed user ids, `self` being what `old` became (Linux:
    /// `cap_emulate_setxuid`).
    pub fn fit_caps(&mut self, old: &Self) {
        let had_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
        let has_root = self.uid == 0 || self.euid == 0 || self.suid == 0;
        if had_root && !has_root {
            if !self.keep_caps {
                self.permitted = Caps::empty();
                self.effective = Caps::empty();
            }
            self.ambient = Caps::empty();
        }
        if old.euid == 0 && self.euid != 0 {
            self.effective = Caps::empty();
        }
        if old.euid != 0 && self.euid == 0 {
            self.effective = self.permitted;
        }
    }

    /// Fits the capabilities for files to a changed `fsuid` (Linux: `cap_task_fix_setuid`, `LSM_SETID_FS`).
    pub fn fit_file_caps(&mut self, old: &Self) {
        let files = Caps::CHOWN
            | Caps::MKNOD
            | Caps::DAC_OVERRIDE
            | Caps::DAC_READ_SEARCH
            | Caps::FOWNER
            | Caps::FSETID
            | Caps::from_bits_retain(1 << 9 | 1 << 32);
        if old.fsuid == 0 && self.fsuid != 0 {
            self.effective.remove(files);
        }
        if old.fsuid != 0 && self.fsuid == 0 {
            self.effective.insert(self.permitted & files);
        }
    }

    /// What the capabilities become when a program is executed without set-id bits: root's are all that the
    /// bounding set has, others keep the ambient ones (Linux: `cap_bprm_creds_from_file`).
    pub fn fit_caps_to_exec(&mut self) {
        if self.euid == 0 || self.uid == 0 {
            self.permitted = self.bounding | self.inheritable;
            self.ambient = Caps::empty();
        } else {
            self.permitted = self.ambient;
        }
        self.effective = if self.euid == 0 { self.permitted } else { self.ambient };
        self.suid = self.euid;
        self.fsuid = self.euid;
        self.sgid = self.egid;
        self.fsgid = self.egid;
        self.keep_caps = false;
    }
}
