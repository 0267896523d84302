//! The kernel's command line, from `/chosen/bootargs`: `name=value` words, then ` -- ` and what is
//! for init.

/// All of it.
pub fn get() -> &'static str {
    unimplemented!()
}

/// The value of the last `name=value` before ` -- `.
pub fn value(_name: &str) -> Option<&'static str> {
    unimplemented!()
}

/// Whether `name` stands alone before ` -- `.
pub fn flag(_name: &str) -> bool {
    unimplemented!()
}

/// The words after ` -- `, still percent-encoded.
pub fn init_args() -> core::str::SplitAsciiWhitespace<'static> {
    unimplemented!()
}
