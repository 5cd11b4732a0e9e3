//! Who is trusted, who Herald is, and whose sessions they are.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use super::DEADLINE;
use super::server::{self, Authority, OK, Server, answer_all, read_request, write};
use super::subject::{channel, outbound, post};
use crate::api::Reason;
use crate::outbound::TlsSettings;

#[tokio::test]
async fn a_ca_of_the_webhook_s_own_is_trusted_in_place_of_the_others() {
    let (shared, own) = (Authority::new(), Authority::new());
    let outbound = outbound(&shared);
    let settings = TlsSettings::parse(Some(own.pem().as_bytes()), None).unwrap();
    for (authority, trusted) in [(&own, true), (&shared, false)] {
        let pair = authority.sign(&["receiver.test"]);
        let server = Server::start(server::tls(&pair, None), |_, stream| answer_all(stream, OK)).await;
        let uri = format!("https://receiver.test:{}/", server.address.port()).parse().unwrap();
        let channel = outbound.channel("team", &uri, &settings).unwrap();
        let answer = channel.exchange(post(""), DEADLINE).await.end;
        assert_eq!(answer.is_ok(), trusted, "{answer:?}");
        assert_eq!(answer.err().map(|error| error.reason()), (!trusted).then_some(Reason::TLSFailed));
    }
}

#[tokio::test]
async fn the_client_certificate_is_shown_to_who_asks_for_it() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let pair = authority.sign(&["receiver.test"]);
    let tls = server::tls(&pair, Some(&clients));
    let server = Server::start(tls, |_, stream| answer_all(stream, OK)).await;
    let outbound = outbound(&authority);
    let uri = format!("https://receiver.test:{}/", server.address.port()).parse().unwrap();
    for (signer, accepted) in [(&clients, true), (&authority, false)] {
        let client = signer.sign(&["herald"]);
        let settings =
            TlsSettings::parse(None, Some((client.certificate.as_bytes(), client.key.as_bytes()))).unwrap();
        let answer =
            outbound.channel("team", &uri, &settings).unwrap().exchange(post(""), DEADLINE).await.end;
        assert_eq!(answer.is_ok(), accepted, "{answer:?}");
        if let Err(error) = answer {
            assert_eq!(error.reason(), Reason::TLSFailed);
            assert!(error.to_string().contains("refuses Herald's client certificate"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_session_is_resumed_within_its_channel_and_never_by_another() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let (seen, mut kinds) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(server::tls(&pair, None), move |_, mut stream| {
        let seen = seen.clone();
        async move {
            read_request(&mut stream).await;
            seen.send(stream.get_ref().1.handshake_kind().unwrap()).unwrap();
            write(&mut stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
            drop(tokio::io::AsyncWriteExt::shutdown(&mut stream).await);
        }
    })
    .await;
    let outbound = outbound(&authority);
    let (first, second) = (
        channel(&outbound, "receiver.test", server.address),
        channel(&outbound, "receiver.test", server.address),
    );
    for (channel, resumed) in [(&first, false), (&first, true), (&second, false), (&second, true)] {
        channel.exchange(post(""), DEADLINE).await.end.unwrap();
        let kind = kinds.recv().await.unwrap();
        assert_eq!(kind == rustls::HandshakeKind::Resumed, resumed, "{kind:?}");
    }
}

#[tokio::test]
async fn an_ipv6_literal_is_a_host() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(Arc::new(server::tls(&authority.sign(&["::1"]), None)));
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::raw(IpAddr::V6(Ipv6Addr::LOCALHOST), move |_, tcp| {
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        async move {
            let mut stream = acceptor.accept(tcp).await.unwrap();
            seen.send(read_request(&mut stream).await.unwrap()).unwrap();
            write(&mut stream, OK).await;
        }
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "[::1]", server.address);
    channel.exchange(post(""), DEADLINE).await.end.unwrap();
    let host = format!("host: [::1]:{}\r\n", server.address.port());
    let request = requests.recv().await.unwrap();
    assert!(request.contains(&host), "{request}");
}
