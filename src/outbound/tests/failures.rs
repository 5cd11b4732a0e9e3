//! Each way to get no answer has its reason, and a message that helps.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use super::server::{self, Authority, OK, Server, answer_all, read_request, wait_for_close, write};
use super::subject::{channel, config, outbound, post, resolver};
use super::{DEADLINE, SHORT, assert_ran_out};
use crate::api::Reason;
use crate::outbound::{ExchangeError, Outbound, Resolver, Step, TlsSettings};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[track_caller]
fn assert_is(error: &ExchangeError, reason: Reason, words: &str) {
    assert_eq!(error.reason(), reason, "{error:?}");
    assert!(error.to_string().contains(words), "{words:?} is not in {:?}", error.to_string());
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_not_resolved() {
    let authority = Authority::new();
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "nowhere.test", ([127, 0, 0, 1], 1).into());
    let error = channel.exchange(post(""), DEADLINE).await.end.unwrap_err();
    assert_is(&error, Reason::NameNotResolved, "nowhere.test cannot be resolved: the name does not exist");
}

#[tokio::test]
async fn no_connection_is_made_to_a_forbidden_address() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test", "127.0.0.1"]);
    let server = Server::start(server::tls(&pair, None), |_, stream| answer_all(stream, OK)).await;
    let mut config = config(&authority);
    config.guard = crate::outbound::Guard::default();
    let outbound = Outbound::new(config).unwrap();
    let table = [
        ("receiver.test", "receiver.test leads to an address that Herald does not call"),
        ("127.0.0.1", "127.0.0.1 is a loopback address"),
        ("[64:ff9b::7f00:1]", "a NAT64 address"),
        ("127.1", "an address in an unusual spelling"),
        ("localhost", "a name of the machine itself"),
        ("receiver.demo.svc", "a name of the cluster's own network"),
    ];
    for (host, words) in table {
        let error =
            channel(&outbound, host, server.address).exchange(post(""), DEADLINE).await.end.unwrap_err();
        assert_is(&error, Reason::AddressForbidden, words);
        assert_is(&error, Reason::AddressForbidden, "--outbound-allow");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn nobody_listens() {
    let authority = Authority::new();
    let outbound = outbound(&authority);
    let address = {
        let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        listener.local_addr().unwrap()
    };
    let error =
        channel(&outbound, "receiver.test", address).exchange(post(""), DEADLINE).await.end.unwrap_err();
    let words = format!("nothing listens on port {} of receiver.test: connection refused", address.port());
    assert_is(&error, Reason::ConnectionFailed, &words);
    assert!(!error.to_string().contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn the_second_address_is_tried_when_the_first_refuses() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let server = Server::start(server::tls(&pair, None), |_, stream| answer_all(stream, OK)).await;
    let mut config = config(&authority);
    // 10.0.0.1 is forbidden and not tried, nobody listens on 127.0.0.2.
    config.resolver = Some(resolver([("receiver.test", "10.0.0.1 127.0.0.2 127.0.0.1")]));
    let outbound = Outbound::new(config).unwrap();
    let channel = channel(&outbound, "receiver.test", server.address);
    assert_eq!(channel.exchange(post(""), DEADLINE).await.end.unwrap().body, "ok");
}

#[tokio::test]
async fn certificates_that_are_not_good_are_told_apart() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let table = [
        (authority.expired(&["receiver.test"]), "certificate expired at 2021-01-01T00:00:00Z"),
        (authority.sign(&["other.test"]), "certificate is for another host name"),
        (stranger.sign(&["receiver.test"]), "signed by no CA that Herald trusts"),
    ];
    let outbound = outbound(&authority);
    for (pair, words) in table {
        let server = Server::start(server::tls(&pair, None), |_, stream| answer_all(stream, OK)).await;
        let channel = channel(&outbound, "receiver.test", server.address);
        let error = channel.exchange(post(""), DEADLINE).await.end.unwrap_err();
        assert_is(&error, Reason::TLSFailed, words);
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[tokio::test]
async fn a_port_without_tls_is_told() {
    let authority = Authority::new();
    let server = Server::raw(LOCALHOST, |_, mut tcp| async move {
        drop(tcp.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await);
        let mut rest = Vec::new();
        drop(tokio::io::AsyncReadExt::read_to_end(&mut tcp, &mut rest).await);
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    let error = channel.exchange(post(""), DEADLINE).await.end.unwrap_err();
    assert_is(&error, Reason::TLSFailed, "does not speak TLS on this port");
}

#[tokio::test]
async fn a_client_certificate_that_is_missing_is_asked_for_by_name() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let tls = server::tls(&pair, Some(&authority));
    let server = Server::start(tls, |_, stream| answer_all(stream, OK)).await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    let error = channel.exchange(post(""), DEADLINE).await.end.unwrap_err();
    assert_is(&error, Reason::TLSFailed, "spec.tls.clientCertificateSecretRef");
}

#[tokio::test]
async fn a_client_certificate_that_is_refused_is_told_from_one_that_is_missing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let pair = authority.sign(&["receiver.test"]);
    let server =
        Server::start(server::tls(&pair, Some(&authority)), |_, stream| answer_all(stream, OK)).await;
    let outbound = outbound(&authority);
    let uri = format!("https://receiver.test:{}/", server.address.port()).parse().unwrap();
    let by = |signer: &Authority| {
        let client = signer.sign(&["herald"]);
        let identity = (client.certificate.as_bytes(), client.key.as_bytes());
        outbound.channel("team", &uri, &TlsSettings::parse(None, Some(identity)).unwrap()).unwrap()
    };
    let error = by(&stranger).exchange(post(""), DEADLINE).await.end.unwrap_err();
    assert_is(&error, Reason::TLSFailed, "the endpoint refuses Herald's client certificate");
    assert_eq!(by(&authority).exchange(post(""), DEADLINE).await.end.unwrap().body, "ok");
}

/// Notes which host the client says that it wants.
#[derive(Debug)]
struct Asked(Arc<CertifiedKey>, Arc<Mutex<Vec<Option<String>>>>);

impl ResolvesServerCert for Asked {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.1.lock().unwrap().push(hello.server_name().map(str::to_owned));
        Some(self.0.clone())
    }
}

#[tokio::test]
async fn an_endpoint_is_told_which_host_is_wanted_and_its_certificate_must_be_for_that() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test", "127.0.0.1"]);
    let provider = rustls::crypto::ring::default_provider();
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let key = Arc::new(CertifiedKey::from_der(chain, key, &provider).unwrap());
    let asked = Arc::<Mutex<Vec<_>>>::default();
    let tls = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Asked(key, asked.clone())));
    let server = Server::start(tls, |_, stream| answer_all(stream, OK)).await;
    let mut config = config(&authority);
    config.resolver = Some(resolver([("receiver.test", "127.0.0.1"), ("other.test", "127.0.0.1")]));
    let outbound = Outbound::new(config).unwrap();
    for host in ["receiver.test", "RECEIVER.test", "127.0.0.1", "other.test"] {
        let end = channel(&outbound, host, server.address).exchange(post(""), DEADLINE).await.end;
        match host {
            "other.test" => assert_is(&end.unwrap_err(), Reason::TLSFailed, "for another host name"),
            _ => assert_eq!(end.unwrap().body, "ok", "{host}"),
        }
    }
    let asked: Vec<_> =
        asked.lock().unwrap().drain(..).map(|host| host.map(|it| it.to_lowercase())).collect();
    let said = |host: &str| Some(host.to_owned());
    // An address is not a host name: RFC 6066 has none sent for it.
    assert_eq!(asked, [said("receiver.test"), said("receiver.test"), None, said("other.test")]);
}

