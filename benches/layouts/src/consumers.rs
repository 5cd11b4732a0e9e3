//! A durable consumer for each webhook, which is sent every event and acknowledges it.

use anyhow::Result;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy, Stream};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::bench::{Bench, config};
use crate::meter::{Measured, Meter};
use crate::settling;
use crate::store::{Message, body, store_all, unique};
use crate::table::Tables;
use crate::writes::{Alone, again_and_again, row};
use crate::{ACKS, EVENT, FAN_OUT, IDLE, SETTLING, leases};

/// Consumers that are made at one time.
const MAKING: usize = 16;

/// Deliveries that are asked for at one time.
const FETCH: usize = 500;

/// Acknowledgements that are on their way at one time.
const ACKNOWLEDGING: usize = 128;

/// Consumers, from none to as many as a stream allows.
pub async fn all(bench: &Bench, tables: &mut Tables) -> Result<()> {
    let alone = Alone::measure(bench, &mut tables.writes).await?;
    let small = settling::alone(bench, &mut tables.settling).await?;
    // An event goes when every webhook's consumer has acknowledged it.
    let config = Config { retention: RetentionPolicy::Interest, ..config("CONSUMERS", "consumers") };
    let stream = bench.stream(config).await?;
    let mut consumers = Vec::new();
    let mut stops: Vec<_> = FAN_OUT.into_iter().chain(IDLE).collect();
    stops.sort_unstable();
    for count in stops {
        let made = grow(bench, &stream, &mut consumers, count).await?;
        if IDLE.contains(&count) {
            let what = format!("{count} durable consumers, nobody pulls");
            leases::watch(bench, &mut tables.idle, &what, Some(made)).await?;
        }
        if FAN_OUT.contains(&count) {
            for (write, alone) in alone.each() {
                let messages = |number| events(number, write.events);
                let measured = again_and_again(bench, &stream, false, write, messages).await?;
                row(&mut tables.writes, "consumers", write, count.to_string(), measured, Some(alone));
            }
        }
        if count < SETTLING {
            let acknowledged = acknowledge(bench, &consumers).await?;
            let plural = if count == 1 { "" } else { "s" };
            let what = format!("delivered by {count} consumer{plural} and acknowledged");
            settling::row(&mut tables.settling, &what, acknowledged, small);
        }
    }
    bench.drop_stream("CONSUMERS").await
}

type Pull = Consumer<pull::Config>;

/// Makes consumers until there are so many.
async fn grow(bench: &Bench, stream: &Stream, consumers: &mut Vec<Pull>, count: usize) -> Result<Measured> {
    let meter = Meter::start(&bench.servers)?;
    let make = |number: usize| {
        stream.create_consumer(pull::Config {
            durable_name: Some(format!("webhook-{number}")),
            ack_policy: AckPolicy::Explicit,
            ..pull::Config::default()
        })
    };
    let before = consumers.len();
    let made: Vec<_> = stream::iter(before..count).map(make).buffer_unordered(MAKING).try_collect().await?;
    consumers.extend(made);
    meter.stop(count - before)
}

fn events(number: u64, count: usize) -> Vec<Message> {
    let event = body(EVENT);
    let message = |place| {
        Message::new("consumers.identity", event.clone()).with("Nats-Msg-Id", format!("{number}-{place}"))
    };
    (0..count).map(message).collect()
}

/// Stores events, and lets every consumer have and acknowledge all of them. An acknowledgement
/// counts when the server has confirmed it.
async fn acknowledge(bench: &Bench, consumers: &[Pull]) -> Result<Measured> {
    let each = ACKS / consumers.len();
    for _ in 0..each.div_ceil(FETCH) {
        store_all(&bench.client, events(unique(), FETCH)).await?;
    }
    let meter = Meter::start(&bench.servers)?;
    let at_once = ACKNOWLEDGING / consumers.len();
    let all = consumers.iter().map(|consumer| take(consumer, each, at_once));
    futures::future::try_join_all(all).await?;
    meter.stop(each * consumers.len())
}

async fn take(consumer: &Pull, count: usize, at_once: usize) -> Result<()> {
    for _ in 0..count.div_ceil(FETCH) {
        let fetched = consumer.fetch().max_messages(FETCH).messages().await?;
        let acknowledge = async |message: async_nats::jetstream::Message| message.double_ack().await;
        fetched.try_for_each_concurrent(at_once, acknowledge).await.map_err(anyhow::Error::from_boxed)?;
    }
    Ok(())
}
