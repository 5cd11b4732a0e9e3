//! The way through an egress proxy: a tunnel by HTTP `CONNECT` (RFC 9110, section 9.3.6).
//!
//! ```text
//! TCP to the proxy ─> CONNECT 203.0.113.7:443 ─> 2xx ─> TLS with the endpoint, through the tunnel
//!                             └─ the address that was checked here; the name only if the proxy resolves
//! ```
//!
//! **Guarantees.** The proxy is told where to connect and nothing else: names, headers, bodies and
//! certificates are inside TLS, which is between Herald and the endpoint. Of its answer no more than
//! [`MOST_HEAD`] bytes are read, within the exchange's time. Credentials and the proxy's address are in no
//! error: a tenant reads those. The log has what an operator needs.
//!
//! **Assumes.** The proxy connects where it is told to. Its own address is the administrator's
//! choice, and is not checked.
//!
//! **Does not do.** TLS to the proxy itself, schemes of authentication other than Basic, keeping a
//! connection to the proxy that is no tunnel.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{StatusCode, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::metrics::{Metrics, ProxyFailed};
use super::{Resolver, USER_AGENT};

/// The most bytes of the proxy's answer.
const MOST_HEAD: usize = 8 * 1024;
/// The most headers of it.
const MOST_HEADERS: usize = 64;
/// The most bytes of the file with the credentials.
const MOST_CREDENTIALS: usize = 4 * 1024;
/// No failure is logged sooner after another.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Which proxy, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Where it is.
    pub url: ProxyUrl,
    /// A file with `user:password`, read for each connection.
    pub credentials: Option<PathBuf>,
    /// The proxy resolves names: it is told the endpoint's name and not an address.
    pub resolves: bool,
}

/// `http://HOST:PORT`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    host: String,
    port: u16,
}

impl FromStr for ProxyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("{what}; write http://HOST:PORT"));
        let Ok(uri) = text.parse::<Uri>() else { return wrong("it is not a URL") };
        if uri.scheme_str() != Some("http") {
            return wrong("the proxy is reached by HTTP");
        }
        let Some((authority, port)) = uri.authority().and_then(|it| Some((it, it.port_u16()?))) else {
            return wrong("it has no port");
        };
        if authority.as_str().contains('@') {
            return Err("credentials are for a file: --outbound-proxy-credentials".to_owned());
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return wrong("a proxy has no path");
        }
        Ok(Self { host: authority.host().trim_matches(['[', ']']).to_owned(), port })
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brackets = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "http://{}{}{}:{}", brackets.0, self.host, brackets.1, self.port)
    }
}

