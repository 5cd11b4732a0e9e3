//! What must hold of an endpoint's answer as the client reads it, and of what tenants and
//! administrators say of endpoints.
#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::wildcard_enum_match_arm,
    reason = "a panic is what a fuzzer looks for"
)]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Connection, Exchanged, Outgoing};
use super::exchange::Progress;
use super::quota::Metered;
use super::{Allowance, Destination, MAX_BODY, SigningKeys, Step, TlsSettings};

/// A server that says the same whatever it is asked, in pieces of at most `piece` bytes.
struct Scripted {
    says: io::Cursor<Vec<u8>>,
    piece: usize,
    /// Whether it closes the connection then, or waits.
    closes: bool,
    asked: bool,
}

impl AsyncRead for Scripted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            return Poll::Pending;
        }
        let from = usize::try_from(self.says.position()).unwrap_or(usize::MAX);
        let rest = self.says.get_ref().get(from..).unwrap_or_default();
        if rest.is_empty() && !self.closes {
            return Poll::Pending;
        }
        let length = rest.len().min(self.piece).min(buffer.remaining());
        buffer.put_slice(rest.get(..length).unwrap_or_default());
        self.says.set_position((from + length) as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Whatever an endpoint answers, what is kept of it is bounded; it means what its status
/// says; the words for it are few; and the connection is used again only if all of what was
/// said is this answer.
pub(crate) fn answer(data: &[u8]) {
    let (how, says) = data.split_first().unwrap_or((&0, &[]));
    let piece = if how & 1 == 0 { usize::MAX } else { usize::from(how >> 2).max(1) };
    let server = Scripted { says: io::Cursor::new(says.to_vec()), piece, closes: how & 2 == 0, asked: false };
    let stream = Metered::new(server);
    let quota = stream.quota();
    // An endpoint that only waits leaves the future pending: that is for the deadline, and none is needed here.
    let waker = std::task::Waker::noop();
    let exchange = async {
        let connection = Connection::over(stream, quota, Arc::default(), &Gauge::default())
            .await
            .expect("nothing is asked yet");
        let mut request = Outgoing::new(Full::new(Bytes::from_static(b"{}")));
        *request.method_mut() = http::Method::POST;
        connection.exchange(request, &mut Progress::start(Step::Head)).await
    };
    let mut exchange = Box::pin(exchange);
    let mut polls = 0;
    let ended = loop {
        match exchange.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(ended) => break ended,
            // The driver gives way after so many reads, and then goes on.
            Poll::Pending if polls < 64 => polls += 1,
            Poll::Pending => return,
        }
    };
    match ended {
        Exchanged::Answered(answer, again) => {
            assert!(answer.body.len() <= MAX_BODY && answer.body.len() <= says.len());
            assert!(answer.status.as_u16() >= 200 || answer.status == http::StatusCode::SWITCHING_PROTOCOLS);
            assert!(answer.headers.len() <= 128);
            let kept: usize = answer.headers.iter().map(|(n, v)| n.as_str().len() + v.len()).sum();
            assert!(kept <= 16 * 1024 && kept <= says.len());
            if let Some(mut again) = again {
                assert!(!answer.truncated);
                assert!(
                    !answer.headers.get_all(http::header::CONNECTION).iter().any(|value| value == "close")
                );
                // What is looked at before it is used again: something unasked was said, or its end.
                if again.is_alive() {
                    assert_eq!(framed(says, &answer), says.len(), "more was said than the answer");
                }
            }
            crate::dispatch::fuzz::judged(answer.clone());
            crate::controller::fuzz::judged(&answer);
        }
        Exchanged::NotSent(..) => {}
        Exchanged::Failed(error) => assert!(error.to_string().len() < 300, "{error}"),
    }
}