#[tokio::test]
async fn an_answer_that_is_not_http_or_not_whole_is_told_apart() {
    let huge = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    let table = [
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(), Reason::MalformedAnswer, "not HTTP"),
        (huge, Reason::MalformedAnswer, "headers are longer"),
        (many, Reason::MalformedAnswer, "headers"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(),
            Reason::MalformedAnswer,
            "not framed",
        ),
        (String::new(), Reason::ConnectionFailed, "closed the connection before its answer was complete"),
        ("HTTP/1.1 200".to_owned(), Reason::ConnectionFailed, "before its answer was complete"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_owned(),
            Reason::ConnectionFailed,
            "before its answer was complete",
        ),
    ];
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let outbound = outbound(&authority);
    for (answer, reason, words) in table {
        let said = answer.clone();
        let server = Server::start(server::tls(&pair, None), move |_, mut stream| {
            let said = said.clone();
            async move {
                read_request(&mut stream).await;
                write(&mut stream, &said).await;
                drop(stream.shutdown().await);
            }
        })
        .await;
        let channel = channel(&outbound, "receiver.test", server.address);
        let error = channel.exchange(post("{}"), DEADLINE).await.end.expect_err(&answer);
        assert_is(&error, reason, words);
    }
}

#[tokio::test]
async fn an_endpoint_that_speaks_first_or_goes_at_once_is_told_apart() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let outbound = outbound(&authority);
    let table = [
        ("220 mail.test ready\r\n", Reason::MalformedAnswer, "speaks before it is asked"),
        ("", Reason::ConnectionFailed, "closes each connection before it takes a request"),
    ];
    for (banner, reason, words) in table {
        let server = Server::start(server::tls12(&pair), move |_, mut stream| async move {
            write(&mut stream, banner).await;
            if banner.is_empty() {
                drop(stream.shutdown().await);
            }
            wait_for_close(&mut stream).await;
        })
        .await;
        let channel = channel(&outbound, "receiver.test", server.address);
        let error = channel.exchange(post("{}"), DEADLINE).await.end.unwrap_err();
        assert_is(&error, reason, words);
        assert_eq!(server.connections(), 1);
    }
}

