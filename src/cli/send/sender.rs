//! Posts batches, and posts again what could not be stored.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore, crypto, version};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::input::Batch;
use super::token::TokenSource;
use crate::ingest::Accepted;

/// For one request; the server has limits of its own below that.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Before the next try where the server does not say.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of a batch in the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Stored.
    Accepted(Accepted),
    /// Not stored, for the reason that is told.
    Refused(String),
}

/// A connection to ingestion, with a token.
pub(super) struct Sender {
    client: Client,
    url: Url,
    source: TokenSource,
    token: String,
    limit: Duration,
}

/// What an answer means for what to do next.
enum Answer {
    Final(Outcome),
    /// The token may have expired meanwhile.
    BadToken(String),
    /// Try again.
    Later {
        after: Duration,
        message: String,
    },
}

/// RFC 9457, as far as it is shown.
#[derive(Default, Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    index: Option<usize>,
}

impl Sender {
    /// Gets a first token. A batch is tried again for at most `limit`.
    pub(super) async fn new(
        url: &str,
        namespace: &str,
        ca_file: Option<&Path>,
        source: TokenSource,
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let url = endpoint(url, namespace)?;
        let client = Client::builder()
            .tls_backend_preconfigured(trust(ca_file)?)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("herald-send/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .build()?;
        let token = source.token().await?;
        Ok(Self { client, url, source, token, limit })
    }

    /// Sends a batch until it is stored, or refused, or the time is up. A
    /// repeat does no harm: Herald knows an event by its source and id.
    pub(super) async fn send(&mut self, batch: &Batch) -> anyhow::Result<Outcome> {
        let deadline = Instant::now() + self.limit;
        loop {
            let (after, message) = match self.post(batch).await {
                Answer::Final(outcome) => return Ok(outcome),
                Answer::BadToken(message) => {
                    let token = self.source.token().await?;
                    if token == self.token {
                        return Ok(Outcome::Refused(message));
                    }
                    self.token = token;
                    (Duration::ZERO, message)
                }
                Answer::Later { after, message } => (after, message),
            };
            if Instant::now() + after > deadline {
                return Ok(Outcome::Refused(message));
            }
            sleep(after).await;
        }
    }

    async fn post(&self, batch: &Batch) -> Answer {
        let request = self
            .client
            .post(self.url.clone())
            .bearer_auth(&self.token)
            .header(CONTENT_TYPE, batch.content_type)
            .body(batch.body.clone());
        match request.send().await {
            Ok(response) => judge(response, batch).await,
            Err(error) => Answer::Later {
                after: PAUSE,
                message: format!("no answer: {:#}", anyhow::Error::from(error)),
            },
        }
    }
}

async fn judge(response: Response, batch: &Batch) -> Answer {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => {
            return Answer::Later { after: PAUSE, message: format!("half an answer: {error}") };
        }
    };
    if status == StatusCode::ACCEPTED {
        return Answer::Final(match serde_json::from_slice(&body) {
            Ok(accepted) => Outcome::Accepted(accepted),
            Err(_) => Outcome::Refused("the server's answer is not Herald's".to_owned()),
        });
    }
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    let place = match problem.index {
        Some(index) => format!("event {} of the input: ", batch.first + index),
        None if batch.events > 1 => {
            format!("events {} to {} of the input: ", batch.first, batch.first + batch.events - 1)
        }
        None => String::new(),
    };
    let message = match (problem.title, problem.detail) {
        (Some(title), Some(detail)) => format!("{place}{} {title}: {detail}", status.as_u16()),
        _ => format!("{place}{status}"),
    };
    match status {
        StatusCode::UNAUTHORIZED => Answer::BadToken(message),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            Answer::Later { after: after.map_or(PAUSE, Duration::from_secs), message }
        }
        _ => Answer::Final(Outcome::Refused(message)),
    }
}

/// The URL of the events of a namespace.
fn endpoint(url: &str, namespace: &str) -> anyhow::Result<Url> {
    let text = format!("{}/v1/namespaces/{namespace}/events", url.trim_end_matches('/'));
    let url = Url::parse(&text).with_context(|| format!("--url {url:?} is not a URL"))?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let local = host == "localhost" || host.parse().is_ok_and(|host: std::net::IpAddr| host.is_loopback());
    ensure!(
        url.scheme() == "https" || url.scheme() == "http" && local,
        "--url must begin with https://, since a token is sent; http:// is only for this machine"
    );
    Ok(url)
}

fn trust(ca_file: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let shown = path.display();
            let pem = fs::read(path).with_context(|| format!("cannot read --ca-file {shown}"))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.with_context(|| format!("--ca-file {shown} is not PEM"))?;
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
mod tests;