/// Where an answer ends, by reckoning of its own; where that is hard, where it should end.
fn framed(says: &[u8], answer: &super::Answer) -> usize {
    // Interim answers come before it, chunks have their own framing: only the plain case is reckoned.
    let plain =
        !says.starts_with(b"HTTP/1.1 1") && !answer.headers.contains_key(http::header::TRANSFER_ENCODING);
    let heads = [&b"\r\n\r\n"[..], b"\n\n"]
        .into_iter()
        .filter_map(|end| says.windows(end.len()).position(|bytes| bytes == end).map(|at| at + end.len()));
    match heads.min().filter(|_| plain && !says.windows(3).any(|bytes| bytes == b"\n\r\n")) {
        Some(head) => head + answer.body.len(),
        None => says.len(),
    }
}

/// A signing secret that is taken signs with one key or two; one that is not appears in no complaint.
pub(crate) fn signing_secret(data: &[u8]) {
    match SigningKeys::parse(data) {
        Ok(keys) => {
            let value = keys.sign("msg_1", 1_700_000_000, b"{}");
            let signatures: Vec<_> = value.to_str().expect("visible ASCII").split(' ').collect();
            assert!((1..=2).contains(&signatures.len()));
            assert_eq!(signatures.len(), String::from_utf8_lossy(data).split_whitespace().count());
            assert!(signatures.iter().all(|signature| signature.starts_with("v1,") && signature.len() == 47));
            let again = SigningKeys::parse(data).expect("the same");
            assert_eq!(again.sign("msg_1", 1_700_000_000, b"{}"), value);
            assert!(!quotes(&format!("{keys:?}"), data));
        }
        Err(error) => assert!(!quotes(&error.to_string(), data), "{error}"),
    }
}

/// PEM that is taken for TLS settings makes a client; a key that is not taken appears in no complaint.
pub(crate) fn tls_settings(data: &[u8]) {
    const MARK: &[u8] = b"\n--\n";
    let mut parts =
        data.windows(MARK.len()).enumerate().filter(|(_, bytes)| *bytes == MARK).map(|(at, _)| at);
    let (chain, key) = match parts.next() {
        Some(at) => data.split_at(at),
        None => (data, data),
    };
    for (ca, client) in [(Some(data), None), (None, Some((chain, key)))] {
        match TlsSettings::parse(ca, client) {
            Ok(settings) => {
                assert!(TlsSettings::parse(ca, client).is_ok_and(|again| again == settings));
                assert!(!quotes(&format!("{settings:?}"), key));
            }
            Err(error) => {
                let said = error.to_string();
                assert!(said.len() < 500, "{said}");
                assert!(!quotes(&said, key), "{said}");
            }
        }
    }
}

/// Whether a text has twelve letters or digits in a row of a secret, outside of what every PEM file has.
fn quotes(said: &str, secret: &[u8]) -> bool {
    let as_numbers = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    let numbers = said.bytes().filter(u8::is_ascii_digit).count() >= 24;
    numbers && secret.windows(12).any(|bytes| said.contains(&as_numbers(bytes)))
        || secret.windows(12).any(|bytes| {
            bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte))
                && std::str::from_utf8(bytes)
                    .is_ok_and(|bytes| said.contains(bytes) && !WORDS.contains(bytes))
        })
}

/// Words of Herald's own complaints that somebody may happen to write.
const WORDS: &str = "clientCertificateSecretRef certificate";

/// What an administrator allows is written back as it was read, and is no address in the clothes of a name.
pub(crate) fn allowance(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Allowance { namespace, to } = match text.parse() {
        Ok(allowance) => allowance,
        Err(message) => {
            let message: String = message;
            assert!(message.len() < 200, "{message}");
            return;
        }
    };
    let written = match &to {
        Destination::Net(net) => {
            assert_eq!(net.trunc(), *net);
            net.to_string()
        }
        Destination::Host(host) | Destination::HostsUnder(host) => {
            assert_eq!(host.to_ascii_lowercase(), *host);
            assert!(host.parse::<std::net::IpAddr>().is_err());
            if matches!(to, Destination::Host(_)) { host.clone() } else { format!("*.{host}") }
        }
    };
    let written = match &namespace {
        Some(namespace) => format!("{namespace}={written}"),
        None => written,
    };
    assert_eq!(written.parse(), Ok(Allowance { namespace, to }));
}
