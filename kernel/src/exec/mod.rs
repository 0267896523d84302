//! Running another program: `execve` (Linux: `fs/exec.c`).
//!
//! | room | what |
//! |---|---|
//! | `strings` | arguments and environment, on their way |
//! | `elf`, `script` | what a file is |
//! | `load`, `stack` | making the new address space |
//! | `switch` | the running process becomes the new program |
//!
//! The new address space is made completely before the old one is touched. What fails up to the mapping of
//! segments is an errno for the caller; what fails later ends the process, as on Linux, where the old
//! program is gone by then.

mod elf;
mod load;
pub(crate) mod persona;
mod script;
mod stack;
mod strings;
mod switch;

pub use switch::execve;

use linux_raw_sys::general as linux;
use rux_mm::addr::VirtAddr;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};
use rux_mm::space::{Randomize, Space, SpaceConfig};

use self::elf::Image;
use self::strings::Strings;
use crate::errno::{Errno, Result};
use crate::fs::mount::MountFlags;
use crate::fs::namei::Lookup;
use crate::fs::{self, Caller, File};
use crate::process::{Cred, Resource, Rlimits};
use crate::vdso;

/// Bytes of a file by which its kind is known (Linux: `BINPRM_BUF_SIZE`).
const HEAD_SIZE: usize = 256;
/// How often one interpreter may need another.
const MAX_DEPTH: usize = 5;

/// A program that is ready to run.
pub struct Program {
    /// Its memory.
    pub space: KArc<Space>,
    /// Its first instruction.
    pub entry: VirtAddr,
    /// Its stack pointer.
    pub stack: VirtAddr,
    /// The file (`/proc/PID/exe`).
    pub file: KArc<File>,
    /// For whom it acts.
    pub cred: Cred,
    /// What it wants otherwise than usual (`personality`).
    pub personality: u32,
    /// Where its vDSO is.
    pub vdso: VirtAddr,
    /// Its name: the last component of what was executed.
    pub comm: [u8; 15],
}

/// Why a program cannot be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExecError {
    /// Before anything was done: the caller goes on.
    Refused(Errno),
    /// Past what Linux comes back from: the caller ends by SIGSEGV.
    Failed,
}

impl From<Errno> for ExecError {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

/// What is to be run.
struct Request<'a> {
    caller: Caller<'a>,
    cred: &'a KArc<Cred>,
    limits: &'a Rlimits,
    dirfd: i32,
    path: &'a [u8],
    lookup: Lookup,
    /// `personality`.
    personality: u32,
    /// `PR_SET_NO_NEW_PRIVS`: set-id bits do nothing.
    no_new_privs: bool,
}

/// Opens the file, follows scripts to their interpreters, and makes the address space.
fn prepare(
    request: &Request<'_>,
    mut args: Strings,
    env: &Strings,
) -> core::result::Result<Program, ExecError> {
    let mut file = fs::open::open_exec(request.caller, request.dirfd, request.path, request.lookup)?;
    let mut path = KVec::from_slice(request.path, Gfp::KERNEL).map_err(Errno::from)?;
    if request.dirfd != fs::namei::AT_FDCWD && request.path.first() != Some(&b'/') {
        path = descriptor_path(request)?;
    }
    let shown = path.try_clone(Gfp::KERNEL).map_err(Errno::from)?;
    if args.count() == 0 {
        args.push(b"")?;
    }
    for _ in 0..=MAX_DEPTH {
        let mut head = [0; HEAD_SIZE];
        file.kernel_read(&mut head, 0)?;
        let Some(line) = script::parse(&head)? else {
            return finish(request, file, &head, &args, env, &shown);
        };
        // The interpreter could not open a descriptor that exec closes.
        let mut longer = Strings::new(strings::room(request.limits.get(Resource::STACK).soft));
        longer.push(line.interpreter)?;
        if let Some(argument) = line.argument {
            longer.push(argument)?;
        }
        longer.push(&path)?;
        longer.push_all(&args, 1)?;
        args = longer;
        path = KVec::from_slice(line.interpreter, Gfp::KERNEL).map_err(Errno::from)?;
        file = fs::open::open_interpreter(request.caller, &path)?;
    }
    Err(ExecError::Refused(Errno::ELOOP))
}

/// The path by which an interpreter finds what was named by a descriptor: `/dev/fd/N` or `/dev/fd/N/path`.
fn descriptor_path(request: &Request<'_>) -> Result<KVec<u8>> {
    let text = rux_mm::slab::KString::format(format_args!("/dev/fd/{}", request.dirfd), Gfp::KERNEL)?;
    let mut path = text.into_bytes();
    if !request.path.is_empty() {
        path.push(b'/', Gfp::KERNEL)?;
        path.extend_from_slice(request.path, Gfp::KERNEL)?;
    }
    Ok(path)
}

