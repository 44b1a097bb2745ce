//! The command line of Oneshift.

fn main() {}
