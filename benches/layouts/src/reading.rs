//! What it takes to read: one message, the queue of one webhook, everything's headers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::Stream;
use futures::StreamExt as _;
use tokio::task::JoinHandle;

use crate::bench::{Bench, config};
use crate::layouts::index::appended;
use crate::layouts::{Layout as _, References, webhook};
use crate::meter::{Measured, Meter, repeat};
use crate::store::{store, store_all, unique};
use crate::table::{Tables, micros, whole};
use crate::{ROW, STORED, WRITES};

/// Reads that are on their way at one time.
const IN_FLIGHT: [usize; 2] = [1, 128];

/// Webhooks whose queues are read.
const QUEUES: usize = 200;

/// References in each.
const EACH: usize = 50;

/// How long a reader may be behind.
const BEHIND: Duration = Duration::from_mins(1);

/// A consumer that is sent the headers of all there is and of all that comes.
pub struct Follower(tokio::sync::watch::Receiver<u64>, JoinHandle<Result<()>>);

impl Follower {
    /// Begins at the first message.
    pub async fn start(stream: &Stream) -> Result<Self> {
        let config = pull::OrderedConfig { headers_only: true, ..pull::OrderedConfig::default() };
        let mut messages = stream.create_consumer(config).await?.messages().await?;
        let (position, follow) = tokio::sync::watch::channel(0);
        let task = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let sequence = message?.info().map_err(anyhow::Error::from_boxed)?.stream_sequence;
                position.send_replace(sequence);
            }
            Ok(())
        });
        Ok(Self(follow, task))
    }

    /// Waits until it has read up to a message, and ends it.
    pub async fn has_read(mut self, sequence: u64) -> Result<()> {
        let read = self.0.wait_for(|position| *position >= sequence);
        tokio::time::timeout(BEHIND, read).await.context("what follows is too far behind")??;
        Ok(())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.1.abort();
    }
}

/// Every way to read.
pub async fn all(bench: &Bench, tables: &mut Tables) -> Result<()> {
    let mut row = |what: String, it: Measured| {
        tables.reading.row([what, whole(it.rate()), micros(it.micros())]);
    };
    for write in WRITES {
        let stream = bench.stream(config("READING", "index")).await?;
        let count = STORED / write.events;
        let fill = count / write.in_flight;
        let each = (0..write.in_flight).map(async |_| {
            for _ in 0..fill {
                store(&bench.client, appended(write.events, 10)).await?;
            }
            anyhow::Ok(())
        });
        futures::future::try_join_all(each).await?;
        let last = stream.get_info().await?.state.last_sequence;
        let meter = Meter::start(&bench.servers)?;
        Follower::start(&stream).await?.has_read(last).await?;
        let headers = format!("headers of all, messages of {} to 10 webhooks", events(write.events));
        row(headers, meter.stop(usize::try_from(last)?)?);
        for in_flight in IN_FLIGHT {
            let meter = Meter::start(&bench.servers)?;
            let get = async |_, number: u64| {
                stream.direct_get(1 + number * 7919 % last).await?;
                Ok(())
            };
            let measured = meter.stop(repeat(in_flight, ROW, get).await?)?;
            let time = if in_flight == 1 { format!(", {:.2} ms", measured.millis()) } else { String::new() };
            row(format!("a message of {}, {in_flight} at a time{time}", events(write.events)), measured);
        }
        bench.drop_stream("READING").await?;
    }
    let queues = queues(bench).await?;
    row(
        format!("the first of a webhook's queue by its subject, 1 at a time, {:.2} ms", queues.millis()),
        queues,
    );
    Ok(())
}

fn events(count: usize) -> String {
    if count == 1 { "1 event".to_owned() } else { format!("{count} events") }
}

/// What waits for a webhook, where each has references of its own.
async fn queues(bench: &Bench) -> Result<Measured> {
    let stream = bench.stream(config("READING", References::NAME)).await?;
    for _ in 0..EACH {
        store_all(&bench.client, References.messages(unique(), 1, QUEUES)).await?;
    }
    let meter = Meter::start(&bench.servers)?;
    let get = async |_, number: u64| {
        let of = webhook(usize::try_from(number)? % QUEUES);
        let found = stream.direct_get_first_for_subject(format!("references.queue.{of}")).await?;
        ensure!(!found.payload.is_empty(), "an empty reference");
        Ok(())
    };
    let measured = meter.stop(repeat(1, ROW, get).await?)?;
    bench.drop_stream("READING").await?;
    Ok(measured)
}
