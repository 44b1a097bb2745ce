//! A repository behind HTTP: git's smart protocol, version 0, as a client that fetches
//! (gitprotocol-http, gitprotocol-pack).

use git2::Oid;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::advertisement::{self, Advertisement, Capabilities, not_git, quoted};
use crate::credentials::Login;
use crate::fault::Fault;
use crate::pack::PackWriter;
use crate::packet::{Packet, PacketFault, Packets, push, push_flush};
use crate::snapshot::Snapshot;
use crate::web::{Answer, Web};

/// Most redirects that are followed; what git's own HTTP library is told for trusted hosts is 20,
/// and real ones need one or two.
const MAX_REDIRECTS: usize = 5;

/// What this client can do, if the server can as well. `multi_ack_detailed` makes no difference
/// here, but there are servers that insist on it.
const CAPABILITIES: [&str; 3] = ["multi_ack_detailed", "side-band-64k", "ofs-delta"];

const SERVICE: &str = "git-upload-pack";

/// A server that has shown its refs.
pub(crate) struct Server<'a> {
    web: &'a Web,
    /// Where it is, after redirects.
    base: Url,
    /// Only for that place.
    login: Option<Login>,
    capabilities: Capabilities,
    pub(crate) snapshot: Snapshot,
}

impl<'a> Server<'a> {
    /// Asks for the refs; that is when the server decides who may read.
    pub(crate) fn connect(
        web: &'a Web,
        address: &Url,
        login: Option<Login>,
    ) -> Result<Self, Fault> {
        let (mut base, mut login) = (address.clone(), login);
        for _ in 0..=MAX_REDIRECTS {
            web.policy().admit(&base).map_err(|fault| {
                Fault::NotAllowed(format!("{address} redirects to {base}: {fault}"))
            })?;
            let answer = web.get(&refs_url(&base), login.as_ref())?;
            if let Some(target) = redirect_of(&answer)? {
                let target = base_of(&target).ok_or_else(|| {
                    let host = target.host_str().unwrap_or_default();
                    not_git(address.as_str(), &format!("it redirects to a page of {host}"))
                })?;
                if base.scheme() == "https" && target.scheme() != "https" {
                    let what = "it redirects from https to http";
                    return Err(not_git(address.as_str(), what));
                }
                login =
                    login.filter(|_| target.host() == base.host() && is_same_port(&target, &base));
                base = target;
                continue;
            }
            check(
                &answer,
                address,
                login.is_some(),
                "application/x-git-upload-pack-advertisement",
            )?;
            let Advertisement { snapshot, capabilities } =
                advertisement::read(address.as_str(), answer)?;
            return Ok(Self { web, base, login, capabilities, snapshot });
        }
        Err(not_git(address.as_str(), &format!("it redirects more than {MAX_REDIRECTS} times")))
    }

    /// Fetches the objects `wants` and all that they need, but not what `haves` need.
    pub(crate) fn download(
        &self,
        wants: &[Oid],
        haves: &[Oid],
        mut pack: PackWriter<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        let body = self.request(wants, haves);
        let url = below(&self.base, SERVICE);
        let kind = "application/x-git-upload-pack-request";
        let answer = self.web.post(&url, self.login.as_ref(), kind, body)?;
        let kind = "application/x-git-upload-pack-result";
        check(&answer, &self.base, self.login.is_some(), kind)?;
        let mut packets = Packets::new(answer);
        while let Some(piece) = self.next_piece(&mut packets)? {
            if stop.is_cancelled() {
                return Err(Fault::Stopped);
            }
            pack.write(&piece)?;
        }
        pack.finish()
    }

    fn request(&self, wants: &[Oid], haves: &[Oid]) -> Vec<u8> {
        let mut body = Vec::new();
        let agent = concat!(" agent=oneshift/", env!("CARGO_PKG_VERSION"));
        let known = CAPABILITIES.into_iter().filter(|name| self.capabilities.has(name));
        let mut extra: String = known.map(|name| format!(" {name}")).collect();
        extra.push_str(agent);
        for want in wants {
            push(&mut body, &format!("want {want}{}\n", std::mem::take(&mut extra)));
        }
        push_flush(&mut body);
        for have in haves {
            push(&mut body, &format!("have {have}\n"));
        }
        push(&mut body, "done\n");
        body
    }

