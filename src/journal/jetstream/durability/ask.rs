//! Asks servers of NATS at their monitoring endpoints.
//!
//! ```text
//! URL ── resolve ──> each address ── /varz: its name ── /jsz: how it syncs ──> Server
//! ```
//!
//! `/varz` has the settings of JetStream too, but as they were when it was asked for the first time:
//! a server that was asked before JetStream had begun leaves them out for ever.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore, crypto, version};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::verdict::{Server, Syncing};
use crate::journal::jetstream::streams::OpenError;

/// How long a request may take, with its answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of an answer that are read.
const MOST: usize = 1 << 20;

/// See the module.
pub struct Asker {
    trust: Arc<ClientConfig>,
}

/// Of `/varz`.
#[derive(Deserialize)]
struct Varz {
    server_name: String,
}

/// Of `/jsz`.
#[derive(Deserialize)]
struct Jsz {
    #[serde(default)]
    disabled: bool,
    config: JetStreamConfig,
}

#[derive(Deserialize)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
    /// In nanoseconds.
    #[serde(default)]
    sync_interval: u64,
}

impl From<Jsz> for Syncing {
    fn from(Jsz { disabled, config }: Jsz) -> Self {
        match (disabled, config.sync_always) {
            (true, _) => Self::WithoutJetStream,
            (false, true) => Self::Always,
            (false, false) => Self::Every(Duration::from_nanos(config.sync_interval)),
        }
    }
}

impl Asker {
    /// One that trusts these authorities (PEM) besides the system's.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn new(authorities: Option<&Path>) -> Result<Self, OpenError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = authorities {
            let file = |cause| OpenError::File { path: path.to_owned(), cause };
            let pem = std::fs::read(path).map_err(file)?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| file(std::io::Error::other(error)))?;
                roots.add(certificate).map_err(|error| file(std::io::Error::other(error)))?;
            }
            if roots.is_empty() {
                return Err(file(std::io::Error::other("there is no certificate in it")));
            }
        }
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| OpenError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { trust: Arc::new(config) })
    }

    /// What is said at each address of a URL, or why nothing is.
    pub async fn ask(&self, url: &Url) -> Vec<Result<Server, String>> {
        match addresses(url).await {
            Ok(addresses) => self.ask_each(url, addresses).await,
            Err(error) => vec![Err(format!("{url}: {error}"))],
        }
    }

    /// What is said at these addresses of its host.
    pub async fn ask_each(
        &self,
        url: &Url,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Vec<Result<Server, String>> {
        let each = addresses.into_iter().map(async |at| {
            let said = self.ask_at(url, at).await;
            said.map_err(|error| format!("{url} at {at}: {}", reasons(&*error)))
        });
        futures::future::join_all(each).await
    }

    async fn ask_at(&self, url: &Url, at: SocketAddr) -> Result<Server, Failure> {
        let host = url.host_str().unwrap_or_default();
        let client = self.client().resolve(host, at).build()?;
        let varz: Varz = get(&client, url, "varz").await?;
        let jsz: Jsz = get(&client, url, "jsz").await?;
        Ok(Server { name: varz.server_name, at, syncing: jsz.into() })
    }

    fn client(&self) -> ClientBuilder {
        Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(&self.trust))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// All addresses of a URL's host.
async fn addresses(url: &Url) -> std::io::Result<Vec<SocketAddr>> {
    let port = url.port_or_known_default().unwrap_or_default();
    // An IPv6 address stands in brackets there, and nowhere else.
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

async fn get<T: DeserializeOwned>(client: &Client, url: &Url, what: &str) -> Result<T, Failure> {
    let mut url = url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push(what);
    }
    let response = client.get(url).send().await?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("/{what} answers {}", response.status()).into());
    }
    let body = body(response).await?;
    serde_json::from_slice(&body).map_err(|error| format!("/{what} is not that of NATS: {error}").into())
}

/// What is said, if it is not too much.
async fn body(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(more) = response.chunk().await? {
        if body.len() + more.len() > MOST {
            return Err(format!("it says more than {MOST} bytes").into());
        }
        body.extend_from_slice(&more);
    }
    Ok(body)
}

/// An error with its causes: the cause says what is wrong.
fn reasons(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    let last = causes.last();
    last.map_or_else(|| error.to_string(), ToString::to_string)
}
