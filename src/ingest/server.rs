//! The accept loop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::connection;
use super::exposure::{Exposed, check_exposure};
use super::service::{Matching, Service};
use super::tls::{Renewal, TlsError, TlsFiles};
use crate::access::Review;
use crate::journal::Journal;

/// How long the loop rests when there is, say, no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why ingestion did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No TLS where it is needed.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The listener is not one.
    #[error("the listener has no address: {0}")]
    Listener(#[from] io::Error),
}

/// Serves until `shutdown`, then lets requests under way end, within
/// [`super::Limits::drain`]. Nothing of it runs on when it returns.
///
/// # Errors
/// It cannot start. Once it serves, no error of a connection ends it.
pub async fn run<J: Journal, S: Matching, R: Review>(
    listener: TcpListener,
    tls: Option<TlsFiles>,
    service: Arc<Service<J, S, R>>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let address = listener.local_addr()?;
    check_exposure(address, tls.is_some())?;
    let tasks = TaskTracker::new();
    let config = match tls {
        None => None,
        Some(files) => {
            let (renewal, config) = Renewal::start(files, service.metrics().clone()).await?;
            tasks.spawn(renewal.run(shutdown.clone()));
            Some(config)
        }
    };
    info!(%address, tls = config.is_some(), "taking user events");
    let permits = Arc::new(Semaphore::new(service.limits().connections));
    while let Some(accepted) = shutdown.run_until_cancelled(accept(&listener, &permits)).await {
        match accepted {
            Ok((stream, permit)) => {
                tasks.spawn(connect(
                    stream,
                    config.clone(),
                    Arc::clone(&service),
                    shutdown.child_token(),
                    permit,
                ));
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                // The errors are of the process (descriptors, memory) or of a
                // connection that is gone already; none is a reason to end.
                shutdown.run_until_cancelled(sleep(ACCEPT_PAUSE)).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
    info!("no user events are taken any more");
    Ok(())
}

/// Takes a connection only when there is a place for it.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn connect<J: Journal, S: Matching, R: Review>(
    stream: TcpStream,
    config: Option<watch::Receiver<Arc<ServerConfig>>>,
    service: Arc<Service<J, S, R>>,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    let _counted = service.metrics().connection();
    // An answer is one small segment; waiting to fill it would only delay it.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a connection went away at once");
        return;
    }
    let Some(config) = config else {
        connection::serve(stream, service, shutdown).await;
        return;
    };
    let acceptor = TlsAcceptor::from(Arc::clone(&config.borrow()));
    let handshake = timeout(service.limits().handshake, acceptor.accept(stream));
    match shutdown.run_until_cancelled(handshake).await {
        Some(Ok(Ok(stream))) => connection::serve(stream, service, shutdown).await,
        Some(Ok(Err(error))) => debug!(%error, "no TLS session"),
        Some(Err(_)) => debug!("no TLS session in time"),
        None => {}
    }
}
