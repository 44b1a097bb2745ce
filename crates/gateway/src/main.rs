//! Front door: accepts, remembers and matches jobs.

fn main() {}
