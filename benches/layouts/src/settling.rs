//! What it takes to say that a delivery has ended.

use std::cell::Cell;

use anyhow::Result;
use async_nats::jetstream::stream::Stream;

use crate::bench::{Bench, config};
use crate::layouts::index::base64;
use crate::meter::{Measured, Meter, repeat};
use crate::store::{Message, Refused, body, store, store_all};
use crate::table::{Table, Tables, micros, share, whole};
use crate::{OUTCOMES, ROW, SETTLING};

/// Bytes of a small message.
const SMALL: usize = 100;

/// Webhooks in a message of outcomes.
const WEBHOOKS: usize = 10;

/// Messages in a batch of those that are stored to be removed.
const BATCH: usize = 500;

/// What the server calls "wrong last sequence", without a number: another message that names the
/// same subject is in process.
const IN_PROCESS: u64 = 10164;

/// Batches of them.
const BATCHES: usize = 60;

/// Every way but acknowledgements, which consumers have.
pub async fn all(bench: &Bench, tables: &mut Tables) -> Result<()> {
    let table = &mut tables.settling;
    let small = alone(bench, table).await?;
    let stream = bench.stream(config("SETTLING", "settling")).await?;
    row(table, "a single delete", deletes(bench, &stream).await?, small);
    row(table, "a purge of a subject with one reference", purges(bench, &stream).await?, small);
    let (outcomes, refused) = outcomes(bench).await?;
    row(table, &format!("one message of {OUTCOMES} outcomes, {refused} refused at first"), outcomes, small);
    row(table, "the same, for each outcome", outcomes.times(OUTCOMES), small);
    bench.drop_stream("SETTLING").await
}

/// Plain publishes of a small message.
pub async fn alone(bench: &Bench, table: &mut Table) -> Result<Measured> {
    let small = bench.alone(SMALL, SETTLING, ROW).await?;
    table.row([
        format!("NATS alone: a plain publish of {SMALL} bytes"),
        whole(small.rate()),
        String::new(),
        micros(small.micros()),
    ]);
    Ok(small)
}

/// Adds a row.
pub fn row(table: &mut Table, what: &str, it: Measured, alone: Measured) {
    table.row([what.to_owned(), whole(it.rate()), share(it.rate() / alone.rate()), micros(it.micros())]);
}

fn queue(number: usize) -> String {
    format!("settling.queue.{number}")
}

/// Stores references, each on a subject of its own; the sequence of the last.
async fn fill(bench: &Bench) -> Result<u64> {
    let (reference, mut last) = (body(SMALL), 0);
    for batch in 0..BATCHES {
        let messages =
            (0..BATCH).map(|number| Message::new(queue(batch * BATCH + number), reference.clone()));
        last = store_all(&bench.client, messages.collect()).await?;
    }
    Ok(last)
}

async fn deletes(bench: &Bench, stream: &Stream) -> Result<Measured> {
    let last = fill(bench).await?;
    let meter = Meter::start(&bench.servers)?;
    let delete = async |_, number| {
        stream.delete_message(last - number).await?;
        Ok(())
    };
    let measured = meter.stop(repeat(SETTLING, ROW, delete).await?)?;
    stream.purge().await?;
    Ok(measured)
}

async fn purges(bench: &Bench, stream: &Stream) -> Result<Measured> {
    fill(bench).await?;
    let meter = Meter::start(&bench.servers)?;
    let purge = async |_, number| {
        stream.purge().filter(queue(usize::try_from(number)?)).await?;
        Ok(())
    };
    let measured = meter.stop(repeat(SETTLING, ROW, purge).await?)?;
    stream.purge().await?;
    Ok(measured)
}

/// Each in flight is of a partition of its own, whose owner it names, as Herald's are; and how
/// often one was refused because the server was not done with the one before when it had answered.
async fn outcomes(bench: &Bench) -> Result<(Measured, u32)> {
    let mut owners = Vec::new();
    for partition in 0..SETTLING {
        owners.push(store(&bench.client, Message::new(owner(partition), body(0))).await?);
    }
    let index = base64(1 + 17 * WEBHOOKS + 9 * OUTCOMES);
    let refused = Cell::new(0_u32);
    let meter = Meter::start(&bench.servers)?;
    let settle = async |partition: usize, _| {
        let epoch = owners.get(partition).copied().unwrap_or_default();
        loop {
            let message = Message::new(format!("settling.change.{partition}"), body(0))
                .with("Herald-Index", index.as_str())
                .with("Nats-Expected-Last-Subject-Sequence", epoch.to_string())
                .with("Nats-Expected-Last-Subject-Sequence-Subject", owner(partition));
            let Err(error) = store(&bench.client, message).await else { return Ok(()) };
            match error.downcast_ref::<Refused>() {
                Some(Refused { code: IN_PROCESS, .. }) => refused.set(refused.get() + 1),
                _ => return Err(error),
            }
        }
    };
    let measured = meter.stop(repeat(SETTLING, ROW, settle).await?)?;
    Ok((measured, refused.get()))
}

fn owner(partition: usize) -> String {
    format!("settling.owner.{partition}")
}
