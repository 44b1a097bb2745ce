//! Copies a local repository's objects as the files that they are in, which is many times quicker
//! than packing them anew.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::fault::Fault;
use crate::mirror::Work;
use crate::progress::Phase;

/// Between two looks at whether the job is stopped.
const STEP_BYTES: u64 = 32 * 1024 * 1024;

/// One file to copy, below both folders of objects.
struct Part {
    name: PathBuf,
    bytes: u64,
}

/// Copies all objects from one folder of objects to another; false when that is not possible, or
/// the files changed meanwhile.
pub(crate) fn copy_objects(from: &Path, to: &Path, work: &Work<'_>) -> Result<bool, Fault> {
    // What it borrows from elsewhere would be missing.
    if from.join("info/alternates").exists() {
        return Ok(false);
    }
    let Ok(mut parts) = parts(from) else { return Ok(false) };
    // An index makes its pack known, so it comes after all packs.
    parts.sort_by_key(|part| part.name.extension().is_some_and(|extension| extension == "idx"));
    let total = parts.iter().map(|part| part.bytes).sum();
    let mut copied = 0;
    for part in &parts {
        match copy(part, from, to, work) {
            Ok(()) => copied += part.bytes,
            Err(Fault::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                return Ok(false);
            }
            Err(fault) => return Err(fault),
        }
        work.progress.report(Phase::Receiving, copied, total, copied);
    }
    Ok(true)
}

fn parts(objects: &Path) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for folder in fs::read_dir(objects)? {
        let folder = folder?;
        let name = folder.file_name();
        let name_length = name.len();
        let is_pack = name == "pack";
        if !is_pack && name_length != 2 {
            continue;
        }
        for file in fs::read_dir(folder.path())? {
            let file = file?;
            let path = Path::new(&name).join(file.file_name());
            let extension = path.extension().and_then(|extension| extension.to_str());
            // Beside packs and their indexes there is only what git can make again.
            let is_wanted = match extension {
                Some("pack" | "idx") => is_pack,
                None => !is_pack && file.file_name().len() == 38,
                Some(_) => false,
            };
            if is_wanted {
                parts.push(Part { name: path, bytes: fs::metadata(file.path())?.len() });
            }
        }
    }
    Ok(parts)
}

/// Copies one file, which is to be seen only when it is whole.
fn copy(part: &Part, from: &Path, to: &Path, work: &Work<'_>) -> Result<(), Fault> {
    let fault = || Fault::io("copy the repository");
    let target = to.join(&part.name);
    let folder = target.parent().unwrap_or(to);
    fs::create_dir_all(folder).map_err(fault())?;
    let mut source = File::open(from.join(&part.name)).map_err(fault())?;
    let mut file = tempfile::Builder::new()
        .prefix("tmp_copy_")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o444))
        .tempfile_in(folder)
        .map_err(fault())?;
    loop {
        if work.stop.is_cancelled() {
            return Err(Fault::Stopped);
        }
        let step = io::copy(&mut (&mut source).take(STEP_BYTES), file.as_file_mut());
        if step.map_err(fault())? < STEP_BYTES {
            break;
        }
    }
    file.persist(&target).map_err(|error| fault()(error.error))?;
    Ok(())
}
