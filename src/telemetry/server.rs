//! `/metrics`, `/livez` and `/readyz`, for the cluster's own network.
//!
//! ```text
//! accept ─┬─ there is room ────────────────┬─> one request, its answer, the end
//!         └─ full: the oldest one is ended ┘
//! ```
//!
//! Whoever reaches the port may connect. **Guarantees.** However many come and
//! whatever they send, [`CONNECTIONS`] are open at one time, each with
//! [`BUFFER_BYTES`] of what its peer sends, one answer, and [`LONGEST`] to live.
//! No probe waits for those who hold theirs: the newest always has a place, and
//! that of a probe is needed for an instant. **Does not** bound how often
//! somebody asks.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Health;
use super::health::{Check, report};

/// Many times what kubelet and Prometheus have open.
const CONNECTIONS: usize = 64;

/// From the connection to the end of the request's header.
const HEADER: Duration = Duration::from_secs(5);

/// For the whole connection: as long as Prometheus waits by itself.
const LONGEST: Duration = Duration::from_secs(10);

/// Holds a header of the largest size.
const BUFFER_BYTES: usize = 16 << 10;

/// How long the loop rests when there is, say, no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// For answers under way at the end; each is made at once.
const DRAIN: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    health: Arc<Health>,
}

/// Answers until `shutdown`. No error of a connection ends it.
pub async fn serve(listener: TcpListener, registry: Registry, health: Health, shutdown: CancellationToken) {
    let router = router(registry, health);
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a connection for metrics or health");
                // The errors are of the process (descriptors, memory) or of a
                // connection that is gone already; none is a reason to end.
                shutdown.run_until_cancelled(sleep(ACCEPT_PAUSE)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        by_age.retain(|connection| !connection.is_finished());
        if connections.len() >= CONNECTIONS {
            if let Some(oldest) = by_age.pop_front() {
                oldest.abort();
            }
            // It is not only told to end: its descriptor and its memory are free.
            connections.join_next().await;
        }
        by_age.push_back(connections.spawn(connect(stream, router.clone(), shutdown.clone())));
    }
    drop(listener);
    if timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        debug!("a request for metrics or health did not end in time to stop");
    }
}

fn router(registry: Registry, health: Health) -> Router {
    let shared = Shared { registry: Arc::new(registry), health: Arc::new(health) };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|State(shared): State<Shared>| async move { verdict(&shared.health.live) }))
        .route("/readyz", get(|State(shared): State<Shared>| async move { verdict(&shared.health.ready) }))
        .with_state(shared)
}

/// Answers one request. A kubelet connects anew for each anyway, and a scraper
/// that comes every some seconds does not mind.
async fn connect(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, shutdown: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(BUFFER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = timeout(LONGEST, async {
        if let Some(ended) = shutdown.run_until_cancelled(connection.as_mut()).await {
            return ended;
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    });
    match ended.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection for metrics or health broke"),
        Err(_) => debug!("a request for metrics or health did not end in time"),
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let mut text = String::new();
    if encode(&mut text, &shared.registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
        .into_response()
}

fn verdict(checks: &[Check]) -> (StatusCode, String) {
    let (healthy, text) = report(checks);
    (if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    /// By when something comes that is to come at once: well before the deadlines of a connection.
    const SOON: Duration = Duration::from_secs(3);

    /// A server on a port of its own.
    async fn serving(health: Health, shutdown: &CancellationToken) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, tokio::spawn(serve(listener, Registry::default(), health, shutdown.clone())))
    }

    async fn answer(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: it\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A connection may end as it likes.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn a_check_that_panics_costs_its_probe_and_nothing_else() {
        let hostile = Arc::new(AtomicBool::new(true));
        let check = {
            let hostile = hostile.clone();
            Check::new("it", move || {
                assert!(!hostile.load(Ordering::Relaxed), "as the test wants it");
                true
            })
        };
        let shutdown = CancellationToken::new();
        let health = Health { live: vec![check], ready: Vec::new() };
        let (address, serving) = serving(health, &shutdown).await;
        assert_eq!(answer(address, "/livez").await, "");
        assert!(answer(address, "/metrics").await.starts_with("HTTP/1.1 200 "));
        hostile.store(false, Ordering::Relaxed);
        assert!(answer(address, "/livez").await.starts_with("HTTP/1.1 200 "));
        shutdown.cancel();
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_sends_no_whole_header_or_takes_no_answer_is_closed_on() {
        let table = [
            ("", HEADER),
            ("GET /livez HTTP/1.1\r\nHost: i", HEADER),
            // The answer is longer than what the peer takes.
            ("GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n", LONGEST),
        ];
        for (sent, after) in table {
            let (mut peer, stream) = duplex(64);
            peer.write_all(sent.as_bytes()).await.unwrap();
            let begun = Instant::now();
            let router = router(Registry::default(), Health::default());
            let connection = connect(stream, router, CancellationToken::new());
            timeout(10 * LONGEST, connection).await.expect(sent);
            // A timer may be a millisecond late.
            assert_eq!(begun.elapsed().as_secs(), after.as_secs(), "{sent}");
        }
    }

    #[tokio::test]
    async fn a_header_that_has_no_end_is_not_kept() {
        let (mut peer, stream) = duplex(1 << 20);
        let header = format!("GET /livez HTTP/1.1\r\nHost: {}", "i".repeat(2 * BUFFER_BYTES));
        peer.write_all(header.as_bytes()).await.unwrap();
        let router = router(Registry::default(), Health::default());
        timeout(SOON, connect(stream, router, CancellationToken::new())).await.unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[tokio::test]
    async fn those_who_hold_connections_are_bounded_and_keep_no_probe_from_its_answer() {
        let shutdown = CancellationToken::new();
        let (address, serving) = serving(Health::default(), &shutdown).await;
        let mut holders = Vec::new();
        for _ in 0..3 * CONNECTIONS {
            let mut holder = TcpStream::connect(address).await.unwrap();
            holder.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
            holders.push(holder);
        }
        let probed = timeout(SOON, answer(address, "/livez")).await.expect("a probe has its answer");
        assert!(probed.starts_with("HTTP/1.1 200 "), "{probed}");
        // The probe took the place of the oldest one that was left.
        let left = holders.split_off(2 * CONNECTIONS + 1);
        for holder in &mut holders {
            let ended = timeout(SOON, holder.read(&mut [0])).await.expect("it has made room");
            assert!(!matches!(ended, Ok(1..)), "{ended:?}");
        }
        for mut holder in left {
            holder.write_all(b"Host: it\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            let _ = timeout(SOON, holder.read_to_string(&mut answer)).await.expect("it has its place");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        shutdown.cancel();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn at_the_end_nobody_is_waited_for_who_sends_nothing_more() {
        let shutdown = CancellationToken::new();
        let (address, serving) = serving(Health::default(), &shutdown).await;
        let mut holder = TcpStream::connect(address).await.unwrap();
        holder.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        assert!(
            answer(address, "/livez").await.starts_with("HTTP/1.1 200 "),
            "the one before is accepted too"
        );
        shutdown.cancel();
        timeout(SOON, serving).await.expect("it ends").unwrap();
    }
}
