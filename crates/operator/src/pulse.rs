//! The sign of life that the `health` command looks at: a file that is written in each turn.
//!
//! It says that the operator turns, not that Docker and the gateway answer: replacing the operator
//! would not bring them back, and what it cannot reach it says in its report and its log.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The longest turn waits for Docker and for the gateway until it gives both up.
const LONGEST_TURN: Duration = Duration::from_secs(120);

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Pulse(PathBuf);

impl Pulse {
    /// In the folder for temporary files, of which a container has its own.
    pub(crate) fn here() -> Self {
        Self(std::env::temp_dir().join("oneshift-operator.alive"))
    }

    /// The operator lives now.
    pub(crate) fn beat(&self) -> io::Result<()> {
        std::fs::write(&self.0, "alive\n")
    }

    /// Whether the operator lived a moment ago.
    pub(crate) fn check(&self) -> io::Result<()> {
        let written = self.0.metadata()?.modified()?;
        match written.elapsed() {
            Ok(age) if age > LONGEST_TURN => {
                let age = age.as_secs();
                Err(io::Error::other(format!("its last sign of life was {age} s ago")))
            }
            // A clock that was set back makes no operator dead.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_sign_of_life_counts_for_two_minutes() {
        let folder = tempfile::tempdir().unwrap();
        let pulse = Pulse(folder.path().join("alive"));
        assert_eq!(pulse.check().unwrap_err().kind(), io::ErrorKind::NotFound);
        pulse.beat().unwrap();
        pulse.check().unwrap();
        let file = File::options().write(true).open(&pulse.0).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(200)).unwrap();
        let fault = pulse.check().unwrap_err().to_string();
        assert!(fault.starts_with("its last sign of life was 20"), "{fault}");
        pulse.beat().unwrap();
        pulse.check().unwrap();
    }
}