/// Makes the address space of the ELF file `file`.
fn finish(
    request: &Request<'_>,
    file: KArc<File>,
    head: &[u8; HEAD_SIZE],
    args: &Strings,
    env: &Strings,
    path: &[u8],
) -> core::result::Result<Program, ExecError> {
    let program = Image::parse(file.clone(), head)?;
    let interpreter = match program.interpreter()? {
        Some(path) => Some(open_interpreter(request.caller, &path)?),
        None => None,
    };
    let NewCred { cred, secure, set_id } = new_cred(request, &file)?;
    let personality = persona::for_program(request.personality, set_id);
    let randomize = persona::randomize(personality);
    let space = Space::new(&SpaceConfig {
        task_size: rux_mm::paging::mode().user_end(),
        randomize,
        legacy_layout: personality & persona::COMPAT_LAYOUT != 0,
        limits: request.limits.of_memory(&cred),
    })
    .map_err(Errno::from)?;
    let contents = |vdso| stack::Contents {
        args,
        env,
        path,
        cred: &cred,
        secure,
        phnum: program.segments.len(),
        vdso,
        randomize: randomize != Randomize::Nothing,
    };
    let room = stack::string_bytes(args, env, path);
    let how = load::How { randomize: randomize != Randomize::Nothing, reads: persona::reads(personality) };
    let made = load::load(&space, &program, interpreter.as_ref(), room, how).and_then(|mut loaded| {
        let vdso = vdso::map(&space)?;
        let stack = stack::fill(&space, &mut loaded, &contents(vdso))?;
        space.set_exec_fields(loaded.fields);
        if personality & persona::PAGE_ZERO != 0 {
            // Who may not map there goes without.
            let _ = load::map_page_zero(&space);
        }
        Ok((loaded.start, stack, vdso))
    });
    let (entry, stack, vdso) = made.map_err(|_| ExecError::Failed)?;
    Ok(Program { space, entry, stack, file, cred, personality, vdso, comm: comm(path) })
}

/// Opens the ELF file that another one names as its interpreter.
fn open_interpreter(caller: Caller<'_>, path: &[u8]) -> Result<Image> {
    if path.is_empty() {
        // Linux takes an empty name for the current directory, which cannot be executed.
        return Err(Errno::EACCES);
    }
    let file = fs::open::open_interpreter(caller, path)?;
    let mut head = [0; HEAD_SIZE];
    if file.kernel_read(&mut head, 0)? < 64 {
        return Err(Errno::EIO);
    }
    Image::parse(file, &head).map_err(|error| match error {
        Errno::ENOEXEC => Errno::ELIBBAD,
        other => other,
    })
}

/// For whom a program will act.
struct NewCred {
    cred: Cred,
    /// It must be careful, since it may do more than its caller.
    secure: bool,
    /// The file has a set-id bit that counts.
    set_id: bool,
}

/// For whom the program will act: set-id bits count, unless the mount says otherwise (Linux:
/// `bprm_creds_from_file`).
fn new_cred(request: &Request<'_>, file: &File) -> Result<NewCred> {
    let old = request.cred;
    let mut cred = Cred::clone(old);
    let attributes = file.inode().attributes();
    let mut set_id = false;
    if !request.no_new_privs && !file.path.mount.flags().contains(MountFlags::NOSUID) {
        if attributes.mode & linux::S_ISUID != 0 {
            cred.euid = attributes.uid;
            set_id = true;
        }
        if attributes.mode & (linux::S_ISGID | linux::S_IXGRP) == linux::S_ISGID | linux::S_IXGRP {
            cred.egid = attributes.gid;
            set_id = true;
        }
    }
    let id_changed = cred.euid != old.uid || cred.egid != old.gid;
    cred.fit_caps_to_exec();
    let secure = id_changed || old.uid != 0 && cred.effective != cred.ambient;
    Ok(NewCred { cred, secure, set_id })
}

/// The name of a program: the last component of its path, cut.
fn comm(path: &[u8]) -> [u8; 15] {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let mut comm = [0; 15];
    let len = name.len().min(comm.len());
    comm[..len].copy_from_slice(&name[..len]);
    comm
}

/// `AT_HWCAP`: the single-letter extensions that programs may use.
pub(crate) fn hwcap() -> u64 {
    crate::dt::platform().isa.hwcap()
}

/// A random number.
fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    rux_machine::cold::random(&mut bytes);
    u64::from_ne_bytes(bytes)
}

/// Makes PID 1's program: `path` with these arguments, as root.
///
/// # Errors
/// As `execve`.
pub(crate) fn first_program(
    caller: Caller<'_>,
    limits: &Rlimits,
    path: &[u8],
    argv: &[&[u8]],
    envp: &[&[u8]],
) -> core::result::Result<Program, ExecError> {
    let room = strings::room(limits.get(Resource::STACK).soft);
    let (mut args, mut env) = (Strings::new(room), Strings::new(room));
    for arg in argv {
        args.push(arg)?;
    }
    for var in envp {
        env.push(var)?;
    }
    let request = Request {
        caller,
        cred: caller.cred,
        limits,
        dirfd: fs::namei::AT_FDCWD,
        path,
        lookup: Lookup::FOLLOW,
        personality: 0,
        no_new_privs: false,
    };
    prepare(&request, args, &env)
}
