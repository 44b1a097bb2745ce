//! What goes wrong with a pull or a delivery: a reason for programs, a sentence for people.

use std::io;

use service::protocol::{JobId, Outcome, Reason};

/// Why a pull or a delivery ended early. No variant ever holds a credential.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("cannot reach {url}: {cause}")]
    HostUnreachable { url: String, cause: String },
    #[error("cannot connect securely to {url}: {cause}")]
    Insecure { url: String, cause: String },
    #[error("{url} wants a login, and none is known for it")]
    LoginMissing { url: String },
    #[error("{url} refuses the login that it was given")]
    LoginRefused { url: String },
    #[error("there is no repository at {url}, or it is hidden from this login")]
    RepositoryNotFound { url: String },
    #[error("{url} was silent for {seconds} s")]
    Stalled { url: String, seconds: u64 },
    #[error("{url} did not send all that is needed within {seconds} s")]
    TimedOut { url: String, seconds: u64 },
    #[error("the connection to {url} broke off in the middle: {cause}")]
    CutOff { url: String, cause: String },
    #[error("{url} does not answer as a git server does: {what}")]
    NotGit { url: String, what: String },
    #[error("{url} answered with HTTP status {status}")]
    Status { url: String, status: u16 },
    #[error("the server of {url} says: {message}")]
    Server { url: String, message: String },
    #[error("{0}")]
    NotAllowed(String),
    #[error("branch \"{branch}\" does not exist in {url}")]
    BranchNotFound { branch: String, url: String },
    #[error("HEAD of {url} leads to no branch; name one in the request")]
    NoDefaultBranch { url: String },
    #[error("tag \"{branch}\" of {url} does not lead to a commit")]
    NotACommit { branch: String, url: String },
    #[error("directory \"{directory}\" {what} in {url}")]
    DirectoryNotFound { directory: String, what: &'static str, url: String },
    #[error("the disk of the workspace is full")]
    DiskFull,
    #[error("the repository cannot be checked out: {0}")]
    Malformed(String),
    #[error("the cached copy of {url} is damaged: {cause}")]
    MirrorDamaged { url: String, cause: String },
    #[error("cannot {action}: {cause}")]
    Io { action: String, cause: io::Error },
    #[error("cannot {action}: {}", .cause.message())]
    Git { action: String, cause: git2::Error },
    #[error("job {job} has no checkout in this workspace; pull the repository first")]
    NoCheckout { job: JobId },
    #[error("job {job} was pulled from another repository than {url}")]
    OtherRepository { job: JobId, url: String },
    #[error("commit {base} is not in the cached copy of {url}; pull the repository again")]
    BaseMissing { base: String, url: String },
    #[error("{0}")]
    TooLarge(String),
    #[error("the job was stopped")]
    Stopped,
}

impl Fault {
    /// For `map_err`: a system call failed while this was being done, such as `write the index`.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |cause| match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io { action, cause },
        }
    }

    /// For `map_err`: libgit2 failed while this was being done.
    pub(crate) fn git(action: impl Into<String>) -> impl FnOnce(git2::Error) -> Self {
        let action = action.into();
        move |cause| Self::Git { action, cause }
    }

    /// The stable code.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::HostUnreachable { .. } => Reason::HostUnreachable,
            Self::LoginMissing { .. } | Self::LoginRefused { .. } => Reason::LoginRefused,
            Self::RepositoryNotFound { .. } => Reason::RepositoryNotFound,
            Self::Stalled { .. } => Reason::Stalled,
            Self::TimedOut { .. } => Reason::Timeout,
            Self::BranchNotFound { .. }
            | Self::NoDefaultBranch { .. }
            | Self::NotACommit { .. } => Reason::BranchNotFound,
            Self::DirectoryNotFound { .. } | Self::NoCheckout { .. } => Reason::DirectoryNotFound,
            Self::NotAllowed(_) => Reason::NotAllowed,
            Self::DiskFull => Reason::DiskFull,
            Self::TooLarge(_) => Reason::PatchTooLarge,
            Self::Insecure { .. }
            | Self::CutOff { .. }
            | Self::NotGit { .. }
            | Self::Status { .. }
            | Self::Server { .. }
            | Self::Malformed(_)
            | Self::MirrorDamaged { .. } => Reason::CloneFailed,
            Self::Io { .. }
            | Self::Git { .. }
            | Self::OtherRepository { .. }
            | Self::BaseMissing { .. }
            | Self::Stopped => Reason::InternalError,
        }
    }

    /// How the job ends with this.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut outcome = Outcome::failed(self.reason(), self.to_string());
        // The same code also stands for what may pass; these do not.
        let is_lasting =
            matches!(self, Self::Insecure { .. } | Self::NotGit { .. } | Self::Malformed(_));
        if is_lasting {
            outcome.retryable = false;
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_faults_of_the_file_system() {
        let full = Fault::io("write")(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.reason(), Reason::DiskFull);
        let other = Fault::io("write")(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(other.reason(), Reason::InternalError);
    }

    #[test]
    fn what_cannot_pass_by_itself_is_not_retryable() {
        assert!(!Fault::Malformed("x".into()).outcome().retryable);
        let cut_off = Fault::CutOff { url: "u".into(), cause: "c".into() };
        assert!(cut_off.outcome().retryable);
    }
}
