//! One-job worker that pulls a repository into the workspace and delivers what changed in it.

fn main() {}
