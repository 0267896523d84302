//! The file systems that a userland expects. Rux has mounted them before init starts; on Linux init does it.

use std::ffi::CStr;

/// `(type, where, options, a file that is there once it is mounted)`.
const TABLE: [(&CStr, &CStr, &CStr, &str); 4] = [
    (c"proc", c"/proc", c"", "/proc/version"),
    (c"devtmpfs", c"/dev", c"", "/dev/null"),
    (c"tmpfs", c"/dev/shm", c"mode=1777", ""),
    (c"tmpfs", c"/tmp", c"mode=1777", ""),
];

pub fn all() {
    let on_rux = std::fs::metadata("/proc/version").is_ok();
    for (kind, target, options, witness) in TABLE {
        if on_rux || (!witness.is_empty() && std::fs::metadata(witness).is_ok()) {
            continue;
        }
        // SAFETY: paths and options end in NUL.
        unsafe {
            libc::mkdir(target.as_ptr(), 0o755);
            if libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) != 0 {
                let why = std::io::Error::last_os_error();
                println!("init: mount {}: {why}", target.to_string_lossy());
            }
        }
    }
}
