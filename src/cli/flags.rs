//! The flags that subcommands share, each group for the part that it sets up.

mod nats;
mod outbound;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use jiff::SignedDuration;

pub(super) use self::nats::NatsFlags;
pub(super) use self::outbound::OutboundFlags;
use super::serving_certificate::ServingCertificateFlags;
use crate::access::LONGEST_VERDICT;
use crate::dispatch::DispatchConfig;
use crate::ingest::quota::Quota;
use crate::ingest::{Limits, TlsFiles};
use crate::journal::engine::Place;
use crate::journal::limits::{self, Bounds, Window};
use crate::journal::{embedded, jetstream};
use crate::model::Clock;
use crate::subscriptions::{Namespaces, Scope};
use crate::telemetry::LogFormat;

/// A duration as people write it: `3s`, `5m`, `72h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "write a duration such as 3s, 5m or 72h".to_owned())
}

/// How long a verdict is kept: no longer than the docs promise.
fn auth_cache(text: &str) -> Result<Duration, String> {
    let kept = duration(text)?;
    if kept > LONGEST_VERDICT {
        return Err(format!(
            "write {LONGEST_VERDICT:?} or less: for that long a right that was taken away may go on working"
        ));
    }
    Ok(kept)
}

/// Which part of the cluster Herald is for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterFlags {
    /// Serve only this namespace (repeat for more); without it, every namespace
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// The namespace that Herald itself runs in, for its Lease and its audience
    /// [default: the one of the pod or of the kubeconfig]
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    pub(super) own_namespace: Option<String>,
    /// The name of this process in Leases and Events [default: a random one]
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub(super) instance: Option<String>,
}

impl ClusterFlags {
    pub(super) fn namespaces(&self) -> Namespaces {
        Namespaces::new(self.namespaces.clone())
    }
}

/// What a person can see from outside.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logs, metrics and health")]
pub(super) struct TelemetryFlags {
    /// What is logged: LEVEL or LEVEL,TARGET=LEVEL
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "HERALD_LOG")]
    pub(super) log: String,
    /// The shape of a log line
    #[arg(long, value_enum, default_value_t)]
    pub(super) log_format: LogFormat,
    /// Let the kernel dump the memory of this process when it crashes, and debuggers look at it; it holds
    /// every key, token and event that passes through
    #[arg(long)]
    pub(super) core_dumps: bool,
    /// Where /metrics, /livez and /readyz are served, without authentication; [::] is IPv4 as well
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:9090")]
    pub(super) metrics_listen: SocketAddr,
}

/// Who verifies.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Controller")]
pub(super) struct ControllerFlags {
    /// Work only while this process holds the Lease
    #[arg(long)]
    pub(super) leader_election: bool,
    /// The name of the Lease
    #[arg(long, value_name = "NAME", default_value = "herald-controller")]
    pub(super) lease: String,
    /// How many first tries and tries on demand run at one time, and apart from them as many repeated ones
    #[arg(long, value_name = "COUNT", default_value_t = 512)]
    pub(super) max_challenges: usize,
    #[command(flatten)]
    pub(super) serving_certificate: ServingCertificateFlags,
}

/// How user events come in.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Ingestion")]
pub(super) struct IngestFlags {
    /// Where user events are taken; [::] is IPv4 as well
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8443")]
    pub(super) listen: SocketAddr,
    /// The certificate chain (PEM) of ingestion; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key", required_unless_present = "insecure_http")]
    tls_cert: Option<PathBuf>,
    /// The private key (PEM) of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Take user events without TLS; only on a loopback address
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"])]
    insecure_http: bool,
    /// The audience of the tokens that are accepted [default: herald/<own namespace>]
    #[arg(long, value_name = "AUDIENCE")]
    pub(super) audience: Option<String>,
    /// How long a granted request is remembered, 45s at most: a revoked right may work for that long
    #[arg(long, value_name = "DURATION", default_value = "45s", value_parser = auth_cache)]
    pub(super) auth_cache: Duration,
    /// The most connections at one time
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().connections)]
    max_connections: usize,
}

/// What each namespace may send.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Quotas of each namespace")]
pub(super) struct QuotaFlags {
    /// The most events in a second, beyond a burst of a second or of one batch; 0 for no limit
    #[arg(long = "quota-events-per-second", value_name = "COUNT", default_value_t = 0)]
    events_per_second: u64,
    /// The most bytes of requests in a second, beyond a burst of a second or of one batch; 0 for no limit
    #[arg(long = "quota-bytes-per-second", value_name = "BYTES", default_value_t = 0)]
    bytes_per_second: u64,
    /// The most bytes of events that wait for delivery; 0 for no limit
    /// [default: half of --max-journal-bytes, or no limit where one namespace alone is served]
    #[arg(long = "quota-bytes-queued", value_name = "BYTES")]
    bytes_queued: Option<u64>,
    /// Whether the annotations herald.dev/quota-… of a Namespace take the place of these
    #[arg(long = "quota-annotations", value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(super) annotations: bool,
}

impl QuotaFlags {
    /// One namespace must not take the room of all others, by default.
    pub(super) fn quota(&self, journal: &JournalFlags, namespaces: &Namespaces) -> Quota {
        let alone = matches!(namespaces.scopes().as_slice(), [Scope::Namespace(_)]);
        let half = if alone { 0 } else { (journal.max_journal_bytes / 2).max(1) };
        Quota {
            events_per_second: self.events_per_second,
            bytes_per_second: self.bytes_per_second,
            bytes_queued: self.bytes_queued.unwrap_or(half),
        }
    }
}

