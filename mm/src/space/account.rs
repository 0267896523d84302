/// Pages promised to programs (`Committed_AS`).
pub fn committed_pages() -> u64 {
    unimplemented!()
}

/// Pages that may be promised where overcommit is off (`CommitLimit`).
pub fn commit_limit() -> u64 {
    unimplemented!()
}
