//! The list of refs that a git server shows at first (gitprotocol-http, "Smart Server Response").

use bytes::Bytes;
use git2::Oid;

use crate::fault::Fault;
use crate::packet::{Packet, PacketFault, Packets, Pieces};
use crate::snapshot::{Head, Ref, Snapshot};

/// Most bytes of refs that are read; a million refs of common length.
const MAX_BYTES: usize = 128 * 1024 * 1024;

/// What a server shows.
#[derive(Debug)]
pub(crate) struct Advertisement {
    pub(crate) snapshot: Snapshot,
    pub(crate) capabilities: Capabilities,
}

/// What a server can do.
#[derive(Debug, Default)]
pub(crate) struct Capabilities(String);

impl Capabilities {
    /// Whether the server has a capability without a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.split(' ').any(|capability| capability == name)
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.split(' ').filter_map(move |entry| entry.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Reads a server's list of refs; `url` is for messages.
pub(crate) fn read(url: &str, pieces: impl Pieces) -> Result<Advertisement, Fault> {
    let mut packets = Packets::new(pieces);
    let mut list = List::default();
    let mut bytes = 0;
    loop {
        match packets.next().map_err(|fault| explain(url, fault))? {
            Some(Packet::Data(line)) => {
                bytes += line.len();
                if bytes > MAX_BYTES {
                    return Err(not_git(url, "it lists more than 128 MiB of refs"));
                }
                list.line(url, &line)?;
            }
            // The service's name has a section of its own.
            Some(Packet::Flush) if !list.has_begun => {}
            Some(Packet::Flush) => return list.finish(url),
            None if list.has_begun => return Err(packets.cut_off()),
            None => return Err(not_git(url, "it lists no refs")),
        }
    }
}

fn explain(url: &str, fault: PacketFault) -> Fault {
    match fault {
        PacketFault::NotPackets => not_git(url, "its answer is something else"),
        PacketFault::Body(fault) => fault,
    }
}

pub(crate) fn not_git(url: &str, what: &str) -> Fault {
    Fault::NotGit { url: url.to_owned(), what: what.to_owned() }
}

/// What a server says, fit for a message of ours: one line, not too long.
pub(crate) fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text: String = text.trim().chars().take(300).collect();
    text.replace(char::is_control, " ")
}

#[derive(Default)]
struct List {
    has_begun: bool,
    capabilities: Capabilities,
    head: Option<Oid>,
    refs: Vec<Ref>,
    shallow: Vec<Oid>,
}

impl List {
    fn line(&mut self, url: &str, line: &Bytes) -> Result<(), Fault> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.starts_with(b"# service=") || line == b"version 1" {
            return Ok(());
        }
        if let Some(message) = line.strip_prefix(b"ERR ") {
            return Err(Fault::Server { url: url.to_owned(), message: quoted(message) });
        }
        if let Some(id) = line.strip_prefix(b"shallow ") {
            self.shallow.extend(oid(id));
            return Ok(());
        }
        let mut line = line;
        if !std::mem::replace(&mut self.has_begun, true)
            && let Some(end) = line.iter().position(|&byte| byte == 0)
        {
            self.capabilities = Capabilities(String::from_utf8_lossy(&line[end + 1..]).into());
            line = &line[..end];
            if self.capabilities.values("object-format").any(|format| format != "sha1") {
                return Err(not_git(url, "it names objects by SHA-256, which is not supported"));
            }
        }
        self.reference(line).ok_or_else(|| not_git(url, "its list of refs is garbled"))
    }

    fn reference(&mut self, line: &[u8]) -> Option<()> {
        let (id, name) = line.split_at_checked(40)?;
        let (id, name) = (oid(id)?, name.strip_prefix(b" ")?);
        if name == b"capabilities^{}" {
            return Some(());
        }
        if name == b"HEAD" {
            self.head = Some(id);
            return Some(());
        }
        match name.strip_suffix(b"^{}") {
            // Follows the tag that it peels.
            Some(tag) => {
                let last = self.refs.last_mut().filter(|last| last.name == tag);
                last.map(|last| last.peeled = Some(id)).or(Some(()))
            }
            None => {
                self.refs.push(Ref { name: name.to_vec(), id, peeled: None });
                Some(())
            }
        }
    }

