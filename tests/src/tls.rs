//! HTTPS on loopback, by certificates made for the occasion.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::loopback::Loopback;

/// Connections that are set up but not yet served.
const BACKLOG: usize = 16;

/// A certificate authority that only those trust who are told its file; until it is dropped.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
    _folder: TempDir,
}

impl Authority {
    /// Makes one.
    ///
    /// # Panics
    /// When there is no room for its file.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("the machine has random numbers");
        let folder = tempfile::tempdir().expect("there is room for a temporary folder");
        let file = folder.path().join("ca.pem");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // No two may have the same name, and so it is with files.
        params.distinguished_name.push(DnType::CommonName, file.display().to_string());
        let certificate = params.self_signed(&key).expect("the certificate is sound");
        std::fs::write(&file, certificate.pem()).expect("the folder can be written to");
        Self { issuer: Issuer::new(params, key), file, _folder: folder }
    }

    /// The file with its certificate, for `SSL_CERT_FILE`.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// How a server does TLS that shows a certificate for `hosts`.
    fn server_config(&self, hosts: &[&str]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("the machine has random numbers");
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let params = CertificateParams::new(hosts).expect("the hosts are names or addresses");
        let certificate = params.signed_by(&key, &self.issuer).expect("the certificate is sound");
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows all versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .expect("the key is the certificate's");
        Arc::new(config)
    }

    /// Serves `router` from now on, with a certificate for `hosts`.
    pub(crate) fn serve(&self, router: Router, hosts: &[&str]) -> Loopback {
        let acceptor = TlsAcceptor::from(self.server_config(hosts));
        Loopback::serve_by(router, |listener| TlsListener::new(listener, acceptor))
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// An https server that gives the same JSON answer to every request; until it is dropped.
#[derive(Debug)]
pub struct SecureServer {
    authority: Authority,
    loopback: Loopback,
}

impl SecureServer {
    /// Starts one.
    #[must_use]
    pub fn answering(json: &'static str) -> Self {
        let answer = move || async move { ([(header::CONTENT_TYPE, "application/json")], json) };
        let authority = Authority::new();
        let loopback = authority.serve(Router::new().fallback(answer), &["127.0.0.1"]);
        Self { authority, loopback }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.loopback.address())
    }

    /// The file to trust for a connection.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        self.authority.file()
    }
}

/// Gives out connections on which TLS is set up; those of clients that refuse are dropped.
struct TlsListener {
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    fn new(listener: TcpListener, acceptor: TlsAcceptor) -> Self {
        let address = listener.local_addr().expect("a bound socket has an address");
        let (sender, connections) = mpsc::channel(BACKLOG);
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        // Fails when the server has stopped, and then nobody needs it.
                        let _ = sender.send((stream, peer)).await;
                    }
                });
            }
        });
        Self { connections, address }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
