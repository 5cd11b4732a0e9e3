//! Connecting, and the streams that there have to be.

use std::time::{Duration, Instant};

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{
    Config as StreamConfig, DiscardPolicy, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, ConnectOptions, Event};

use super::config::Config;
use super::durability::Refusal;
use super::names::{Names, PARTITIONS};

/// How long a request to the server may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no journal on NATS, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file that was named cannot be used.
    #[error("cannot use {path} for NATS: {cause}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// Nobody answers, or not to this process.
    #[error("cannot connect to NATS at {servers}: {cause}")]
    Connect {
        /// Where.
        servers: String,
        /// Why.
        #[source]
        cause: async_nats::ConnectError,
    },
    /// The server is too old, or does without `JetStream`.
    #[error("NATS {version} at {servers} cannot keep a journal: use 2.14 or newer, with JetStream on")]
    TooOld {
        /// Where.
        servers: String,
        /// Which.
        version: String,
    },
    /// A stream cannot be made, or read.
    #[error("the stream {stream}: {cause}")]
    Stream {
        /// Its name.
        stream: String,
        /// Why.
        #[source]
        cause: async_nats::Error,
    },
    /// There is no TLS on this machine.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// What is acknowledged may not be on a disk.
    #[error(transparent)]
    Durability(#[from] Refusal),
    /// A stream that an administrator made lacks something.
    #[error("the stream {stream} does not have {wanted}: change it, or let Herald make its streams")]
    Setting {
        /// Its name.
        stream: String,
        /// What it should have.
        wanted: &'static str,
    },
}

/// Connects. It waits for the first connection as long as the caller does.
pub async fn connect(config: &Config) -> Result<Client, OpenError> {
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path).map_err(|cause| OpenError::File { path: path.to_owned(), cause })
    };
    let mut options = ConnectOptions::new()
        .name(format!("herald {}", config.instance))
        // Its own: so a user of NATS may be let read these answers and no others.
        .custom_inbox_prefix(Names::new(&config.prefix).inbox())
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(2))
        .request_timeout(Some(TIMEOUT))
        .client_capacity(8192)
        .event_callback(|event| async move {
            match event {
                Event::Connected => tracing::info!("connected to NATS"),
                Event::Disconnected => tracing::warn!("disconnected from NATS"),
                other @ (Event::LameDuckMode
                | Event::Draining
                | Event::Closed
                | Event::SlowConsumer(_)
                | Event::ServerError(_)
                | Event::ClientError(_)) => tracing::warn!(%other, "NATS"),
            }
        })
        .reconnect_delay_callback(|attempts| Duration::from_millis((50_u64 << attempts.min(5)).min(1000)));
    if let Some(path) = &config.credentials.file {
        let text = read(path)?;
        options =
            options.credentials(&text).map_err(|cause| OpenError::File { path: path.clone(), cause })?;
    }
    if let Some(path) = &config.credentials.nkey {
        options = options.nkey(read(path)?.trim().to_owned());
    }
    if config.tls.required {
        options = options.require_tls(true);
    }
    if let Some(path) = &config.tls.authorities {
        options = options.add_root_certificates(path.clone());
    }
    if let Some((certificate, key)) = &config.tls.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    let servers: Vec<&str> = config.servers.split(',').map(str::trim).collect();
    let client = options
        .connect(servers)
        .await
        .map_err(|cause| OpenError::Connect { servers: config.servers.clone(), cause })?;
    if !client.is_server_compatible(2, 14, 0) {
        let version = client.server_info().version;
        return Err(OpenError::TooOld { servers: config.servers.clone(), version });
    }
    Ok(client)
}

/// The context of requests about streams.
pub fn context(client: &Client) -> Context {
    let mut context = jetstream::new(client.clone());
    context.set_timeout(TIMEOUT);
    context
}

/// Finds the streams, and makes or changes them where that is Herald's to do; answers with that
/// of the log.
pub async fn prepare(
    context: &Context,
    names: &Names,
    config: &Config,
    found: Found,
) -> Result<Stream, OpenError> {
    ensure(context, dead(names, config), config, found).await?;
    ensure(context, attempts(names, config), config, found).await?;
    ensure(context, snapshots(names, config), config, found).await?;
    ensure(context, log(names, config), config, found).await
}

/// What is done with a stream that is not as a dispatcher with this configuration would have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is changed, unless that is an administrator's to do.
    Change,
    /// It is left as it is.
    Leave,
}

