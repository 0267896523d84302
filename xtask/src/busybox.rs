//! The applet names inside a busybox binary. It is a riscv64 program that the host cannot ask, but its table of names,
//! sorted and each ended by NUL, is easy to find: it starts with `[` and `[[`.

const FIRST: &[u8] = b"[\0[[\0";

/// Names in the binary's applet table; empty if the table is not where it is expected.
pub(crate) fn applets(binary: &[u8]) -> Vec<String> {
    let Some(at) = binary.windows(FIRST.len()).position(|window| window == FIRST) else {
        return Vec::new();
    };
    let mut names: Vec<String> = Vec::new();
    for name in binary[at..].split(|&b| b == 0) {
        let Ok(name) = std::str::from_utf8(name) else { break };
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "[-_.".contains(c);
        // The table ends where the order does.
        if name.is_empty()
            || !name.chars().all(known)
            || names.last().is_some_and(|last| last.as_str() >= name)
        {
            break;
        }
        names.push(name.into());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_ends_where_the_order_does() {
        let binary = b"\x7fELF junk [\0[[\0ash\0cat\0zcat\0busybox\0more";
        assert_eq!(applets(binary), ["[", "[[", "ash", "cat", "zcat"]);
        assert!(applets(b"no table").is_empty());
    }
}
