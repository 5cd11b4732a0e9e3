//! Attempts that are due later: by schedules of the servers, and by outcomes that say when.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Stream};

use crate::bench::{Bench, config};
use crate::layouts::index::base64;
use crate::meter::{Measured, Meter};
use crate::store::{Message, body, store};
use crate::table::{Tables, micros, whole};
use crate::{OUTCOMES, RETRIES, RETRY_AFTER, SETTLING};

/// Bytes that name a delivery.
const REFERENCE: usize = 60;

/// Webhooks in a message of outcomes.
const WEBHOOKS: usize = 10;

/// How often it is looked whether all have come.
const LOOK: Duration = Duration::from_millis(100);

/// How long before they are due it is begun to look.
const BEFORE: Duration = Duration::from_secs(1);

/// How long they may take.
const LATE: Duration = Duration::from_mins(1);

/// Both ways.
pub async fn all(bench: &Bench, tables: &mut Tables) -> Result<()> {
    let (written, due, late) = schedules(bench).await?;
    tables.retries.row([
        format!("{} scheduled messages, all due at one moment", whole(RETRIES as f64)),
        format!("{}/s", whole(written.rate())),
        micros(written.micros()),
        micros(due.micros()),
        format!("{:.1} s late", late.as_secs_f64()),
    ]);
    let (written, due) = outcomes(bench, due.took()).await?;
    tables.retries.row([
        format!("{} in messages of {OUTCOMES} outcomes that say when", whole(RETRIES as f64)),
        format!("{}/s", whole(written.rate())),
        micros(written.micros()),
        micros(due.micros()),
        "as late as a dispatcher".to_owned(),
    ]);
    Ok(())
}

/// Messages that the servers publish when they are due: what writing them took, what publishing
/// them took, and how late the last was.
async fn schedules(bench: &Bench) -> Result<(Measured, Measured, Duration)> {
    // The server takes no schedules where what is full refuses what is new.
    let config =
        Config { allow_message_schedules: true, discard: DiscardPolicy::Old, ..config("RETRIES", "retries") };
    let stream = bench.stream(config).await?;
    let almost = Instant::now() + RETRY_AFTER.saturating_sub(BEFORE);
    // The servers' own clock, a moment ago.
    let due = stream.get_info().await?.created + RETRY_AFTER;
    let (hour, minute, second) = due.to_hms();
    let (year, month, day) = (due.year(), u8::from(due.month()), due.day());
    let at = format!("@at {year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
    let due = due.replace_nanosecond(0)?;
    let written = write(bench, RETRIES, |number| {
        Message::new(format!("retries.later.{number}"), body(REFERENCE))
            .with("Nats-Schedule", at.as_str())
            .with("Nats-Schedule-Target", format!("retries.due.{number}"))
    });
    let written = written.await?;
    let before = stream.get_info().await?.state;
    ensure!(before.last_timestamp < due, "they were due before all were written: RETRY_AFTER is too short");
    tokio::time::sleep_until(almost.into()).await;
    let meter = Meter::start(&bench.servers)?;
    let last = tokio::time::timeout(BEFORE + LATE, all_due(&stream, before.last_sequence)).await??;
    let fired = meter.stop(RETRIES)?;
    let late = Duration::try_from(last - due)?;
    bench.drop_stream("RETRIES").await?;
    Ok((written, fired, late))
}

/// Waits until as many more are stored as there are retries; when the last was.
async fn all_due(stream: &Stream, before: u64) -> Result<async_nats::datetime::DateTime> {
    loop {
        let state = stream.get_info().await?.state;
        if state.last_sequence >= before + RETRIES as u64 {
            return Ok(state.last_timestamp);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What Herald does: the servers have nothing to do when they are due, and are watched for as long
/// as schedules took.
async fn outcomes(bench: &Bench, watch: Duration) -> Result<(Measured, Measured)> {
    let _stream = bench.stream(config("RETRIES", "retries")).await?;
    let index = base64(1 + 17 * WEBHOOKS + 19 * OUTCOMES);
    let messages = RETRIES / OUTCOMES;
    let message = |number| {
        Message::new(format!("retries.change.{number}"), body(0)).with("Herald-Index", index.as_str())
    };
    let written = write(bench, messages, message).await?.times(OUTCOMES);
    let meter = Meter::start(&bench.servers)?;
    tokio::time::sleep(watch).await;
    let due = meter.stop(RETRIES)?;
    bench.drop_stream("RETRIES").await?;
    Ok((written, due))
}

async fn write(bench: &Bench, count: usize, message: impl Fn(usize) -> Message) -> Result<Measured> {
    let meter = Meter::start(&bench.servers)?;
    let message = &message;
    let place = async |place: usize| {
        for number in (place..count).step_by(SETTLING) {
            store(&bench.client, message(number)).await?;
        }
        anyhow::Ok(())
    };
    futures::future::try_join_all((0..SETTLING).map(place)).await?;
    meter.stop(count)
}
