//! One-job worker that puts the steps of a job in order.

fn main() {}
