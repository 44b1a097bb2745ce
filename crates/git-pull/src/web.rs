//! HTTP as git needs it, from a thread that may block: every wait ends at once when the job is
//! stopped, and by itself when the server is silent.

use std::cell::Cell;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{Client, RequestBuilder, Response, redirect};
use service::client::tls;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::address;
use crate::credentials::Login;
use crate::fault::Fault;
use crate::packet::Pieces;
use crate::policy::Policy;
use crate::resolver::{ForbiddenName, Resolver};

/// How long a connection, with TLS, may take to come about: ten times a bad round trip to the other
/// side of the world.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may be silent. `git upload-pack` says something every 5 s while it is busy
/// (`uploadpack.keepAlive`).
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// How long a job waits for servers in all: at 3 MB/s that is 10 GiB.
pub(crate) const TOTAL: Duration = Duration::from_secs(60 * 60);

/// Some servers let only git in.
const USER_AGENT: &str = concat!("git/oneshift-", env!("CARGO_PKG_VERSION"));

/// A means to talk to git servers, for one job.
pub(crate) struct Web {
    runtime: Handle,
    client: Client,
    /// Whether there is a list of authorities; without one there is no https.
    is_secure: bool,
    policy: Arc<Policy>,
    patience: Patience,
    /// For how long servers were waited for.
    waited: Cell<Duration>,
    stop: CancellationToken,
}

/// How long servers are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long a server may be silent.
    pub(crate) silence: Duration,
    /// How long a job waits for servers in all: one that says a byte now and then is never silent.
    pub(crate) total: Duration,
}

impl Web {
    /// A client that uses the system's certificates and proxies.
    pub(crate) fn new(
        runtime: Handle,
        policy: Arc<Policy>,
        patience: Patience,
        stop: CancellationToken,
    ) -> Result<Self, Fault> {
        // Fails when it was done before, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .user_agent(USER_AGENT)
                .connect_timeout(CONNECT_TIMEOUT)
                .redirect(redirect::Policy::none())
                .dns_resolver(Resolver)
        };
        let (client, is_secure) = match builder().build() {
            Ok(client) => (client, true),
            // On a machine without certificates plain http still works.
            Err(_) => (builder().tls_certs_only([]).build().map_err(not_set_up)?, false),
        };
        let waited = Cell::default();
        Ok(Self { runtime, client, is_secure, policy, patience, waited, stop })
    }

    /// The operator's rules.
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sends a GET and waits for the head of its answer.
    pub(crate) fn get(&self, url: &Url, login: Option<&Login>) -> Result<Answer<'_>, Fault> {
        self.send(url, self.client.get(url.clone()), login)
    }

    /// Sends a POST and waits for the head of its answer.
    pub(crate) fn post(
        &self,
        url: &Url,
        login: Option<&Login>,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<Answer<'_>, Fault> {
        let request = self.client.post(url.clone()).header("content-type", kind).body(body);
        self.send(url, request, login)
    }

    fn send(
        &self,
        url: &Url,
        request: RequestBuilder,
        login: Option<&Login>,
    ) -> Result<Answer<'_>, Fault> {
        use secrecy::ExposeSecret;
        if url.scheme() == "https" && !self.is_secure {
            let cause = tls::NO_AUTHORITIES.to_owned();
            return Err(Fault::Insecure { url: repository_of(url), cause });
        }
        let request = match login {
            Some(login) => request.basic_auth(&login.user, Some(login.password.expose_secret())),
            None => request,
        };
        let limit = CONNECT_TIMEOUT + self.patience.silence;
        let response = self.wait(url, limit, request.send())?;
        // The resolver and the policy have seen to this already, for names and for literals.
        let peer = response.remote_addr().map(|peer| peer.ip());
        if let Some(fault) = peer.and_then(address::fault_of) {
            return Err(Fault::NotAllowed(format!("{url} leads to {fault}, which is not allowed")));
        }
        Ok(Answer { web: self, url: url.clone(), response })
    }

    fn wait<T>(
        &self,
        url: &Url,
        limit: Duration,
        future: impl Future<Output = reqwest::Result<T>>,
    ) -> Result<T, Fault> {
        let left = self.patience.total.saturating_sub(self.waited.get());
        let since = Instant::now();
        let answer = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => Err(Fault::Stopped),
                () = tokio::time::sleep(left) => Err(self.over(url)),
                answer = tokio::time::timeout(limit, future) => match answer {
                    Ok(answer) => answer.map_err(|error| explain(url, error)),
                    Err(_) => Err(self.silent(url)),
                }
            }
        });
        self.waited.set(self.waited.get() + since.elapsed());
        answer
    }

    fn silent(&self, url: &Url) -> Fault {
        Fault::Stalled { url: repository_of(url), seconds: self.patience.silence.as_secs() }
    }

    fn over(&self, url: &Url) -> Fault {
        Fault::TimedOut { url: repository_of(url), seconds: self.patience.total.as_secs() }
    }
}

/// The answer to a request: its head is here, its body comes in pieces.
pub(crate) struct Answer<'a> {
    web: &'a Web,
    /// Where it came from.
    pub(crate) url: Url,
    response: Response,
}

impl Answer<'_> {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header's value, if it is there and readable.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }
}

impl Pieces for Answer<'_> {
    fn next_piece(&mut self) -> Result<Option<Bytes>, Fault> {
        self.web.wait(&self.url, self.web.patience.silence, self.response.chunk())
    }

    fn cut_off(&self) -> Fault {
        let cause = "the answer ended too early".to_owned();
        Fault::CutOff { url: repository_of(&self.url), cause }
    }
}

/// The repository that a request is about, for messages.
fn repository_of(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    let url = url.as_str();
    let tails = ["/info/refs", "/git-upload-pack"];
    tails.iter().find_map(|tail| url.strip_suffix(tail)).unwrap_or(url).to_owned()
}

fn not_set_up(error: reqwest::Error) -> Fault {
    Fault::io("set up HTTP")(std::io::Error::other(error))
}

/// What an error of the HTTP client means here.
fn explain(url: &Url, error: reqwest::Error) -> Fault {
    let url = repository_of(url);
    let error = error.without_url();
    if let Some(forbidden) = find::<ForbiddenName>(&error) {
        return Fault::NotAllowed(format!("{url} cannot be used: {forbidden}"));
    }
    if let Some(cause) = tls::fault_of(&error) {
        return Fault::Insecure { url, cause };
    }
    if error.is_connect() || error.is_timeout() {
        let cause = if error.is_timeout() {
            format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())
        } else {
            root_of(&error).to_string()
        };
        return Fault::HostUnreachable { url, cause };
    }
    Fault::CutOff { url, cause: root_of(&error).to_string() }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn root_of<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    chain(error).last().unwrap_or(error)
}
