//! What worker and guard say to each other over the control socket, a byte or a line at a time.

use std::io;

/// What the worker tells its guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// SIGINT to the program's process group.
    Interrupt,
    /// SIGTERM to the program's process group.
    Terminate,
    /// SIGKILL to everything.
    Kill,
}

impl Order {
    /// The order's byte on the socket.
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Interrupt => b'i',
            Self::Terminate => b't',
            Self::Kill => b'k',
        }
    }

    /// The order of a byte.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Interrupt, Self::Terminate, Self::Kill].into_iter().find(|o| o.to_byte() == byte)
    }
}

/// What the guard tells the worker at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The program could not be started; the system's error number.
    NotStarted(i32),
    /// The program ended.
    Ended {
        /// Its exit code; 128 + n when signal n ended it.
        exit_code: i32,
        /// How many processes outlived it and were killed.
        leftovers: u32,
    },
}

impl Report {
    /// The report's line on the socket.
    pub(crate) fn to_line(self) -> String {
        match self {
            Self::NotStarted(error) => format!("not-started {error}\n"),
            Self::Ended { exit_code, leftovers } => format!("ended {exit_code} {leftovers}\n"),
        }
    }

    /// The report in what the guard wrote, if it got as far as that.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let report = match words.next()? {
            "not-started" => Self::NotStarted(words.next()?.parse().ok()?),
            "ended" => Self::Ended {
                exit_code: words.next()?.parse().ok()?,
                leftovers: words.next()?.parse().ok()?,
            },
            _ => return None,
        };
        words.next().is_none().then_some(report)
    }

    /// The report of a failed start.
    pub(crate) fn not_started(error: &io::Error) -> Self {
        Self::NotStarted(error.raw_os_error().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_reports_survive_the_socket() {
        for order in [Order::Interrupt, Order::Terminate, Order::Kill] {
            assert_eq!(Order::from_byte(order.to_byte()), Some(order));
        }
        for report in [Report::NotStarted(2), Report::Ended { exit_code: 137, leftovers: 3 }] {
            assert_eq!(Report::parse(&report.to_line()), Some(report));
        }
    }

    #[test]
    fn half_a_report_is_none() {
        for text in ["", "ended 1", "ended 1\n", "ended x 0\n", "ended 1 0 0\n"] {
            assert_eq!(Report::parse(text), None, "{text:?}");
        }
    }
}
