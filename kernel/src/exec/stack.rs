//! What a program finds on its stack: strings, pointers to them, and the auxiliary vector
//! (Linux: `create_elf_tables`).

use linux_raw_sys::auxvec as aux;
use rux_mm::addr::{PAGE_SIZE, VirtAddr};
use rux_mm::gfp::Gfp;
use rux_mm::slab::KVec;
use rux_mm::space::Space;

use super::elf::PHENT;
use super::load::Loaded;
use super::strings::Strings;
use crate::errno::{Errno, Result};
use crate::process::Cred;
use crate::signal::FRAME_SIZE;

/// What is put on the stack besides what the file says.
pub(super) struct Contents<'a> {
    pub(super) args: &'a Strings,
    pub(super) env: &'a Strings,
    /// The path that was executed (`AT_EXECFN`).
    pub(super) path: &'a [u8],
    pub(super) cred: &'a Cred,
    /// The program gained rights that its caller does not have (`AT_SECURE`).
    pub(super) secure: bool,
    pub(super) phnum: usize,
    pub(super) vdso: VirtAddr,
    pub(super) randomize: bool,
}

/// Bytes that the strings need.
pub(super) fn string_bytes(args: &Strings, env: &Strings, path: &[u8]) -> u64 {
    (args.len() + env.len() + path.len() + 1) as u64 + 8
}

/// Fills the stack; returns the stack pointer of the program's start.
///
/// # Errors
/// `ENOMEM`, `EFAULT`.
pub(super) fn fill(space: &Space, loaded: &mut Loaded, contents: &Contents<'_>) -> Result<VirtAddr> {
    let Contents { args, env, path, .. } = contents;
    let below = |sp: u64, bytes: usize| sp.checked_sub(bytes as u64).ok_or(Errno::ENOMEM);
    // From the top: a null word, the path, the environment, the arguments.
    let path_at = below(below(loaded.stack_top.get(), 8)?, path.len() + 1)?;
    let env_at = below(path_at, env.len())?;
    let args_at = below(env_at, args.len())?;
    space.write_memory(VirtAddr::new(path_at), path)?;
    let mut starts = KVec::with_capacity(args.count() + env.count(), Gfp::KERNEL)?;
    args.write(space, VirtAddr::new(args_at), &mut starts)?;
    env.write(space, VirtAddr::new(env_at), &mut starts)?;
    loaded.fields.arg_start = VirtAddr::new(args_at);
    loaded.fields.arg_end = VirtAddr::new(env_at);
    loaded.fields.env_start = VirtAddr::new(env_at);
    loaded.fields.env_end = VirtAddr::new(path_at);

    let skew = if contents.randomize { super::random_u64() & 0x1ff0 } else { 0 };
    let random_at = below(below(args_at, skew as usize)? & !15, 16)?;
    let mut random = [0; 16];
    rux_machine::cold::random(&mut random);
    space.write_memory(VirtAddr::new(random_at), &random)?;

    let vector = auxiliary(loaded, contents, path_at, random_at);
    let mut words = KVec::with_capacity(starts.len() + 3 + vector.len() * 2, Gfp::KERNEL)?;
    let (arg_starts, env_starts) = starts.split_at_checked(args.count()).ok_or(Errno::ENOMEM)?;
    words.push(args.count() as u64, Gfp::KERNEL)?;
    words.extend_from_slice(arg_starts, Gfp::KERNEL)?;
    words.push(0, Gfp::KERNEL)?;
    words.extend_from_slice(env_starts, Gfp::KERNEL)?;
    words.push(0, Gfp::KERNEL)?;
    for (name, value) in vector {
        words.extend_from_slice(&[name.into(), value], Gfp::KERNEL)?;
    }
    let sp = below(random_at, words.len() * size_of::<u64>())? & !15;
    write_words(space, sp, &words)?;
    loaded.fields.start_stack = VirtAddr::new(sp);
    Ok(VirtAddr::new(sp))
}

/// The auxiliary vector, in Linux's order for RISC-V.
fn auxiliary(loaded: &Loaded, contents: &Contents<'_>, path_at: u64, random_at: u64) -> [(u32, u64); 28] {
    let cred = contents.cred;
    [
        (aux::AT_SYSINFO_EHDR, contents.vdso.get()),
        // QEMU's machine describes no caches, and so Linux says 0 for them, too.
        (aux::AT_L1I_CACHESIZE, 0),
        (aux::AT_L1I_CACHEGEOMETRY, 0),
        (aux::AT_L1D_CACHESIZE, 0),
        (aux::AT_L1D_CACHEGEOMETRY, 0),
        (aux::AT_L2_CACHESIZE, 0),
        (aux::AT_L2_CACHEGEOMETRY, 0),
        (aux::AT_L3_CACHESIZE, 0),
        (aux::AT_L3_CACHEGEOMETRY, 0),
        (aux::AT_MINSIGSTKSZ, FRAME_SIZE),
        (aux::AT_HWCAP, super::hwcap()),
        (aux::AT_PAGESZ, PAGE_SIZE as u64),
        (aux::AT_CLKTCK, 100),
        (aux::AT_PHDR, loaded.phdr),
        (aux::AT_PHENT, PHENT as u64),
        (aux::AT_PHNUM, contents.phnum as u64),
        (aux::AT_BASE, loaded.base),
        (aux::AT_FLAGS, 0),
        (aux::AT_ENTRY, loaded.entry),
        (aux::AT_UID, cred.uid.into()),
        (aux::AT_EUID, cred.euid.into()),
        (aux::AT_GID, cred.gid.into()),
        (aux::AT_EGID, cred.egid.into()),
        (aux::AT_SECURE, contents.secure.into()),
        (aux::AT_RANDOM, random_at),
        (aux::AT_HWCAP2, 0),
        (aux::AT_EXECFN, path_at),
        (aux::AT_NULL, 0),
    ]
}

/// Writes words to `space`.
fn write_words(space: &Space, at: u64, words: &[u64]) -> Result<()> {
    let mut buffer = [0; 512];
    let mut to = at;
    for part in words.chunks(buffer.len() / 8) {
        for (bytes, word) in buffer.chunks_exact_mut(8).zip(part) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let len = part.len() * 8;
        space.write_memory(VirtAddr::new(to), &buffer[..len])?;
        to += len as u64;
    }
    Ok(())
}
