//! The way from a command to a dispatcher: where it is, whom to trust, who asks.

mod token;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::{Method, StatusCode};
use reqwest::{Client, RequestBuilder, Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore, crypto, version};
use serde::Deserialize;

use self::token::{ServiceAccount, TokenSource};
use crate::manage::Listing;
use crate::model::PemFault;

/// The most that is asked for at once.
const MAX_PART: usize = 1000;

/// Where Herald is, and who asks.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
#[command(group(clap::ArgGroup::new("who").required(true).args(["token_file", "service_account"])))]
pub(super) struct ConnectionFlags {
    /// Where Herald listens, such as <https://herald.herald-system.svc>.
    #[arg(long, env = "HERALD_URL")]
    url: String,
    /// Connect to this address in place of the URL's, such as 127.0.0.1:8443 of a `kubectl port-forward`.
    #[arg(long, value_name = "ADDRESS", env = "HERALD_CONNECT")]
    connect: Option<SocketAddr>,
    /// The namespace whose Webhooks it is about.
    #[arg(short, long)]
    namespace: String,
    /// The certificates (PEM) to trust, instead of the system's.
    #[arg(long, value_name = "FILE", env = "HERALD_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// A file with the bearer token to send.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Ask the cluster of the kubeconfig for a token of this `ServiceAccount`.
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "audience", env = "HERALD_SERVICE_ACCOUNT")]
    service_account: Option<ServiceAccount>,
    /// The audience of that token: the one that Herald was started with.
    #[arg(long, env = "HERALD_AUDIENCE")]
    audience: Option<String>,
}

impl ConnectionFlags {
    /// Gets a first token. No request takes longer than `timeout`.
    pub(super) async fn open(self, timeout: Duration) -> anyhow::Result<Connection> {
        let source = match (self.token_file, self.service_account, self.audience) {
            (Some(path), _, _) => TokenSource::File(path),
            (None, Some(account), Some(audience)) => TokenSource::Requested { account, audience },
            // The command line's own rules leave nothing else.
            (None, _, _) => bail!("name a --token-file, or a --service-account and an --audience"),
        };
        let base = base(&self.url, &self.namespace)?;
        let mut client = Client::builder()
            .tls_backend_preconfigured(trust(self.ca_file.as_deref())?)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("herald-cli/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout);
        if let (Some(address), Some(host)) = (self.connect, base.host_str()) {
            // A port in the URL would be taken in place of the address's.
            client = client.resolve(host, address);
        }
        let token = source.token().await?;
        let base = match self.connect {
            None => base,
            Some(address) => with_port(base, address.port())?,
        };
        Ok(Connection { client: client.build()?, base, source, token })
    }
}

/// A client with a token.
pub(super) struct Connection {
    client: Client,
    /// Of the namespace.
    base: Url,
    source: TokenSource,
    token: String,
}

impl Connection {
    /// A request to a path below the namespace's.
    pub(super) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        self.client.request(method, url).bearer_auth(&self.token)
    }

    /// Gets another token, if there is one; `false` if it is the same.
    pub(super) async fn renew(&mut self) -> anyhow::Result<bool> {
        let token = self.source.token().await?;
        let changed = token != self.token;
        self.token = token;
        Ok(changed)
    }

    /// Asks, and reads the answer; the inner error is what Herald says against it.
    pub(super) async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> anyhow::Result<Result<T, String>> {
        let response = request.send().await.context("no answer")?;
        let status = response.status();
        let body = response.bytes().await.context("half an answer")?;
        if status.is_success() {
            return Ok(Ok(serde_json::from_slice(&body).context("the answer is not Herald's")?));
        }
        Ok(Err(Problem::read(&body).message(status)))
    }

