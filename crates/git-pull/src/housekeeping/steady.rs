//! A time of day that does not leap ahead, so that a clock that is set makes nothing old at once:
//! a job may wait between two of its steps, and its folder is nobody's then.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A clock that is this much ahead was set; anything less is how clocks are.
const SLACK: Duration = Duration::from_secs(60);

/// What the machine's clocks say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clocks {
    /// Which run of the machine this is.
    boot: String,
    /// How long it has been up, which nobody can set.
    up: Duration,
    /// The time of day, since 1970.
    time: Duration,
}

/// What is kept from one worker's housekeeping to the next one's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    /// With the time of day that was believed.
    clocks: Clocks,
    /// For how long the machine had been up when a leap ahead was noticed that is not yet believed.
    leapt_at: Option<Duration>,
}

/// The time of day, by a note in the file `path`. A leap ahead counts once `patience` has passed
/// since; what was there before it is as old as that by then.
pub(super) fn now(path: &Path, patience: Duration) -> SystemTime {
    let Some(clocks) = Clocks::read() else { return SystemTime::now() };
    let note = fs::read_to_string(path).ok().and_then(|text| Note::parse(&text));
    let note = match note {
        Some(note) => note.after(clocks, patience),
        None => Note { clocks, leapt_at: None },
    };
    // Without it, the next worker reckons from an older one; half of it is none.
    let _ = fs::write(path, note.to_line());
    SystemTime::UNIX_EPOCH + note.clocks.time
}

impl Clocks {
    fn read() -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let up = uptime.split(' ').next()?.parse().ok()?;
        Some(Self {
            boot: boot.trim().to_owned(),
            up: Duration::try_from_secs_f64(up).ok()?,
            time: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?,
        })
    }
}

impl Note {
    /// What to believe now.
    fn after(self, clocks: Clocks, patience: Duration) -> Self {
        let passed = clocks.up.checked_sub(self.clocks.up);
        let Some(passed) = passed.filter(|_| clocks.boot == self.clocks.boot) else {
            return Self { clocks, leapt_at: None };
        };
        let due = self.clocks.time + passed;
        let leapt_at = self.leapt_at.unwrap_or(clocks.up);
        if clocks.time <= due + SLACK || clocks.up.saturating_sub(leapt_at) > patience {
            return Self { clocks, leapt_at: None };
        }
        tracing::warn!("the clock has leapt ahead; nothing counts as older for that");
        Self { clocks: Clocks { time: due, ..clocks }, leapt_at: Some(leapt_at) }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let boot = words.next()?.to_owned();
        let mut next = || words.next()?.parse().ok().map(Duration::from_millis);
        let (up, time) = (next()?, next()?);
        Some(Self { clocks: Clocks { boot, up, time }, leapt_at: next() })
    }

    fn to_line(&self) -> String {
        let Clocks { boot, up, time } = &self.clocks;
        let leapt_at = self.leapt_at.map_or("-".to_owned(), |at| at.as_millis().to_string());
        format!("{boot} {} {} {leapt_at}\n", up.as_millis(), time.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const PATIENCE: Duration = HOUR.saturating_mul(72);

    /// The machine has been up for so many hours, and this is its clock.
    fn clocks(up: u32, time: u32) -> Clocks {
        Clocks { boot: "b".to_owned(), up: HOUR * up, time: HOUR * time }
    }

    fn noted(up: u32, time: u32) -> Note {
        Note { clocks: clocks(up, time), leapt_at: None }
    }

    #[test]
    fn an_ordinary_clock_is_believed() {
        let later = noted(1, 1000).after(clocks(90, 1089), PATIENCE);
        assert_eq!(later, noted(90, 1089));
    }

    #[test]
    fn a_leap_ahead_counts_only_after_the_patience() {
        let leapt = noted(1, 1000).after(clocks(2, 9000), PATIENCE);
        assert_eq!(leapt.clocks, clocks(2, 1001));
        let later = leapt.after(clocks(73, 9071), PATIENCE);
        assert_eq!(later.clocks, clocks(73, 1072));
        assert_eq!(later.clone().after(clocks(75, 9073), PATIENCE), noted(75, 9073));
        // Set right again, it is believed at once.
        assert_eq!(later.after(clocks(74, 1073), PATIENCE), noted(74, 1073));
    }

    #[test]
    fn a_clock_that_is_set_back_and_another_run_of_the_machine_are_believed() {
        assert_eq!(noted(1, 1000).after(clocks(2, 500), PATIENCE), noted(2, 500));
        assert_eq!(noted(10, 1000).after(clocks(2, 9000), PATIENCE), noted(2, 9000));
        let other = Clocks { boot: "c".to_owned(), ..clocks(11, 9000) };
        assert_eq!(noted(10, 1000).after(other.clone(), PATIENCE).clocks, other);
    }

    #[test]
    fn a_note_is_read_as_it_was_written_and_half_a_one_is_none() {
        for note in [noted(1, 1000), Note { leapt_at: Some(HOUR), ..noted(2, 9000) }] {
            assert_eq!(Note::parse(&note.to_line()), Some(note));
        }
        for text in ["", "b", "b 1\n", "b 1 2", "b x 2 -\n"] {
            assert_eq!(Note::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_clock_of_this_machine_is_read_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        let before = SystemTime::now() - Duration::from_secs(1);
        let first = now(&path, PATIENCE);
        assert!(first > before && now(&path, PATIENCE) >= first);
        assert!(Note::parse(&fs::read_to_string(&path).unwrap()).is_some());
    }
}
