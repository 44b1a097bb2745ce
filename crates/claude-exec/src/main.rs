//! One-job worker that runs a coding agent in a checkout and judges how it ended.

fn main() {}