    /// The first `limit` of a list, part by part, and whether there are more;
    /// the inner error is what Herald says against it.
    pub(super) async fn list<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        limit: usize,
    ) -> anyhow::Result<Result<(Vec<T>, bool), String>> {
        let mut items: Vec<T> = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let part = (limit - items.len()).min(MAX_PART).to_string();
            let mut request = self.request(Method::GET, path).query(query).query(&[("limit", part)]);
            if let Some(next) = next {
                request = request.query(&[("continue", next)]);
            }
            match self.ask::<Listing<T>>(request).await? {
                Ok(listing) => {
                    items.extend(listing.items);
                    next = listing.next;
                }
                Err(message) => return Ok(Err(message)),
            }
            if next.is_none() || items.len() >= limit {
                return Ok(Ok((items, next.is_some())));
            }
        }
    }
}

/// RFC 9457, as far as it is shown.
#[derive(Default, Deserialize)]
pub(super) struct Problem {
    title: Option<String>,
    detail: Option<String>,
    pub(super) index: Option<usize>,
}

impl Problem {
    pub(super) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    pub(super) fn message(&self, status: StatusCode) -> String {
        match (&self.title, &self.detail) {
            (Some(title), Some(detail)) => format!("{} {title}: {detail}", status.as_u16()),
            _ => status.to_string(),
        }
    }
}

/// After how many seconds the server wants to be asked again.
pub(super) fn retry_after(response: &Response) -> Option<u64> {
    response.headers().get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

/// The URL of a namespace.
fn base(url: &str, namespace: &str) -> anyhow::Result<Url> {
    let text = format!("{}/v1/namespaces/{namespace}", url.trim_end_matches('/'));
    let url = Url::parse(&text).with_context(|| format!("--url {url:?} is not a URL"))?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let local = host == "localhost" || host.parse().is_ok_and(|host: std::net::IpAddr| host.is_loopback());
    ensure!(
        url.scheme() == "https" || url.scheme() == "http" && local,
        "--url must begin with https://, since a token is sent; http:// is only for this machine"
    );
    Ok(url)
}

fn with_port(mut url: Url, port: u16) -> anyhow::Result<Url> {
    match url.set_port(Some(port)) {
        Ok(()) => Ok(url),
        Err(()) => bail!("--url has no place for a port"),
    }
}

fn trust(ca_file: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let shown = path.display();
            let pem = fs::read(path).with_context(|| format!("cannot read --ca-file {shown}"))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate
                    .map_err(|error| PemFault::from(&error))
                    .with_context(|| format!("--ca-file {shown} is not PEM"))?;
                roots.add(certificate).with_context(|| format!("--ca-file {shown} has a bad certificate"))?;
            }
            ensure!(!roots.is_empty(), "--ca-file {shown} has no certificate in it");
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
impl Connection {
    /// With the token in this file, whatever the flags would say.
    pub(super) async fn for_test(url: &str, namespace: &str, token_file: &Path) -> anyhow::Result<Self> {
        let flags = ConnectionFlags {
            url: url.to_owned(),
            connect: None,
            namespace: namespace.to_owned(),
            ca_file: None,
            token_file: Some(token_file.to_owned()),
            service_account: None,
            audience: None,
        };
        flags.open(Duration::from_secs(30)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_in_the_clear_to_this_machine_only() {
        let path = "/v1/namespaces/ns";
        for url in [
            "https://herald:8443",
            "https://herald:8443/",
            "http://127.0.0.1:80",
            "http://[::1]",
            "http://localhost:8",
        ] {
            assert_eq!(base(url, "ns").unwrap().path(), path, "{url}");
        }
        for url in [
            "http://herald:8443",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "herald:8443",
            "ftp://localhost",
            "",
        ] {
            assert!(base(url, "ns").is_err(), "{url}");
        }
    }

    #[test]
    fn a_ca_file_must_have_a_certificate() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(trust(Some(file.path())).unwrap_err().to_string().contains("no certificate"));
        assert!(trust(Some(Path::new("/nonexistent"))).is_err());
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(file.path(), made.cert.pem()).unwrap();
        assert!(trust(Some(file.path())).is_ok());
    }
}
