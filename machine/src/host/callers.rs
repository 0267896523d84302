//! Who called, on the host: the functions of a backtrace by their names.
//!
//! `std` gives a backtrace as text only, so what stands for an address is where a name is kept, once for
//! each name and for ever: for tests, which know few.

use std::backtrace::Backtrace;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::cold::{TellSymbol, Who};

/// All names told so far.
static NAMES: Mutex<Option<HashSet<&'static String>>> = Mutex::new(None);

/// See [`crate::cold::Cold::callers`].
pub(crate) fn callers(callers: &mut [usize]) -> usize {
    let trace = Backtrace::force_capture().to_string();
    // "  12: some::function", and perhaps a line with the place in the source.
    let names = trace.lines().filter_map(|line| {
        let (number, name) = line.trim_start().split_once(": ")?;
        number.parse::<u32>().ok().map(|_| name)
    });
    let mut known = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    let mut count = 0;
    let ours = names
        .skip_while(|name| !name.starts_with("rux_machine::"))
        .skip_while(|name| name.starts_with("rux_machine::"));
    for (out, name) in callers.iter_mut().zip(ours) {
        let name = name.to_string();
        let kept = match known.get(&name) {
            Some(kept) => *kept,
            None => {
                let kept: &'static String = Box::leak(Box::new(name));
                known.insert(kept);
                kept
            }
        };
        *out = core::ptr::from_ref(kept).expose_provenance();
        count += 1;
    }
    count
}

/// See [`crate::cold::Cold::symbol`].
pub(crate) fn symbol(caller: usize, tell: TellSymbol<'_>) -> bool {
    let known = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(name) = known.iter().flatten().find(|name| core::ptr::from_ref(**name).addr() == caller) else {
        return false;
    };
    tell(name, 0);
    true
}

/// See [`crate::cold::Cold::who`]: the thread of the process, which has no number that is told.
pub(crate) fn who() -> Who {
    let mut comm = [0; 16];
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("").as_bytes();
    // A test's thread is called by the whole path of the test: its end says more.
    let name = &name[name.len().saturating_sub(15)..];
    comm[..name.len()].copy_from_slice(name);
    Who { tid: 0, comm }
}
