//! What keeps servers busy although nothing comes: leases that are renewed.

use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream::stream::Config;

use crate::bench::{Bench, config};
use crate::meter::{Measured, Meter};
use crate::store::{Message, body, store};
use crate::table::{Table, Tables, whole};
use crate::{LEASES, PARTITIONS, RENEW, WATCH};

/// Bytes of a lease.
const LEASE: usize = 60;

/// Until what came before is over: files are closed, and elections.
const QUIET: Duration = Duration::from_secs(3);

/// Servers that keep no stream.
pub async fn nothing(bench: &Bench, tables: &mut Tables) -> Result<()> {
    watch(bench, &mut tables.idle, "three servers without a stream", None).await
}

/// A lease of each webhook, and one of each dispatcher.
pub async fn all(bench: &Bench, tables: &mut Tables) -> Result<()> {
    let [webhooks, dispatchers] = LEASES;
    // What a bucket of keys is: a stream that keeps the last message of each subject.
    let config = |max_messages_per_subject| Config {
        max_messages_per_subject,
        allow_rollup: true,
        deny_delete: true,
        ..config("LEASES", "leases")
    };
    for (count, last, owners, what) in [
        (webhooks, 1, 0, format!("a key for each of {webhooks} webhooks")),
        (
            dispatchers,
            -1,
            PARTITIONS,
            format!("a message for each of {dispatchers} dispatchers, {PARTITIONS} owners once"),
        ),
    ] {
        let _stream = bench.stream(config(last)).await?;
        tokio::time::sleep(QUIET).await;
        let meter = Meter::start(&bench.servers)?;
        for owner in 0..owners {
            store(&bench.client, Message::new(format!("leases.owner.{owner}"), body(LEASE))).await?;
        }
        let renewed = renew(bench, count).await?;
        let measured = meter.stop(renewed)?;
        row(&mut tables.idle, &format!("{what}, every {} s", RENEW.as_secs()), measured, None);
        bench.drop_stream("LEASES").await?;
    }
    Ok(())
}

/// Renews so many leases, evenly, while the servers are watched.
async fn renew(bench: &Bench, count: usize) -> Result<usize> {
    let rounds = WATCH.as_secs_f64() / RENEW.as_secs_f64();
    let renewals = (count as f64 * rounds) as usize;
    let mut every = tokio::time::interval(RENEW / u32::try_from(count)?);
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..renewals {
        every.tick().await;
        let client = bench.client.clone();
        let lease = Message::new(format!("leases.of.{}", number % count), body(LEASE));
        writes.spawn(async move { store(&client, lease).await });
    }
    while let Some(written) = writes.join_next().await {
        written??;
    }
    Ok(renewals)
}

/// Adds a row of servers that are left alone.
pub async fn watch(bench: &Bench, table: &mut Table, what: &str, made: Option<Measured>) -> Result<()> {
    tokio::time::sleep(QUIET).await;
    let meter = Meter::start(&bench.servers)?;
    tokio::time::sleep(WATCH).await;
    row(table, what, meter.stop(1)?, made);
    Ok(())
}

fn row(table: &mut Table, what: &str, it: Measured, made: Option<Measured>) {
    let made = made.map(|made| format!("{}/s", whole(made.rate()))).unwrap_or_default();
    table.row([what.to_owned(), format!("{:.3}", it.cores()), made]);
}
