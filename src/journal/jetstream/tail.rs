//! Reads the log, from its beginning and for ever, headers only.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::Stream;
use futures::StreamExt as _;

use super::core::{Core, Inner, Member};
use super::names::Subject;
use super::snapshot::POSITION;
use super::wire::{AppendIndex, Changes, INDEX, decode_numbers};
use crate::journal::record::Corrupt;

/// Who runs a partition; empty if nobody does.
pub const MEMBER: &str = "Herald-Member";

/// For how long a dispatcher says that it is alive, in milliseconds; 0 when it goes; none when it only
/// looks whether it is answered.
pub const LEASE: &str = "Herald-Lease";

/// The time on the journal's clock of who writes, in milliseconds since 1970.
pub const CLOCK: &str = "Herald-Clock";

/// How long it is waited until a consumer that failed is made again.
const AGAIN: Duration = Duration::from_millis(250);

/// How often a consumer says that it is there while nothing comes; after two of them in silence it is
/// made again, since the server that has it may be gone.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long a server keeps a consumer that nobody asks.
const ABANDONED: Duration = Duration::from_secs(30);

/// How many messages are asked for at a time.
const BATCH: usize = 500;

/// Why a consumer is made again.
#[derive(Debug, thiserror::Error)]
enum Again {
    /// The connection was too slow for what the server sent.
    #[error("the consumer has left a message out")]
    Gap,
    /// The server that has it may have lost the others.
    #[error("what this dispatcher has stored does not come")]
    Behind,
}

/// Reads until shutdown.
pub async fn run(core: Arc<Core>, stream: Stream<()>, until: u64) {
    let mut said = None;
    while !core.shutdown.is_cancelled() {
        let before = core.lock().position;
        let read = core.shutdown.run_until_cancelled(follow(&core, &stream, until)).await;
        let Some(Err(error)) = read else { continue };
        // Once for as long as it gets nowhere.
        let here = core.lock().position;
        if here > before || said != Some(here) {
            tracing::warn!(%error, "the log cannot be followed; it is tried again and again");
            said = Some(here);
        }
        core.shutdown.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
    }
}

async fn follow(core: &Core, stream: &Stream<()>, until: u64) -> Result<(), async_nats::Error> {
    let position = core.lock().position;
    if position >= until {
        core.caught_up.store(true, Atomic::Release);
    }
    let consumer = consumer(core, stream, position.saturating_add(1)).await?;
    let mut messages =
        consumer.stream().max_messages_per_batch(BATCH).heartbeat(HEARTBEAT).messages().await?;
    let mut place = 0;
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            () = core.behind.notified() => return Err(Again::Behind.into()),
        };
        let Some(message) = message.transpose()? else { return Ok(()) };
        let info = message.info()?;
        place += 1;
        if info.consumer_sequence != place {
            return Err(Again::Gap.into());
        }
        let sequence = info.stream_sequence;
        let expected = core.lock().position.saturating_add(1);
        if sequence > expected && core.log.first().await.is_ok_and(|first| first > expected) {
            tracing::error!(
                expected,
                sequence,
                "a part of the log was removed before it was read; only a new process helps"
            );
            core.broken.store(true, Atomic::Release);
            core.shutdown.cancel();
            return Ok(());
        }
        let empty = HeaderMap::new();
        apply(core, sequence, &message.subject, message.headers.as_ref().unwrap_or(&empty));
        if sequence >= until && !core.caught_up.swap(true, Atomic::AcqRel) {
            tracing::info!(position = sequence, "the log was read");
        }
    }
}

/// A consumer from this sequence on, in the memory of one server: when that goes, so does this.
async fn consumer(
    core: &Core,
    stream: &Stream<()>,
    start_sequence: u64,
) -> Result<PullConsumer, async_nats::Error> {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
        headers_only: true,
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: ABANDONED,
        description: Some(format!("the dispatcher {}", core.me)),
        ..pull::Config::default()
    };
    Ok(stream.create_consumer(config).await?)
}

/// A message of the log was read.
pub fn apply(core: &Core, sequence: u64, subject: &str, headers: &HeaderMap) {
    let mut inner = core.lock();
    if sequence <= inner.position {
        return;
    }
    let applied = match core.names.parse(subject) {
        None => Ok(()),
        Some(Subject::Append(namespace)) => append(core, &mut inner, sequence, namespace, headers),
        Some(Subject::Change) => change(core, &mut inner, headers),
        Some(Subject::Carry) => decode_numbers(text(headers, INDEX)).map(|numbers| {
            inner.fold.moved(sequence, &numbers);
        }),
        Some(Subject::Owner(partition)) => {
            let owner = Some(text(headers, MEMBER)).filter(|owner| !owner.is_empty());
            core.own(&mut inner, partition, sequence, owner);
            Ok(())
        }
        Some(Subject::Member(id)) => {
            hear(&mut inner.members, id, headers);
            Ok(())
        }
    };
    if let Err(error) = applied {
        tracing::error!(sequence, subject, %error, "a message of the log is damaged; it is left out");
        core.metrics.damaged.inc();
    }
    inner.read_to(sequence);
    drop(inner);
    core.moved.notify_waiters();
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map_or("", async_nats::HeaderValue::as_str)
}

fn append(
    core: &Core,
    inner: &mut Inner,
    sequence: u64,
    namespace: &str,
    headers: &HeaderMap,
) -> Result<(), Corrupt> {
    let index = AppendIndex::decode(text(headers, INDEX))?;
    let effects = inner.fold.append(sequence, namespace, &index);
    let came = index.events.iter().filter(|event| inner.coming.remove(&event.key)).count();
    core.follow(inner, effects);
    core.metrics.live.set(i64::try_from(inner.fold.live()).unwrap_or(i64::MAX));
    if came > 0 {
        core.appended.notify_waiters();
    }
    Ok(())
}

fn change(core: &Core, inner: &mut Inner, headers: &HeaderMap) -> Result<(), Corrupt> {
    let changes = Changes::decode(text(headers, INDEX))?;
    let effects = inner.fold.change(changes);
    core.follow(inner, effects);
    core.metrics.live.set(i64::try_from(inner.fold.live()).unwrap_or(i64::MAX));
    Ok(())
}

fn hear(members: &mut HashMap<String, Member>, id: &str, headers: &HeaderMap) {
    match text(headers, LEASE) {
        "" => {}
        "0" => drop(members.remove(id)),
        _ => {
            let position = text(headers, POSITION).parse().unwrap_or(0);
            members.insert(id.to_owned(), Member { seen: Instant::now(), position });
        }
    }
}