/// A resolver whose only name server takes each question and answers none.
async fn deaf_resolver() -> (Resolver, UdpSocket) {
    let socket = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    (Resolver::asking(&[socket.local_addr().unwrap()]).unwrap(), socket)
}

/// A port that has as many connections waiting as it takes, and accepts none.
async fn full_port() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (listener, waiting)
}

#[tokio::test]
async fn the_deadline_covers_each_step_before_the_request_and_names_it() {
    let authority = Authority::new();
    let (deaf, _name_server) = deaf_resolver().await;
    let (full, _waiting) = full_port().await;
    let silent = Server::silent(LOCALHOST).await;
    let known = || resolver([("receiver.test", "127.0.0.1")]);
    let table = [
        (deaf, silent.address, Step::Resolve, "resolving the host name"),
        (known(), full.local_addr().unwrap(), Step::Connect, "connecting"),
        (known(), silent.address, Step::Tls, "waiting for the TLS handshake"),
    ];
    for (resolver, address, step, words) in table {
        let mut config = config(&authority);
        config.resolver = Some(resolver);
        let outbound = Outbound::new(config).unwrap();
        let exchange = channel(&outbound, "receiver.test", address).exchange(post(""), SHORT).await;
        assert_ran_out(&exchange.phases, step);
        let error = exchange.end.unwrap_err();
        assert_is(&error, Reason::TimedOut, "no complete answer within 200ms");
        assert_is(&error, Reason::TimedOut, words);
    }
}

#[test]
fn tls_settings_that_are_not_pem_say_what_to_write() {
    let authority = Authority::new();
    let pair = authority.sign(&["client"]);
    let (chain, key) = (pair.certificate.as_bytes(), pair.key.as_bytes());
    let other = authority.sign(&["other"]);
    let not_ca = TlsSettings::parse(Some(b"hello"), None).unwrap_err();
    assert_eq!(not_ca.reason(), Reason::CaUnusable);
    assert!(not_ca.to_string().contains("BEGIN CERTIFICATE"), "{not_ca}");
    for client in [(key, key), (chain, chain), (chain, other.key.as_bytes()), (b"".as_slice(), key)] {
        let error = TlsSettings::parse(None, Some(client)).unwrap_err();
        assert_eq!(error.reason(), Reason::SecretMalformed);
        assert!(error.to_string().contains("tls.crt"), "{error}");
    }
    // A key that has lost its line breaks, in its own place or in another's: not as text, not as numbers.
    let one_line = pair.key.replace('\n', " ");
    for (chain, key) in [(chain, one_line.as_bytes()), (one_line.as_bytes(), key)] {
        let said = TlsSettings::parse(None, Some((chain, key))).unwrap_err().to_string();
        let digits = said.bytes().filter(u8::is_ascii_digit).count();
        assert!(digits < 10 && !said.contains(&pair.key[40..60]), "{said}");
    }
    let settings = TlsSettings::parse(None, Some((chain, key))).unwrap();
    assert_eq!(settings, TlsSettings::parse(None, Some((chain, key))).unwrap());
    assert_ne!(settings, TlsSettings::default());
    assert_eq!(TlsSettings::parse(None, None).unwrap(), TlsSettings::default());
}
