//! One connection, from the handshake to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::service::{Matching, Service};
use crate::access::Review;
use crate::journal::Journal;

/// Holds a header of the largest size, and is what a body is read in.
const BUFFER_BYTES: usize = 32 << 10;

/// Serves requests until the peer or a limit ends it, or until `shutdown`:
/// then the request under way still gets its answer.
pub(super) async fn serve<J: Journal, S: Matching, R: Review>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: Arc<Service<J, S, R>>,
    shutdown: CancellationToken,
) {
    let limits = *service.limits();
    let begun = Arc::new(AtomicBool::new(false));
    let answer = service_fn({
        let begun = Arc::clone(&begun);
        move |request| {
            begun.store(true, Ordering::Relaxed);
            let service = Arc::clone(&service);
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_header_size(limits.header_bytes)
        .max_buf_size(BUFFER_BYTES.max(limits.header_bytes))
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    let mut first_header = pin!(sleep(limits.first_header));
    let mut waiting = true;
    let ended = loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => break ended,
            () = first_header.as_mut(), if waiting => {
                if !begun.load(Ordering::Relaxed) {
                    debug!("no request in time");
                    return;
                }
                waiting = false;
            }
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let Ok(ended) = timeout(limits.drain, connection.as_mut()).await else {
                    debug!("a request did not end in time to stop");
                    return;
                };
                break ended;
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection broke");
    }
}
