//! What every Oneshift service repeats, and the one-job server that all workers are.