    /// The next bytes of the pack; none at its end. What comes before it (acknowledgements) and
    /// beside it (the server's own progress) is passed over.
    fn next_piece(&self, packets: &mut Packets<Answer<'_>>) -> Result<Option<bytes::Bytes>, Fault> {
        loop {
            let packet = packets.next().map_err(|fault| match fault {
                PacketFault::NotPackets => not_git(self.base.as_str(), "its pack is garbled"),
                PacketFault::Body(fault) => fault,
            })?;
            let line = match packet {
                Some(Packet::Data(line)) => line,
                Some(Packet::Flush) => return Ok(None),
                None => return Err(packets.cut_off()),
            };
            match line.first() {
                Some(1) => return Ok(Some(line.slice(1..))),
                Some(3) => return Err(self.says(&line[1..])),
                _ if line.starts_with(b"ERR ") => return Err(self.says(&line[4..])),
                _ => {}
            }
        }
    }

    fn says(&self, message: &[u8]) -> Fault {
        Fault::Server { url: self.base.to_string(), message: quoted(message) }
    }
}

/// `base` with a last part added to its path.
fn below(base: &Url, name: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{name}", base.path().trim_end_matches('/')));
    url
}

fn refs_url(base: &Url) -> Url {
    let mut url = below(base, "info/refs");
    url.set_query(Some("service=git-upload-pack"));
    url
}

/// Where an answer redirects to, if it does.
fn redirect_of(answer: &Answer<'_>) -> Result<Option<Url>, Fault> {
    if !matches!(answer.status(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let target = answer.header("location").and_then(|target| answer.url.join(target).ok());
    let bare = target.map(|mut target| {
        // A login that a server invents is of no use.
        let _ = target.set_username("");
        let _ = target.set_password(None);
        target
    });
    bare.map(Some).ok_or_else(|| not_git(answer.url.as_str(), "it redirects to nowhere"))
}

/// The repository whose list of refs this is.
fn base_of(refs: &Url) -> Option<Url> {
    let path = refs.path().strip_suffix("/info/refs")?;
    let mut base = refs.clone();
    base.set_path(path);
    base.set_query(None);
    base.set_fragment(None);
    matches!(base.scheme(), "http" | "https").then_some(base)
}

/// A host's http and https on their usual ports count as one.
fn is_same_port(a: &Url, b: &Url) -> bool {
    let is_usual = |url: &Url| url.port().is_none();
    (is_usual(a) && is_usual(b)) || a.port_or_known_default() == b.port_or_known_default()
}

/// Whether an answer is what was asked for; `address` is for messages.
fn check(answer: &Answer<'_>, address: &Url, had_login: bool, kind: &str) -> Result<(), Fault> {
    let url = address.to_string();
    match answer.status() {
        200 if answer.header("content-type").is_some_and(|given| given.trim() == kind) => Ok(()),
        200 => Err(not_git(&url, "its answer is something else")),
        401 | 403 if had_login => Err(Fault::LoginRefused { url }),
        401 => Err(Fault::LoginMissing { url }),
        403 => Err(Fault::LoginRefused { url }),
        404 | 410 => Err(Fault::RepositoryNotFound { url }),
        status => Err(Fault::Status { url, status }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_found_back_from_its_list_of_refs() {
        let base = Url::parse("https://host/org/repo.git/").unwrap();
        let refs = refs_url(&base);
        assert_eq!(refs.as_str(), "https://host/org/repo.git/info/refs?service=git-upload-pack");
        assert_eq!(base_of(&refs).unwrap().as_str(), "https://host/org/repo.git");
        assert_eq!(base_of(&Url::parse("https://host/login").unwrap()), None);
    }

    #[test]
    fn a_login_moves_from_http_to_https_but_to_no_other_port() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(is_same_port(&url("http://h/x"), &url("https://h/x")));
        assert!(!is_same_port(&url("http://h/x"), &url("http://h:81/x")));
    }
}
