//! Through an egress proxy: what it is asked for, and what it may do wrong.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::server::{self, Authority, OK, Server, read_request, write};
use super::subject::{channel, config, post, resolver, until};
use super::{DEADLINE, SHORT};
use crate::api::Reason;
use crate::outbound::{
    Channel, ExchangeError, Outbound, OutboundConfig, PerDestination, ProxyConfig, ProxyUrl, Step,
};

/// A proxy that opens tunnels, and tells the test what it was asked.
struct Proxy {
    server: Server,
    asked: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
}

impl Proxy {
    /// Opens each tunnel to the port that is asked for, on loopback, whatever the host.
    async fn start() -> Self {
        Self::that(|mut client, head| async move {
            let port = head.split(' ').nth(1).and_then(|it| it.rsplit_once(':')).unwrap().1.to_owned();
            let mut endpoint = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
            client.write_all(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n").await.unwrap();
            drop(tokio::io::copy_bidirectional(&mut client, &mut endpoint).await);
        })
        .await
    }

    async fn that<F, S>(serve: F) -> Self
    where
        F: Fn(TcpStream, String) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let (tell, asked) = mpsc::unbounded_channel();
        let server = Server::raw(IpAddr::V4(Ipv4Addr::LOCALHOST), move |_, mut client| {
            let (tell, serve) = (tell.clone(), serve.clone());
            async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                tell.send(head.clone()).unwrap();
                serve(client, head).await;
            }
        })
        .await;
        Self { server, asked: tokio::sync::Mutex::new(asked) }
    }

    fn config(&self) -> ProxyConfig {
        config_of(self.server.address)
    }

    async fn asked(&self) -> String {
        self.asked.lock().await.recv().await.unwrap()
    }
}

fn config_of(address: SocketAddr) -> ProxyConfig {
    let url: ProxyUrl = format!("http://{address}").parse().unwrap();
    ProxyConfig { url, credentials: None, resolves: false }
}

fn outbound(authority: &Authority, proxy: ProxyConfig) -> Outbound {
    let names = [
        ("receiver.test", "127.0.0.1"),
        ("victim.test", "10.0.0.1 169.254.169.254 fd00::1"),
        ("mixed.test", "10.0.0.1 127.0.0.1"),
    ];
    let resolver = Some(resolver(names));
    Outbound::new(OutboundConfig { proxy: Some(proxy), resolver, ..config(authority) }).unwrap()
}

/// An endpoint that tells which name its client asked for by SNI.
async fn endpoint(authority: &Authority) -> (Server, mpsc::UnboundedReceiver<Option<String>>) {
    let pair = authority.sign(&["receiver.test", "mixed.test", "127.0.0.1"]);
    let (tell, names) = mpsc::unbounded_channel();
    let server = Server::start(server::tls(&pair, None), move |_, mut stream| {
        let tell = tell.clone();
        async move {
            tell.send(stream.get_ref().1.server_name().map(str::to_owned)).unwrap();
            while read_request(&mut stream).await.is_some() {
                write(&mut stream, OK).await;
            }
        }
    })
    .await;
    (server, names)
}

async fn fails(channel: &Channel) -> ExchangeError {
    channel.exchange(post("{}"), DEADLINE).await.end.unwrap_err()
}

#[tokio::test]
async fn addresses_behind_a_named_nat64_gateway_are_counted_as_what_they_lead_to() {
    let authority = Authority::new();
    let silent = Proxy::that(|client, _| async move {
        std::future::pending::<()>().await;
        drop(client);
    });
    let proxy = silent.await;
    let per_destination = PerDestination { in_flight: 1, ..PerDestination::NONE };
    let mut config = OutboundConfig { proxy: Some(proxy.config()), per_destination, ..config(&authority) };
    config.guard.nat64 = vec!["2a00:64::/96".parse().unwrap()];
    let outbound = Outbound::new(config).unwrap();
    let running = ["[2a00:64::8.8.8.8]", "[2a00:64::8.8.4.4]", "8.8.8.8"].map(|host| {
        let channel = channel(&outbound, host, "127.0.0.1:443".parse().unwrap());
        tokio::spawn(async move { channel.exchange(post("{}"), DEADLINE).await })
    });
    let asked = [proxy.asked().await, proxy.asked().await];
    assert!(asked.iter().any(|asked| asked.contains("[2a00:64::808:404]")), "{asked:?}");
    until(|| outbound.metrics().waiting() == 1).await;
    assert_eq!(proxy.server.connections(), 2, "8.8.8.8 has what it may");
    for running in running {
        running.abort();
    }
}

