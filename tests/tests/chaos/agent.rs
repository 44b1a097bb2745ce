//! The agent of these jobs, and what it notes down: what nobody else can make up or forget.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

/// The agents' notes.
#[derive(Debug)]
pub(crate) struct Notes {
    folder: TempDir,
}

/// What one job's agents noted.
#[derive(Debug)]
pub(crate) struct Runs {
    /// How often an agent began.
    pub(crate) count: u64,
    /// Whether the last one got as far as changing a file.
    pub(crate) has_written: bool,
}

/// Two jobs with the same key that ran at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlap {
    pub(crate) earlier: String,
    pub(crate) later: String,
}

/// Notes that it runs; holds a lock for its job and one for its key, and notes if somebody has them;
/// leaves a process behind that wants to outlive it, and holds the locks too; changes a file, at once,
/// since a stop may come at any moment; does what the prompt's first line says.
const SCRIPT: &str = r#"
job=${PWD%/repo} job=${job##*/}
read -r nap code key
echo $$ >> "$NOTES/$job.runs"
exec 8>> "$NOTES/$job.lock"
flock -n 8 || echo "$job" >> "$NOTES/doubled"
if [ "$key" != - ]; then
    exec 9>> "$NOTES/$key.lock"
    if flock -n 9; then
        echo "$job" > "$NOTES/$key.holder"
    else
        echo "$(cat "$NOTES/$key.holder") $job" >> "$NOTES/overlaps"
    fi
fi
setsid sleep 1000 > /dev/null 2>&1 < /dev/null &
cat > "$TMPDIR/NEW.md"
mv "$TMPDIR/NEW.md" NEW.md
echo $$ >> "$NOTES/$job.wrote"
for i in 1 2 3; do echo line $i; done
sleep "$nap"
echo did
exit "$code"
"#;

impl Notes {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("there is room for a temporary folder") }
    }

    /// The agent's command, for `ONESHIFT_AGENT_COMMAND`.
    pub(crate) fn command(&self) -> String {
        let script = format!("NOTES='{}'\n{SCRIPT}", self.path().display());
        json!(["sh", "-c", script]).to_string()
    }

    pub(crate) fn of(&self, job: &str) -> Runs {
        let (runs, wrote) =
            (self.lines(&format!("{job}.runs")), self.lines(&format!("{job}.wrote")));
        Runs {
            count: runs.len() as u64,
            has_written: runs.last().is_some_and(|last| wrote.last() == Some(last)),
        }
    }

    /// Jobs that had two agents at the same time.
    pub(crate) fn doubled(&self) -> Vec<String> {
        self.lines("doubled")
    }

    pub(crate) fn overlaps(&self) -> Vec<Overlap> {
        let parse = |line: String| {
            let (earlier, later) = line.split_once(' ').unwrap_or(("", &line));
            Overlap { earlier: earlier.to_owned(), later: later.to_owned() }
        };
        self.lines("overlaps").into_iter().map(parse).collect()
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}
