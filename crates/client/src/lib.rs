//! Posts a job, follows its stream with resume, leases a worker.