#[tokio::test]
async fn the_proxy_is_asked_for_the_checked_address_and_tls_is_the_endpoints() {
    let (authority, proxy) = (Authority::new(), Proxy::start().await);
    let (server, mut names) = endpoint(&authority).await;
    let outbound = outbound(&authority, proxy.config());
    let channel = channel(&outbound, "receiver.test", server.address);
    for _ in 0..2 {
        let exchange = channel.exchange(post("{}"), DEADLINE).await;
        assert_eq!(exchange.end.unwrap().body, "ok");
    }
    let to = server.address;
    let user_agent = crate::outbound::USER_AGENT;
    let expected = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: {user_agent}\r\n\r\n");
    assert_eq!(proxy.asked().await, expected);
    assert_eq!(names.recv().await.unwrap().as_deref(), Some("receiver.test"));
    assert_eq!((proxy.server.connections(), server.connections()), (1, 1), "the tunnel is used again");
}

#[tokio::test]
async fn the_proxy_is_never_asked_for_what_the_guard_forbids() {
    let (authority, proxy) = (Authority::new(), Proxy::start().await);
    let (server, _names) = endpoint(&authority).await;
    for resolves in [false, true] {
        let outbound = outbound(&authority, ProxyConfig { resolves, ..proxy.config() });
        let hosts: &[&str] = if resolves {
            &[
                "10.0.0.1",
                "169.254.169.254",
                "[fd00::1]",
                "[64:ff9b::a00:1]",
                "0x7f.1",
                "2130706433",
                "kubernetes",
                "receiver.svc",
                "a.cluster.local",
            ]
        } else {
            &["victim.test", "10.0.0.1", "[fd00::1]", "receiver.svc"]
        };
        for host in hosts {
            let error = fails(&channel(&outbound, host, server.address)).await;
            assert_eq!(error.reason(), Reason::AddressForbidden, "{host}: {error}");
        }
    }
    assert_eq!(proxy.server.connections(), 0);
    let outbound = outbound(&authority, proxy.config());
    let mixed = channel(&outbound, "mixed.test", server.address);
    assert!(mixed.exchange(post("{}"), DEADLINE).await.end.is_ok());
    assert!(proxy.asked().await.starts_with(&format!("CONNECT {} ", server.address)));
    assert_eq!(proxy.server.connections(), 1);
}

#[tokio::test]
async fn a_proxy_that_resolves_is_asked_for_the_name_and_no_name_is_resolved_here() {
    let (authority, proxy) = (Authority::new(), Proxy::start().await);
    let (server, mut names) = endpoint(&authority).await;
    let proxied = ProxyConfig { resolves: true, ..proxy.config() };
    let settings = OutboundConfig { resolver: Some(resolver([])), ..config(&authority) };
    let outbound = Outbound::new(OutboundConfig { proxy: Some(proxied), ..settings }).unwrap();
    let port = server.address.port();
    for (host, asked) in [
        ("receiver.test", format!("receiver.test:{port}")),
        ("Receiver.Test", format!("receiver.test:{port}")),
        ("127.0.0.1", format!("127.0.0.1:{port}")),
    ] {
        let channel = channel(&outbound, host, server.address);
        let exchange = channel.exchange(post("{}"), DEADLINE).await;
        assert!(exchange.end.is_ok(), "{host}: {exchange:?}");
        assert!(proxy.asked().await.starts_with(&format!("CONNECT {asked} HTTP/1.1\r\nHost: {asked}\r\n")));
        let name = names.recv().await.unwrap();
        assert_eq!(name.as_deref(), (host != "127.0.0.1").then_some("receiver.test"));
    }
}