/// For so long it is tried to make a stream, since several dispatchers may begin at one time, and
/// servers that have just begun have no leader.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long it is waited between two tries.
const AGAIN: Duration = Duration::from_millis(500);

async fn ensure(
    context: &Context,
    wanted: StreamConfig,
    config: &Config,
    found: Found,
) -> Result<Stream, OpenError> {
    let until = Instant::now() + PATIENCE;
    let stream = loop {
        match find(context, &wanted, config, found).await {
            Ok(stream) => break stream,
            Err(cause) if Instant::now() >= until || config.existing => {
                return Err(OpenError::Stream { stream: wanted.name, cause });
            }
            Err(cause) => {
                tracing::info!(stream = wanted.name, error = %cause, "a stream is not there yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    let found = &stream.cached_info().config;
    let settings = [
        (found.storage == StorageType::File, "storage in files"),
        (found.retention == RetentionPolicy::Limits, "the retention policy of limits"),
        (found.allow_direct, "direct gets"),
        (!wanted.allow_atomic_publish || found.allow_atomic_publish, "atomic batch publishing"),
        (found.discard == wanted.discard, "the discard policy that it should have"),
        (wanted.subjects.iter().all(|subject| found.subjects.contains(subject)), "all of its subjects"),
    ];
    match settings.into_iter().find(|(has, _)| !has) {
        None => Ok(stream),
        Some((_, lacks)) => Err(OpenError::Setting { stream: wanted.name, wanted: lacks }),
    }
}

/// The stream as it is to be: made if there is none, changed if that is Herald's to do.
async fn find(
    context: &Context,
    wanted: &StreamConfig,
    config: &Config,
    found: Found,
) -> Result<Stream, async_nats::Error> {
    match context.get_stream(&wanted.name).await {
        Ok(stream)
            if config.existing
                || found == Found::Leave
                || is_as_wanted(&stream.cached_info().config, wanted) =>
        {
            Ok(stream)
        }
        Ok(_) => {
            context.update_stream(wanted).await?;
            Ok(context.get_stream(&wanted.name).await?)
        }
        Err(error) if config.existing => Err(error.into()),
        Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(cause) if cause.error_code() == ErrorCode::STREAM_NOT_FOUND) => {
            Ok(context.create_stream(wanted.clone()).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether nothing of what Herald sets is otherwise.
fn is_as_wanted(found: &StreamConfig, wanted: &StreamConfig) -> bool {
    let of = |config: &StreamConfig| {
        (
            (config.subjects.clone(), config.num_replicas, config.discard),
            (config.max_age, config.max_bytes, config.duplicate_window),
            (config.allow_direct, config.allow_atomic_publish),
        )
    };
    of(found) == of(wanted)
}

fn stream(name: String, subject: String, description: &str, config: &Config) -> StreamConfig {
    StreamConfig {
        name,
        subjects: vec![subject],
        description: Some(description.to_owned()),
        num_replicas: config.replicas,
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        allow_direct: true,
        max_bytes: -1,
        // Repeats are told by the log itself, for as long as its window is.
        duplicate_window: Duration::from_millis(100),
        ..StreamConfig::default()
    }
}

fn log(names: &Names, config: &Config) -> StreamConfig {
    let description = "Herald: user events, and what came of their deliveries";
    let mut log = stream(names.log(), names.of_log(), description, config);
    // Nothing that was acknowledged may go by itself.
    log.discard = DiscardPolicy::New;
    log.allow_atomic_publish = true;
    log.metadata.insert("herald.dev/partitions".to_owned(), PARTITIONS.to_string());
    log
}

fn dead(names: &Names, config: &Config) -> StreamConfig {
    let mut dead = stream(names.dead(), names.of_dead(), "Herald: deliveries that were given up", config);
    dead.discard = DiscardPolicy::New;
    // Herald evicts them, and counts it; what it has forgotten ends here.
    dead.max_age = config.limits.dead_age * 2;
    dead
}

fn snapshots(names: &Names, config: &Config) -> StreamConfig {
    let mut snapshots = stream(names.snapshots(), names.of_snapshots(), "Herald: the log, in short", config);
    snapshots.discard = DiscardPolicy::New;
    snapshots
}

fn attempts(names: &Names, config: &Config) -> StreamConfig {
    let mut attempts = stream(names.attempts(), names.of_attempts(), "Herald: attempts, to look at", config);
    attempts.discard = DiscardPolicy::Old;
    attempts.max_age = config.limits.attempts.age;
    attempts.max_bytes = i64::try_from(config.limits.attempts.bytes.max(1 << 20)).unwrap_or(i64::MAX);
    attempts
}
