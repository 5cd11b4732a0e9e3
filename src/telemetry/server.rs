//! `/metrics`, `/livez` and `/readyz`, for the cluster's own network.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Health;
use super::health::{Check, report};

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    health: Arc<Health>,
}

/// Answers until `shutdown`.
///
/// # Errors
/// The listener broke.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    health: Health,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let shared = Shared { registry: Arc::new(registry), health: Arc::new(health) };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|State(shared): State<Shared>| async move { verdict(&shared.health.live) }))
        .route("/readyz", get(|State(shared): State<Shared>| async move { verdict(&shared.health.ready) }))
        .with_state(shared);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
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
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

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
        let health = Health { live: vec![check], ready: Vec::new() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, Registry::default(), health, shutdown.clone()));
        let get = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            // A connection may end as it likes.
            let _ = stream.read_to_string(&mut answer).await;
            answer
        };
        assert_eq!(get("/livez").await, "");
        assert!(get("/metrics").await.starts_with("HTTP/1.1 200 "));
        hostile.store(false, Ordering::Relaxed);
        assert!(get("/livez").await.starts_with("HTTP/1.1 200 "));
        shutdown.cancel();
        serving.await.unwrap().unwrap();
    }
}
