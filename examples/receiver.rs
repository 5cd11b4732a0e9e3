//! An endpoint for Herald's webhooks, over TLS: what an endpoint has to do, in
//! one file, and a receiver to try webhooks out with.
//!
//! ```text
//! GET,  X-Verification-Key: k ─> 200 {"key": "k"}   "yes, I want these webhooks"
//! POST, X-API-Key, webhook-*  ─> is it Herald? is it whole and fresh? seen before? ─> 204
//! ```
//!
//! `cargo run --example receiver -- --self-signed-dir /tmp/receiver --api-key change-me`
//!
//! Each request becomes one line on standard output, with `--json` one JSON
//! object. What it says of itself goes there too, with `--json` to standard error.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Herald's bodies hold an event of at most 256 KiB and a few members.
const MAX_BODY: usize = 512 * 1024;
/// Nobody may keep a connection busy with nothing for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An endpoint for Herald's webhooks, to try them out and to learn from.
#[derive(Parser)]
struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// The certificate and its chain, PEM.
    #[arg(long, requires = "tls_key", required_unless_present = "self_signed_dir")]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Makes ca.pem, tls.pem and key.pem for localhost in this folder, and uses what is there already.
    #[arg(long, conflicts_with = "tls_cert")]
    self_signed_dir: Option<PathBuf>,
    /// What X-API-Key must be; without it, any is taken.
    #[arg(long, env = "RECEIVER_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// The secret that deliveries are signed with (`whsec_…`); without it, signatures are not looked at.
    #[arg(long, env = "RECEIVER_SIGNING_SECRET", hide_env_values = true)]
    signing_secret: Option<String>,
    /// Prints JSON lines.
    #[arg(long)]
    json: bool,
    /// For a demonstration: answers challenges with another key, and so is never verified.
    #[arg(long)]
    wrong_key: bool,
    /// For a demonstration: answers the first N good deliveries with 500.
    #[arg(long, value_name = "N", default_value_t = 0)]
    fail_first: usize,
}

struct Receiver {
    args: Args,
    signature: Option<standardwebhooks::Webhook>,
    deliveries: Mutex<Deliveries>,
}

struct Deliveries {
    still_to_fail: usize,
    /// The ids of those that were taken. An endpoint in earnest keeps them with
    /// its data, and writes both in one transaction.
    taken: HashSet<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (certificate, key) = match (&args.self_signed_dir, &args.tls_cert, &args.tls_key) {
        (Some(folder), _, _) => self_signed(folder)?,
        (None, Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        (None, _, _) => anyhow::bail!("needs --tls-cert and --tls-key, or --self-signed-dir"),
    };
    let acceptor = acceptor(&certificate, &key)?;
    let signature = args.signing_secret.as_deref().map(standardwebhooks::Webhook::new).transpose()?;
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("on {}", args.listen))?;
    let address = listener.local_addr()?;
    let deliveries = Mutex::new(Deliveries { still_to_fail: args.fail_first, taken: HashSet::new() });
    let receiver = Arc::new(Receiver { args, signature, deliveries });
    if let Some(folder) = &receiver.args.self_signed_dir {
        let [ca, pair, key] = ["ca.pem", "tls.pem", "key.pem"].map(|name| folder.join(name));
        receiver.say(&format!(
            "CA {} (trust this one), certificate {}, key {}",
            ca.display(),
            pair.display(),
            key.display()
        ));
    }
    receiver.say(&format!("listening on https://{address}"));
    serve(&listener, &acceptor, &receiver).await
}

/// Until SIGTERM or SIGINT; requests that have begun are answered.
async fn serve(
    listener: &TcpListener,
    acceptor: &TlsAcceptor,
    receiver: &Arc<Receiver>,
) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let connections = GracefulShutdown::new();
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        };
        let (acceptor, receiver, watcher) = (acceptor.clone(), receiver.clone(), connections.watcher());
        tokio::spawn(async move {
            let Ok(Ok(stream)) = timeout(PATIENCE, acceptor.accept(stream)).await else { return };
            let service = service_fn(|request| async { Ok::<_, Infallible>(receiver.answer(request).await) });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_mins(5))
                .serve_connection(TokioIo::new(stream), service);
            // Whether a client ended its connection nicely is no concern of an endpoint.
            let _ = watcher.watch(connection).await;
        });
    }
    // Answers are quick, and who hangs on is cut off.
    let _ = timeout(Duration::from_secs(2), connections.shutdown()).await;
    receiver.say("stopped");
    Ok(())
}