impl IngestFlags {
    pub(super) fn tls(&self) -> Option<TlsFiles> {
        let (certificate, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(TlsFiles { certificate, key, every: Duration::from_secs(2) })
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { connections: self.max_connections, ..Limits::default() }
    }
}

/// Where events are kept.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Journal")]
pub(super) struct JournalFlags {
    /// The directory of the journal, on a volume that outlives the process
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "journal_nats",
        conflicts_with = "journal_nats"
    )]
    journal_dir: Option<PathBuf>,
    /// How long after its acceptance an event is still delivered
    #[arg(long, value_name = "DURATION", default_value = "72h", value_parser = duration)]
    retention: Duration,
    /// The most deliveries that wait for one webhook; what comes beyond is a dead letter
    #[arg(long, value_name = "COUNT", default_value_t = limits::Limits::default().backlog)]
    max_backlog: u64,
    /// The most bytes of events that wait; beyond them ingestion answers 503
    #[arg(long, value_name = "BYTES", default_value_t = limits::Limits::default().max_bytes)]
    max_journal_bytes: u64,
    /// The most bytes of dead letters that are kept for one webhook; beyond them the oldest are evicted
    #[arg(long, value_name = "BYTES", default_value_t = limits::Limits::default().dead_bytes)]
    max_dead_letter_bytes: u64,
    /// How long a dead letter is kept
    #[arg(long, value_name = "DURATION", default_value = "336h", value_parser = duration)]
    max_dead_letter_age: Duration,
    /// The most bytes of attempts that are kept for `herald events` to show; 0 for none
    #[arg(long, value_name = "BYTES", default_value_t = limits::Limits::default().attempts.bytes)]
    max_attempt_bytes: u64,
    /// How long an attempt is kept
    #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = duration)]
    max_attempt_age: Duration,
    /// The most bytes of events that are kept after their delivery, for a Replay of everything; 0 for none
    #[arg(long, value_name = "BYTES", default_value_t = limits::Limits::default().events.bytes)]
    max_kept_bytes: u64,
    /// How long an event is kept after its delivery
    #[arg(long, value_name = "DURATION", default_value = "72h", value_parser = duration)]
    max_kept_age: Duration,
    /// How many bytes of the disk new events leave free, for what comes of those that wait; ingestion answers 503
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    journal_reserve: u64,
    /// How long a repeat of an event is told from a new one
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    dedupe_window: Duration,
    /// How many of a namespace's newest events repeats are told by, if that is the shorter window
    #[arg(long, value_name = "COUNT", default_value_t = limits::Limits::default().window.ids)]
    dedupe_ids: u64,
    #[command(flatten)]
    nats: NatsFlags,
}

impl JournalFlags {
    /// Where the journal is to be, for the process of this name.
    pub(super) fn place(&self, instance: &str) -> Place {
        let limits = self.limits();
        if let Some(nats) = self.nats.config(instance) {
            return Place::Nats(Box::new(jetstream::Config { limits, ..nats }));
        }
        let directory = self.journal_dir.clone().unwrap_or_default();
        Place::Directory(embedded::Config {
            limits,
            reserve_bytes: self.journal_reserve,
            ..embedded::Config::new(directory)
        })
    }

    const fn limits(&self) -> limits::Limits {
        limits::Limits {
            max_bytes: self.max_journal_bytes,
            backlog: self.max_backlog,
            retention: self.retention,
            dead_bytes: self.max_dead_letter_bytes,
            dead_age: self.max_dead_letter_age,
            window: Window { age: self.dedupe_window, ids: self.dedupe_ids },
            attempts: Bounds { bytes: self.max_attempt_bytes, age: self.max_attempt_age },
            events: Bounds { bytes: self.max_kept_bytes, age: self.max_kept_age },
        }
    }
}

/// How events go out.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Dispatcher")]
pub(super) struct DispatchFlags {
    /// The most attempts at one time, beyond the one that each webhook is always granted
    #[arg(long, value_name = "COUNT", default_value_t = 1024)]
    max_in_flight: usize,
    /// For how long what is known of a namespace is acted on although the API server does not confirm it
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    max_view_age: Duration,
    /// How many events of a webhook fail in a row before its circuit opens: then its events are held, but for one probe at a time; 0 for never
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    circuit_threshold: u16,
    /// How long attempts in flight may take to end after SIGTERM; what has not ended then is tried again by the next process
    #[arg(long, value_name = "DURATION", default_value = "45s", value_parser = duration)]
    pub(super) drain_timeout: Duration,
}

impl DispatchFlags {
    pub(super) fn config(&self, clock: Clock) -> DispatchConfig {
        DispatchConfig {
            max_in_flight: self.max_in_flight,
            max_view_age: self.max_view_age,
            circuit_threshold: self.circuit_threshold.into(),
            clock,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn the_limits_are_those_of_every_journal_where_no_flag_names_another() {
        #[derive(Debug, clap::Parser)]
        struct It {
            #[command(flatten)]
            journal: JournalFlags,
        }
        let it = It::try_parse_from(["it", "--journal-dir", "/journal"]).unwrap();
        assert_eq!(it.journal.limits(), limits::Limits::default());
    }

    #[test]
    fn no_verdict_is_kept_for_longer_than_is_promised() {
        #[derive(Debug, clap::Parser)]
        struct It {
            #[command(flatten)]
            ingestion: IngestFlags,
        }
        let kept = |text: &str| {
            let it = It::try_parse_from(["it", "--insecure-http", "--auth-cache", text]);
            it.map(|it| it.ingestion.auth_cache).map_err(|error| error.to_string())
        };
        for (text, seconds) in [("0s", 0), ("5s", 5), ("45s", 45)] {
            assert_eq!(kept(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["46s", "45001ms", "1m", "24h"] {
            assert!(kept(text).unwrap_err().contains("write 45s or less"), "{text}");
        }
    }
}