#[tokio::test]
async fn credentials_are_read_for_each_connection_and_shown_to_nobody_else() {
    let (authority, proxy) = (Authority::new(), Proxy::start().await);
    let (server, _names) = endpoint(&authority).await;
    let mut file = NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let credentials = Some(path.clone());
    let outbound = outbound(&authority, ProxyConfig { credentials, ..proxy.config() });
    for secret in ["herald:first", "herald:second"] {
        file.as_file().set_len(0).unwrap();
        std::fs::write(&path, secret).unwrap();
        file.flush().unwrap();
        let channel = channel(&outbound, "receiver.test", server.address);
        assert!(channel.exchange(post("{}"), DEADLINE).await.end.is_ok());
        let shown = format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(secret));
        assert!(proxy.asked().await.contains(&shown));
    }
    std::fs::write(&path, "no colon, a canary").unwrap();
    let unusable = fails(&channel(&outbound, "receiver.test", server.address)).await;
    drop(file);
    let missing = fails(&channel(&outbound, "receiver.test", server.address)).await;
    for error in [unusable, missing] {
        let said = format!("{error} {error:?}");
        assert!(error.to_string().contains("credentials for it cannot be read"), "{error}");
        assert!(!error.to_string().contains('/') && !said.contains("canary"), "{said}");
    }
    assert_eq!(proxy.server.connections(), 2, "not asked without them");
}

#[tokio::test]
async fn each_way_for_a_proxy_to_fail_is_told_apart_without_its_address() {
    let authority = Authority::new();
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(9_000));
    let table: [(&str, &str); 9] = [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "refused Herald's credentials (407)"),
        (
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",
            "refused to connect to the endpoint (403 Forbidden)",
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://login\r\n\r\n",
            "refused to connect to the endpoint (302 Found)",
        ),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "failed to connect to the endpoint (502 Bad Gateway)"),
        ("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "its answer is not HTTP/1.1"),
        ("SSH-2.0-OpenSSH_9.9\r\n", "its answer is not HTTP/1.1"),
        (&huge, "its answer is not HTTP/1.1"),
        ("HTTP/1.1 200 O", "it closed the connection before it answered"),
        ("", "it closed the connection before it answered"),
    ];
    for (answer, expected) in table {
        let said = answer.to_owned();
        let proxy = Proxy::that(move |mut client, _| {
            let said = said.clone();
            async move { drop(client.write_all(said.as_bytes()).await) }
        })
        .await;
        let outbound = outbound(&authority, proxy.config());
        let error = fails(&channel(&outbound, "receiver.test", "127.0.0.1:9".parse().unwrap())).await;
        let message = error.to_string();
        assert_eq!(error.reason(), Reason::ConnectionFailed, "{message}");
        assert!(message.contains("the egress proxy") && message.contains(expected), "{answer:?}: {message}");
        assert!(!message.contains("127.0.0.1"), "{message}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outbound = outbound(&authority, config_of(nobody));
    let error = fails(&channel(&outbound, "receiver.test", nobody)).await;
    assert_eq!(error.to_string(), "the egress proxy cannot be reached");
}

#[tokio::test]
async fn a_proxy_that_is_silent_or_drips_has_no_more_time_than_the_exchange() {
    let authority = Authority::new();
    for drip in ["", "x"] {
        let proxy = Proxy::that(move |mut client, _| async move {
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            let start = "HTTP/1.1 200 OK\r\nx: ";
            let mut next = if drip.is_empty() { "" } else { start };
            while client.write_all(next.as_bytes()).await.is_ok() {
                next = drip;
                tick.tick().await;
            }
        })
        .await;
        let outbound = outbound(&authority, proxy.config());
        let channel = channel(&outbound, "receiver.test", "127.0.0.1:9".parse().unwrap());
        let exchange = channel.exchange(post("{}"), SHORT).await;
        super::assert_ran_out(&exchange.phases, Step::Connect);
        let error = exchange.end.unwrap_err();
        let ExchangeError::TimedOut(overdue) = error else { panic!("{error:?}") };
        assert_eq!((overdue.limit, overdue.doing), (SHORT, Step::Connect));
    }
}
