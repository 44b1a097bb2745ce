//! The demo's agent: no model, but it really reads the files and really writes.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::view::out;

/// What it writes.
const README: &str = "README.md";

/// Most files that are looked at.
const MAX_FILES: usize = 100;

/// Reads the prompt, looks at the files of the working directory and describes them in a
/// README.md.
pub(crate) fn scripted_agent() -> anyhow::Result<ExitCode> {
    let mut prompt = String::new();
    std::io::stdin().read_to_string(&mut prompt).context("cannot read the prompt")?;
    out::line(&format!("I was asked: {}", prompt.trim()))?;
    let files = files(Path::new("."))?;
    out::line(&format!("I look at {} files.", files.len()))?;
    let mut entries = String::new();
    for path in &files {
        let name = path.display();
        let about = first_comment(path).unwrap_or_else(|| "no description".to_owned());
        out::line(&format!("  {name}: {about}"))?;
        // Writing to a string cannot fail.
        let _ = writeln!(entries, "- `{name}`: {about}");
    }
    let text = format!("# What is in this repository\n\n{entries}");
    std::fs::write(README, text).with_context(|| format!("cannot write {README}"))?;
    out::line(&format!("I wrote {README}."))?;
    Ok(ExitCode::SUCCESS)
}

/// The files below a folder, sorted, without hidden ones.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && found.len() < MAX_FILES {
                found.push(path.strip_prefix("./").map(Path::to_owned).unwrap_or(path));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The first line of a file that is a comment, or any line if there is none.
fn first_comment(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with("#!"));
    let comment = lines.find_map(|line| {
        let marks = ["#", "//", "\"\"\"", "--"];
        marks.iter().find_map(|mark| line.strip_prefix(mark))
    });
    let comment = comment.map(|text| text.trim_matches(['/', '!', '"', ' ']).to_owned());
    comment.filter(|text| !text.is_empty())
}
