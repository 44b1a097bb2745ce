//! A real git server over HTTP, on loopback: `git http-backend` behind axum.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{Response, StatusCode, header, request};
use axum::response::IntoResponse;
use base64::Engine;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::loopback::Loopback;
use crate::tls::Authority;

mod access;
mod cgi;
mod fault;
mod repository;

pub use access::Access;
use fault::{Break, BreaksAt};
pub use repository::Repository;

/// The user whom [`Access::Private`] lets in.
pub const USER: &str = "ada";
/// That user's password.
pub const PASSWORD: &str = "correct horse";

/// A request that the server has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: String,
    /// For example `/public/demo.git/info/refs`.
    pub path: String,
    /// For example `service=git-upload-pack`; empty if there was none.
    pub query: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
}

/// The server, until it is dropped. It runs on threads of its own, so tests may block.
#[derive(Debug)]
pub struct GitServer {
    state: Arc<Served>,
    loopback: Loopback,
    authority: Option<Authority>,
    _folder: TempDir,
}

#[derive(Debug, Default)]
struct Served {
    root: PathBuf,
    requests: Mutex<Vec<Request>>,
    moved_to: OnceLock<String>,
    gate: watch::Sender<bool>,
}

impl GitServer {
    /// Starts a server without repositories on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When the machine has no more ports, threads or disk.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Loopback::serve)
    }

    /// Like [`Self::start`], but over https, by 127.0.0.1 or localhost.
    ///
    /// # Panics
    /// When the machine has no more ports, threads or disk.
    #[must_use]
    pub fn start_tls() -> Self {
        Self::start_tls_as(&["127.0.0.1", "localhost"])
    }

    /// Like [`Self::start_tls`], with a certificate that is for `hosts`, whatever its address.
    ///
    /// # Panics
    /// When the machine has no more ports, threads or disk.
    #[must_use]
    pub fn start_tls_as(hosts: &[&str]) -> Self {
        let authority = Authority::new();
        let loopback = |router| authority.serve(router, hosts);
        let server = Self::with(loopback);
        Self { authority: Some(authority), ..server }
    }

    fn with(serve_by: impl FnOnce(Router) -> Loopback) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a temporary folder");
        let state = Arc::new(Served { root: folder.path().to_owned(), ..Served::default() });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&state));
        let loopback = serve_by(router);
        Self { state, loopback, authority: None, _folder: folder }
    }

    /// The file of the authority that [`Self::start_tls`] made, for `SSL_CERT_FILE`.
    ///
    /// # Panics
    /// When the server does no TLS.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        self.authority.as_ref().expect("the server does TLS").file()
    }

    /// Makes [`Access::Moved`] lead to `url`, whatever is asked for.
    ///
    /// # Panics
    /// When it leads somewhere already.
    pub fn redirect_to(&self, url: &str) {
        self.state.moved_to.set(url.to_owned()).expect("it leads nowhere yet");
    }

    /// Lets the packs go on that [`Access::Gated`] holds back, for good.
    pub fn open_gate(&self) {
        self.state.gate.send_replace(true);
    }

    /// Makes the repository `name` (without `.git`), and lets `fill` fill it.
    ///
    /// # Panics
    /// When git is missing or fails.
    pub fn repository(&self, name: &str, fill: impl FnOnce(&mut Repository)) -> Repository {
        let mut repository = Repository::create(&self.state.root.join(format!("{name}.git")));
        fill(&mut repository);
        repository
    }

    /// The address of the repository `name`, reached by `access`; without credentials.
    #[must_use]
    pub fn url(&self, access: Access, name: &str) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/{}/{name}.git", self.loopback.address(), access.prefix())
    }

    /// The address of the private repository `name`, with user and password in it.
    #[must_use]
    pub fn url_with_password(&self, name: &str) -> String {
        let password = PASSWORD.replace(' ', "%20");
        let login = format!("://{USER}:{password}@");
        self.url(Access::Private, name).replacen("://", &login, 1)
    }

    /// `127.0.0.1:<port>`.
    #[must_use]
    pub fn host(&self) -> String {
        self.loopback.address().to_string()
    }

    /// All requests so far, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many times a client asked for a pack, or for protocol 2's list of refs.
    #[must_use]
    pub fn upload_packs(&self) -> usize {
        let posts = |request: &&Request| request.path.ends_with("/git-upload-pack");
        self.requests().iter().filter(posts).count()
    }
}

async fn serve(State(state): State<Arc<Served>>, request: HttpRequest) -> Response<Body> {
    let (parts, body) = request.into_parts();
    state.record(&parts);
    let path = parts.uri.path();
    let found = Access::ALL.into_iter().find_map(|access| {
        let rest = path.strip_prefix('/')?.strip_prefix(access.prefix())?;
        rest.starts_with('/').then_some((access, rest))
    });
    let Some((access, path)) = found else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if let Some(refusal) = refuse(access, path, &parts) {
        return refusal;
    }
    if access == Access::Moved {
        return state.move_away(&parts);
    }
    let answer = cgi::answer(&state.root, path, &parts, body).await;
    let answer = answer.unwrap_or_else(|error| {
        (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
    });
    match access {
        Access::StalledRefs => fault::break_off(answer, BreaksAt::Start, Break::Stall),
        Access::StalledPack => fault::break_off(answer, BreaksAt::Pack, Break::Stall),
        Access::Cut => fault::break_off(answer, BreaksAt::Pack, Break::Cut),
        Access::Gated => {
            let gate = state.gate.subscribe();
            fault::break_off(answer, BreaksAt::Pack, Break::Hold(gate))
        }
        Access::Slow => fault::slow_down(answer),
        _ => answer,
    }
}

/// The answer to a request that never gets to git.
fn refuse(access: Access, path: &str, request: &request::Parts) -> Option<Response<Body>> {
    let moved = |access: Access| {
        let query = request.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("/{}{path}{query}", access.prefix());
        (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, target)]).into_response()
    };
    match access {
        Access::Private if !is_let_in(request) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"private\"")];
            Some((StatusCode::UNAUTHORIZED, challenge).into_response())
        }
        Access::Forbidden => Some(StatusCode::FORBIDDEN.into_response()),
        Access::Missing => Some(StatusCode::NOT_FOUND.into_response()),
        Access::Broken => Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        Access::NotGit => {
            let kind = [(header::CONTENT_TYPE, "text/html")];
            Some((kind, "<!doctype html>\n<title>Hello</title>\n").into_response())
        }
        Access::Redirect => Some(moved(Access::Public)),
        Access::RedirectLoop => Some(moved(Access::RedirectLoop)),
        _ => None,
    }
}

fn is_let_in(request: &request::Parts) -> bool {
    let login = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let authorization = request.headers.get(header::AUTHORIZATION);
    authorization.is_some_and(|given| given.as_bytes() == format!("Basic {login}").as_bytes())
}

impl Served {
    fn move_away(&self, request: &request::Parts) -> Response<Body> {
        let Some(url) = self.moved_to.get() else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let query = request.uri.query().unwrap_or_default();
        let target = format!("{url}/info/refs?{query}");
        (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, target)]).into_response()
    }

    fn record(&self, request: &request::Parts) {
        let header = |name| Some(request.headers.get(name)?.to_str().ok()?.to_owned());
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(Request {
            method: request.method.to_string(),
            path: request.uri.path().to_owned(),
            query: request.uri.query().unwrap_or_default().to_owned(),
            authorization: header(header::AUTHORIZATION),
            user_agent: header(header::USER_AGENT),
        });
    }
}