/// Why there is no tunnel, in words for whoever wrote the Webhook.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("the egress proxy cannot be reached")]
    Unreachable(#[source] io::Error),
    #[error("the egress proxy failed: its name cannot be resolved")]
    NotResolved(String),
    #[error("the egress proxy failed: Herald's credentials for it cannot be read")]
    Credentials(String),
    #[error("the egress proxy refused Herald's credentials (407)")]
    Unauthenticated,
    #[error("the egress proxy refused to connect to the endpoint ({0})")]
    Refused(StatusCode),
    #[error("the egress proxy failed to connect to the endpoint ({0})")]
    Failed(StatusCode),
    #[error("the egress proxy failed: its answer is not HTTP/1.1")]
    NotHttp,
    #[error("the egress proxy failed: it closed the connection before it answered")]
    Closed(#[source] io::Error),
}

impl ProxyError {
    fn kind(&self) -> ProxyFailed {
        match self {
            Self::Unreachable(_) | Self::NotResolved(_) => ProxyFailed::Unreachable,
            Self::Credentials(_) => ProxyFailed::CredentialsUnreadable,
            Self::Unauthenticated => ProxyFailed::CredentialsRefused,
            Self::Refused(_) => ProxyFailed::Refused,
            Self::Failed(_) => ProxyFailed::Failed,
            Self::NotHttp => ProxyFailed::NotHttp,
            Self::Closed(_) => ProxyFailed::Closed,
        }
    }

    /// What only an operator is told.
    fn detail(&self) -> String {
        match self {
            Self::Unreachable(error) | Self::Closed(error) => error.to_string(),
            Self::NotResolved(what) | Self::Credentials(what) => what.clone(),
            Self::Unauthenticated | Self::Refused(_) | Self::Failed(_) | Self::NotHttp => String::new(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Proxy {
    config: ProxyConfig,
    logged: Mutex<Option<Instant>>,
}

impl Proxy {
    pub(super) fn new(config: ProxyConfig) -> Self {
        Self { config, logged: Mutex::default() }
    }

    /// Whether it is told names.
    pub(super) const fn resolves(&self) -> bool {
        self.config.resolves
    }

    /// A connection to `destination`, an address or a host, and its port.
    pub(super) async fn tunnel(
        &self,
        destination: &str,
        resolver: &Resolver,
        metrics: &Metrics,
    ) -> Result<TcpStream, ProxyError> {
        let opened = self.open(destination, resolver).await;
        if let Err(error) = &opened {
            metrics.proxy_failed(error.kind());
            self.log(destination, error);
        }
        opened
    }

    async fn open(&self, destination: &str, resolver: &Resolver) -> Result<TcpStream, ProxyError> {
        let head = self.head(destination).await?;
        let mut stream = self.connect(resolver).await?;
        stream.write_all(&head).await.map_err(ProxyError::Closed)?;
        let status = answer(&mut stream).await?;
        if status.is_success() {
            Ok(stream)
        } else if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            Err(ProxyError::Unauthenticated)
        } else if status.is_server_error() {
            Err(ProxyError::Failed(status))
        } else {
            Err(ProxyError::Refused(status))
        }
    }

    async fn connect(&self, resolver: &Resolver) -> Result<TcpStream, ProxyError> {
        let ProxyUrl { host, port } = &self.config.url;
        let addresses = if let Ok(address) = host.parse() {
            vec![address]
        } else {
            let found = resolver.lookup(host).await;
            found.map_err(|error| ProxyError::NotResolved(error.to_string()))?
        };
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match TcpStream::connect((address, *port)).await {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(ProxyError::Unreachable)?;
                    return Ok(stream);
                }
                Err(error) => failure = error,
            }
        }
        Err(ProxyError::Unreachable(failure))
    }

    async fn head(&self, destination: &str) -> Result<Vec<u8>, ProxyError> {
        // A host that was parsed, or an address: no character of it means anything here.
        let mut head =
            format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\nUser-Agent: {USER_AGENT}\r\n");
        if let Some(path) = &self.config.credentials {
            let basic = read_credentials(path).await.map_err(ProxyError::Credentials)?;
            head.push_str("Proxy-Authorization: Basic ");
            head.push_str(&basic);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        Ok(head.into_bytes())
    }

    /// An operator needs one of many.
    fn log(&self, destination: &str, error: &ProxyError) {
        let now = Instant::now();
        let mut logged = self.logged.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if logged.is_some_and(|last| now.saturating_duration_since(last) < LOG_EVERY) {
            return;
        }
        *logged = Some(now);
        let (proxy, detail) = (&self.config.url, error.detail());
        tracing::warn!(%proxy, destination, %error, detail, "no connection through the egress proxy");
    }
}

/// The status of the proxy's answer, read up to the end of its head.
async fn answer(stream: &mut TcpStream) -> Result<StatusCode, ProxyError> {
    let mut head = Vec::with_capacity(256);
    loop {
        let room = MOST_HEAD - head.len();
        if room == 0 {
            return Err(ProxyError::NotHttp);
        }
        let read = (&mut *stream).take(room as u64).read_buf(&mut head).await.map_err(ProxyError::Closed)?;
        if read == 0 {
            return Err(ProxyError::Closed(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Some(status) = parse(&head)? {
            return Ok(status);
        }
    }
}

/// The status, once the head is whole. In a tunnel the endpoint does not speak first, and so what
/// follows the head of a 2xx is of no tunnel.
fn parse(bytes: &[u8]) -> Result<Option<StatusCode>, ProxyError> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(length)) => {
            let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
            let status = status.ok_or(ProxyError::NotHttp)?;
            if status.is_success() && length < bytes.len() {
                return Err(ProxyError::NotHttp);
            }
            Ok(Some(status))
        }
        Err(_) => Err(ProxyError::NotHttp),
    }
}

/// `user:password` in Base64, as the file has it now.
async fn read_credentials(path: &std::path::Path) -> Result<String, String> {
    let text = tokio::fs::read(path).await.map_err(|error| format!("{}: {error}", path.display()))?;
    encode(&text).map_err(|what| format!("{}: {what}", path.display()))
}

fn encode(text: &[u8]) -> Result<String, &'static str> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.len() > MOST_CREDENTIALS {
        Err("it is longer than 4 KiB")
    } else if !text.contains(&b':') {
        Err("write user:password into it")
    } else if text.iter().any(u8::is_ascii_control) {
        Err("it has control characters, such as a second line")
    } else {
        Ok(BASE64_STANDARD.encode(text))
    }
}

impl ProxyConfig {
    /// Whether its credentials can be used, as they are now.
    ///
    /// # Errors
    /// They cannot: what to do about it.
    pub fn check(&self) -> Result<(), String> {
        let Some(path) = &self.credentials else { return Ok(()) };
        let text = std::fs::read(path).map_err(|error| error.to_string())?;
        encode(&text).map(drop).map_err(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_http_with_a_host_and_a_port_and_nothing_else() {
        let url = |text: &str| text.parse::<ProxyUrl>();
        for good in ["http://proxy.example.com:3128", "http://10.0.0.1:80", "http://[fd00::1]:8080"] {
            assert_eq!(url(good).unwrap().to_string(), good);
        }
        assert!(url("http://proxy.example.com:3128/").is_ok());
        let table = [
            ("https://proxy.example.com:3128", "by HTTP"),
            ("proxy.example.com:3128", "by HTTP"),
            ("http://proxy.example.com", "no port"),
            ("http://ada:secret@proxy.example.com:3128", "--outbound-proxy-credentials"),
            ("http://proxy.example.com:3128/path", "no path"),
            ("http://proxy.example.com:3128/?a", "no path"),
            ("http://pro xy:1", "not a URL"),
            ("", "not a URL"),
        ];
        for (text, expected) in table {
            let error = url(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret"), "{text}: {error}");
        }
    }

    /// The status, or that it is not HTTP.
    type Parsed = Result<Option<u16>, ()>;

    #[test]
    fn of_the_answer_only_the_status_matters_and_it_must_end_with_its_head() {
        let table: [(&[u8], Parsed); 12] = [
            (b"HTTP/1.1 200 Connection established\r\n\r\n", Ok(Some(200))),
            (b"HTTP/1.0 200 OK\r\nvia: x\r\n\r\n", Ok(Some(200))),
            (b"HTTP/1.1 204\r\ncontent-length: 7\r\n\r\n", Ok(Some(204))),
            (b"HTTP/1.1 407 No\r\nproxy-authenticate: Basic\r\n\r\n<html>", Ok(Some(407))),
            (b"HTTP/1.1 200 OK\r\n\r\nmore", Err(())),
            (b"HTTP/1.1 200 OK\r\n", Ok(None)),
            (b"HTT", Ok(None)),
            (b"", Ok(None)),
            (b"SSH-2.0-OpenSSH_9.9\r\n", Err(())),
            (b"\x15\x03\x01\x00\x02\x02\x50", Err(())),
            (b"HTTP/1.1 2000 OK\r\n\r\n", Err(())),
            (b"HTTP/2 200\r\n\r\n", Err(())),
        ];
        for (bytes, expected) in table {
            let parsed = parse(bytes).map(|status| status.map(|it| it.as_u16())).map_err(drop);
            assert_eq!(parsed, expected, "{:?}", String::from_utf8_lossy(bytes));
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        assert!(parse(many.as_bytes()).is_err());
    }

    #[test]
    fn credentials_are_one_line_with_a_colon() {
        assert_eq!(encode(b"ada:secret\n").unwrap(), BASE64_STANDARD.encode("ada:secret"));
        assert_eq!(encode(b"ada:se:cr et\r\n").unwrap(), BASE64_STANDARD.encode("ada:se:cr et"));
        for wrong in ["ada", "", "ada:secret\nbob:secret", "ada:\u{7}", &format!("a:{}", "x".repeat(5000))] {
            assert!(encode(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }
}
