//! The kernel's command line, from `/chosen/bootargs`: `name=value` words, then ` -- ` and what is
//! for init.

use crate::dt;

/// All of it.
pub fn get() -> &'static str {
    dt::platform().bootargs
}

/// What is for the kernel, and what is for init.
fn parts() -> (&'static str, &'static str) {
    let all = get();
    let mut from = 0;
    for word in all.split_ascii_whitespace() {
        // The word is a part of `all`, so its distance from the start is within.
        let at = word.as_ptr() as usize - all.as_ptr() as usize;
        if word == "--" {
            return (&all[..at], &all[at + 2..]);
        }
        from = at + word.len();
    }
    (&all[..from], "")
}

/// The value of the last `name=value` before ` -- `.
pub fn value(name: &str) -> Option<&'static str> {
    let words = parts().0.split_ascii_whitespace();
    words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')).next_back()
}

/// Whether `name` stands alone before ` -- `.
pub fn flag(name: &str) -> bool {
    parts().0.split_ascii_whitespace().any(|word| word == name)
}

/// The words after ` -- `, still percent-encoded.
pub fn init_args() -> core::str::SplitAsciiWhitespace<'static> {
    parts().1.split_ascii_whitespace()
}