    fn finish(self, url: &str) -> Result<Advertisement, Fault> {
        if !self.refs.is_empty() && !self.capabilities.has("side-band-64k") {
            return Err(not_git(url, "it lacks the capability side-band-64k"));
        }
        let head = self.head();
        let snapshot = Snapshot::new(self.refs, head, self.shallow);
        Ok(Advertisement { snapshot, capabilities: self.capabilities })
    }

    /// By the capability `symref`; a server without it is guessed at, as git does.
    fn head(&self) -> Head {
        let named = self.capabilities.values("symref").find_map(|pair| pair.strip_prefix("HEAD:"));
        if let Some(name) = named {
            return Head::Branch(name.into());
        }
        let Some(id) = self.head else { return Head::Unborn };
        let mut same = self
            .refs
            .iter()
            .filter(|reference| reference.id == id && reference.name.starts_with(b"refs/heads/"));
        let usual = [&b"refs/heads/main"[..], b"refs/heads/master"];
        let guess = same.clone().find(|reference| usual.contains(&&reference.name[..]));
        let guess = guess.or_else(|| same.next());
        guess.map_or(Head::Detached(id), |reference| Head::Branch(reference.name.clone()))
    }
}

fn oid(hex: &[u8]) -> Option<Oid> {
    let hex = std::str::from_utf8(hex).ok().filter(|hex| hex.len() == 40)?;
    Oid::from_str(hex).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::Ready;
    use crate::packet::{push, push_flush};

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";
    const NONE: &str = "0000000000000000000000000000000000000000";

    fn list(lines: &[String]) -> Result<Advertisement, Fault> {
        let mut body = Vec::new();
        push(&mut body, "# service=git-upload-pack\n");
        push_flush(&mut body);
        for line in lines {
            push(&mut body, line);
        }
        push_flush(&mut body);
        read("https://host/repo", Ready(body, 7))
    }

    #[test]
    fn refs_tags_and_head_are_read() {
        let capabilities = "side-band-64k symref=HEAD:refs/heads/trunk agent=git/2";
        let list = list(&[
            format!("{ONE} HEAD\0{capabilities}\n"),
            format!("{ONE} refs/heads/trunk\n"),
            format!("{TWO} refs/tags/v1\n"),
            format!("{ONE} refs/tags/v1^{{}}\n"),
        ])
        .unwrap();
        let snapshot = list.snapshot;
        assert_eq!(snapshot.head, Head::Branch(b"refs/heads/trunk".to_vec()));
        assert_eq!(snapshot.find("v1").unwrap().commit.to_string(), ONE);
        assert_eq!(snapshot.targets().len(), 2);
    }

    #[test]
    fn an_empty_repository_has_capabilities_only() {
        let list = list(&[format!("{NONE} capabilities^{{}}\0side-band-64k\n")]).unwrap();
        assert!(list.snapshot.is_empty());
    }

    #[test]
    fn without_symref_the_head_is_guessed() {
        let list = list(&[
            format!("{ONE} HEAD\0side-band-64k\n"),
            format!("{ONE} refs/heads/aaa\n"),
            format!("{ONE} refs/heads/master\n"),
        ])
        .unwrap();
        assert_eq!(list.snapshot.head, Head::Branch(b"refs/heads/master".to_vec()));
    }

    #[test]
    fn garbage_is_told_from_the_servers_own_words() {
        let fault = list(&["hello\n".to_owned()]).unwrap_err();
        assert!(matches!(fault, Fault::NotGit { .. }), "{fault}");
        let fault = list(&["ERR access\x1b[1m denied\n".to_owned()]).unwrap_err();
        assert_eq!(fault.to_string(), "the server of https://host/repo says: access [1m denied");
        let fault = read("https://host/repo", Ready(b"<html>".to_vec(), 3)).unwrap_err();
        assert!(matches!(fault, Fault::NotGit { .. }), "{fault}");
    }

    #[test]
    fn a_non_ascii_name_of_a_ref_is_kept() {
        let mut body = Vec::new();
        let line = [ONE.as_bytes(), b" refs/heads/\xfc\0side-band-64k\n"].concat();
        body.extend_from_slice(format!("{:04x}", line.len() + 4).as_bytes());
        body.extend_from_slice(&line);
        push_flush(&mut body);
        let list = read("https://host/repo", Ready(body, 100)).unwrap();
        assert_eq!(list.snapshot.refs()[0].name, b"refs/heads/\xfc");
    }
}
