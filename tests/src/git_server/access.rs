//! The ways to a repository, good and bad.

/// A way to reach a repository; each is the first part of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody may read and push.
    Public,
    /// Only [`USER`](super::USER) with [`PASSWORD`](super::PASSWORD); others get 401.
    Private,
    /// 403, whoever asks.
    Forbidden,
    /// 404, whatever is there.
    Missing,
    /// 500.
    Broken,
    /// 200 with a web page.
    NotGit,
    /// Accepts, and sends the headers of the first answer only.
    StalledRefs,
    /// Sends a part of the pack, then nothing more.
    StalledPack,
    /// Sends a part of the pack, then closes the connection.
    Cut,
    /// 301 from the list of refs to [`Access::Public`].
    Redirect,
    /// 301 from the list of refs to the address of [`GitServer::redirect_to`](super::GitServer::redirect_to).
    Moved,
    /// 301 to itself.
    RedirectLoop,
    /// Everything arrives, at 20 kB/s.
    Slow,
    /// The rest of the pack arrives once [`GitServer::open_gate`](super::GitServer::open_gate) is
    /// called.
    Gated,
}

impl Access {
    pub(super) const ALL: [Self; 14] = [
        Self::Public,
        Self::Private,
        Self::Forbidden,
        Self::Missing,
        Self::Broken,
        Self::NotGit,
        Self::StalledRefs,
        Self::StalledPack,
        Self::Cut,
        Self::Redirect,
        Self::Moved,
        Self::RedirectLoop,
        Self::Slow,
        Self::Gated,
    ];

    /// The first part of the path of its addresses.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Forbidden => "forbidden",
            Self::Missing => "missing",
            Self::Broken => "broken",
            Self::NotGit => "not-git",
            Self::StalledRefs => "stalled-refs",
            Self::StalledPack => "stalled-pack",
            Self::Cut => "cut",
            Self::Redirect => "redirect",
            Self::Moved => "moved",
            Self::RedirectLoop => "redirect-loop",
            Self::Slow => "slow",
            Self::Gated => "gated",
        }
    }
}