impl Receiver {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let key = head.headers.get("x-verification-key").and_then(|key| key.to_str().ok());
        let (status, answer) = match (&head.method, key) {
            (&Method::GET, Some(key)) => self.challenge(head.uri.path(), key),
            (&Method::POST, _) => (self.delivery(&head.headers, body).await, String::new()),
            _ => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        };
        let mut response = Response::new(Full::from(answer));
        *response.status_mut() = status;
        response
    }

    /// Sends the key back: who asked learns that this endpoint wants the webhooks.
    fn challenge(&self, path: &str, key: &str) -> (StatusCode, String) {
        let wrong = self.args.wrong_key;
        let note = if wrong { "with another key, as asked" } else { "with its key" };
        self.print(
            &format!("challenge  200  {path}  answered {note}"),
            &json!({"request": "challenge", "status": 200, "path": path, "right": !wrong}),
        );
        let key = if wrong { "another-key" } else { key };
        (StatusCode::OK, json!({ "key": key }).to_string())
    }

    /// Any 2xx says: it is mine now. Anything else, and Herald sends it again.
    async fn delivery(&self, headers: &HeaderMap, body: Incoming) -> StatusCode {
        let taken = self.take(headers, body).await;
        let (status, event, note) = match &taken {
            Ok((event, repeat)) => (StatusCode::NO_CONTENT, event, if *repeat { "a repeat" } else { "" }),
            Err((status, note)) => (*status, &Value::Null, *note),
        };
        let text = |member: &str| event.get(member).and_then(Value::as_str).unwrap_or("-");
        let id = text_of(headers, "webhook-id").unwrap_or("-");
        let (kind, subject, code) = (text("type"), text("subject"), status.as_u16());
        self.print(
            format!("delivery   {code}  {kind}  {subject}  {id}  {note}").trim_end(),
            &json!({
                "request": "delivery", "status": code, "id": id, "type": event.get("type"),
                "subject": event.get("subject"), "repeat": note == "a repeat", "note": note, "event": event,
            }),
        );
        status
    }

    /// The event and whether it has been here before, or the status that refuses it and why.
    async fn take(
        &self,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<(Value, bool), (StatusCode, &'static str)> {
        // Is it Herald? Compared in constant time, so that nobody can guess the key byte by byte.
        let api_key = headers.get("x-api-key").map_or(&[][..], |key| key.as_bytes());
        if let Some(expected) = &self.args.api_key
            && !bool::from(expected.as_bytes().ct_eq(api_key))
        {
            return Err((StatusCode::UNAUTHORIZED, "X-API-Key is not the right one"));
        }
        // Is it whole and fresh? The signature covers the bytes as they came, so it goes before the parser.
        let body = timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await;
        let body = body.map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the body does not end"))?;
        let body = body.map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"))?.to_bytes();
        if let Some(signature) = &self.signature
            && signature.verify(&body, headers).is_err()
        {
            return Err((StatusCode::UNAUTHORIZED, "webhook-signature is missing, wrong or old"));
        }
        let event: Value =
            serde_json::from_slice(&body).map_err(|_| (StatusCode::BAD_REQUEST, "the body is not JSON"))?;
        // Seen before? Delivery is at least once, and each try has the same id.
        let id = text_of(headers, "webhook-id").ok_or((StatusCode::BAD_REQUEST, "webhook-id is missing"))?;
        let mut deliveries = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        if deliveries.still_to_fail > 0 {
            deliveries.still_to_fail -= 1;
            return Err((StatusCode::INTERNAL_SERVER_ERROR, "fails, as asked"));
        }
        let repeat = !deliveries.taken.insert(id.to_owned());
        Ok((event, repeat))
    }

    /// Tells of a request.
    fn print(&self, line: &str, json: &Value) {
        // A reader that went away, such as `head`, is no reason to stop.
        let _ = if self.args.json {
            writeln!(std::io::stdout(), "{json}")
        } else {
            writeln!(std::io::stdout(), "{line}")
        };
    }

    /// Tells of itself.
    fn say(&self, line: &str) {
        let _ = if self.args.json {
            writeln!(std::io::stderr(), "{line}")
        } else {
            writeln!(std::io::stdout(), "{line}")
        };
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn acceptor(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.with_context(|| certificate.display().to_string())?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| key.display().to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A certificate for this machine, and the authority that signed it and nothing else.
fn self_signed(folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let [ca_file, pair_file, key_file] = ["ca.pem", "tls.pem", "key.pem"].map(|name| folder.join(name));
    if [&ca_file, &pair_file, &key_file].iter().all(|file| file.exists()) {
        return Ok((pair_file, key_file));
    }
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(rcgen::DnType::CommonName, "Example receiver CA");
    let authority = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate()?)?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = rcgen::CertificateParams::new(names)?;
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    std::fs::write(ca_file, authority.pem())?;
    std::fs::write(&pair_file, certificate.pem())?;
    let mut secret =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&key_file)?;
    secret.write_all(key.serialize_pem().as_bytes())?;
    Ok((pair_file, key_file))
}
