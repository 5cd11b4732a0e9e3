//! What a layout takes to be written.

use anyhow::Result;
use async_nats::jetstream::stream::Stream;

use crate::bench::{Bench, config};
use crate::layouts::Layout;
use crate::meter::{Measured, Meter, repeat};
use crate::reading::Follower;
use crate::store::{Message, store_all, unique};
use crate::table::{Table, Tables, micros, share, whole};
use crate::{FAN_OUT, ROW, WRITES, Write};

/// What plain publishes of the same bytes gave a moment before, for each size of writes.
pub struct Alone([Measured; WRITES.len()]);

impl Alone {
    /// Measures it, and adds its rows.
    pub async fn measure(bench: &Bench, table: &mut Table) -> Result<Self> {
        let mut measured = Vec::new();
        for write in WRITES {
            let alone = bench.alone_like(write).await?;
            row(table, "NATS alone", write, String::new(), alone, None);
            measured.push(alone);
        }
        measured.try_into().map(Self).map_err(|_| anyhow::anyhow!("not one for each size"))
    }

    /// With the size that each is for.
    pub fn each(&self) -> impl Iterator<Item = (Write, Measured)> {
        WRITES.into_iter().zip(self.0)
    }
}

/// All writes of a layout.
pub async fn of<L: Layout>(bench: &Bench, layout: L, tables: &mut Tables) -> Result<()> {
    let table = &mut tables.writes;
    let alone = Alone::measure(bench, table).await?;
    let stream = bench.stream(config("LAYOUT", L::NAME)).await?;
    for (write, alone) in alone.each() {
        for fan_out in FAN_OUT {
            let messages = |number| layout.messages(number, write.events, fan_out);
            let measured = again_and_again(bench, &stream, L::FOLLOWED, write, messages).await?;
            row(table, L::NAME, write, fan_out.to_string(), measured, Some(alone));
        }
    }
    bench.drop_stream("LAYOUT").await
}

/// Writes until a row is over, and removes it all.
pub async fn again_and_again(
    bench: &Bench,
    stream: &Stream,
    followed: bool,
    write: Write,
    messages: impl Fn(u64) -> Vec<Message>,
) -> Result<Measured> {
    let follower = if followed { Some(Follower::start(stream).await?) } else { None };
    let meter = Meter::start(&bench.servers)?;
    let store = async |_, _| store_all(&bench.client, messages(unique())).await.map(|_| ());
    let done = repeat(write.in_flight, ROW, store).await?;
    if let Some(follower) = follower {
        follower.has_read(stream.get_info().await?.state.last_sequence).await?;
    }
    let measured = meter.stop(done)?;
    stream.purge().await?;
    Ok(measured.times(write.events))
}

/// Adds a row.
pub fn row(
    table: &mut Table,
    name: &str,
    write: Write,
    fan_out: String,
    it: Measured,
    alone: Option<Measured>,
) {
    table.row([
        name.to_owned(),
        write.events.to_string(),
        write.in_flight.to_string(),
        fan_out,
        whole(it.rate()),
        alone.map(|alone| share(it.rate() / alone.rate())).unwrap_or_default(),
        micros(it.micros()),
        share(it.leaders_part()),
    ]);
}
