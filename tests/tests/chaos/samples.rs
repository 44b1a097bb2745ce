//! What the long-lived processes of a house use, and how much there is on disk.

use std::fs;
use std::path::Path;

use crate::fit;

/// What is measured of a house at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Seconds since the start.
    pub(crate) at: f64,
    /// Jobs that were accepted so far.
    pub(crate) jobs: u32,
    pub(crate) gateway: Process,
    pub(crate) supervisor: Process,
    /// Mebibytes of files.
    pub(crate) store: f64,
    pub(crate) workspace: f64,
}

/// What a process uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    /// Mebibytes of resident memory.
    pub(crate) memory: f64,
    /// Open files and threads.
    pub(crate) files: f64,
    pub(crate) threads: f64,
}

/// A series of measurements, and how much it may rise from the first to the last.
#[derive(Clone, Copy)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    value: fn(&Sample) -> f64,
    /// In its own unit, or as a part of its mean, whichever is more.
    margin: f64,
    part: f64,
}

/// What must be flat. The margins are what the allocator and the caches of a process may still gain
/// once it is warm; files and threads come and go with connections and with work that blocks.
pub(crate) const FLAT: [Series; 7] = [
    Series { name: "gateway memory, MiB", value: |it| it.gateway.memory, margin: 2.0, part: 0.05 },
    Series { name: "gateway open files", value: |it| it.gateway.files, margin: 4.0, part: 0.0 },
    Series { name: "gateway threads", value: |it| it.gateway.threads, margin: 4.0, part: 0.0 },
    Series {
        name: "oneshift up memory, MiB",
        value: |it| it.supervisor.memory,
        margin: 1.0,
        part: 0.05,
    },
    Series {
        name: "oneshift up open files",
        value: |it| it.supervisor.files,
        margin: 4.0,
        part: 0.0,
    },
    Series {
        name: "oneshift up threads",
        value: |it| it.supervisor.threads,
        margin: 2.0,
        part: 0.0,
    },
    // As large as the jobs of the last half minute, which are not always as many.
    Series { name: "workspace, MiB", value: |it| it.workspace, margin: 1.0, part: 0.25 },
];

impl Process {
    /// What a process uses now.
    pub(crate) fn now(id: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1));
            number.and_then(|number| number.parse::<f64>().ok()).expect("the process is there")
        };
        Self {
            memory: field("VmRSS") / 1024.0,
            // Only root may look, as these processes hide from others of their own user.
            files: fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count) as f64,
            threads: field("Threads"),
        }
    }
}

/// Mebibytes of all files below a folder; what goes away meanwhile counts for nothing.
pub(crate) fn mebibytes_below(folder: &Path) -> f64 {
    fn bytes(folder: &Path) -> u64 {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let size = |entry: fs::DirEntry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes(&entry.path()),
            metadata => metadata.map_or(0, |metadata| metadata.len()),
        };
        entries.map(size).sum()
    }
    bytes(folder) as f64 / (1024.0 * 1024.0)
}

impl Series {
    /// How much the series rises in these samples.
    pub(crate) fn rise(&self, samples: &[Sample]) -> f64 {
        let points: Vec<_> = samples.iter().map(|it| (it.at, (self.value)(it))).collect();
        fit::rise(&points)
    }

    /// How much it may.
    pub(crate) fn margin(&self, samples: &[Sample]) -> f64 {
        let sum: f64 = samples.iter().map(self.value).sum();
        (self.part * sum / (samples.len().max(1) as f64)).max(self.margin)
    }
}
