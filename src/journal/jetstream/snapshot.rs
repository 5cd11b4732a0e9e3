//! The fold in bytes, so that the log need not be read from its beginning.
//!
//! ```text
//! snapshot  version · spaces · lanes · events · void · samples · bytes · owners
//! ```
//!
//! It stands in a stream of its own, in pieces, and counts once its last message, which says where
//! they are and what their hash is, is stored: of two dispatchers that write one at a time, one is refused.

use async_nats::HeaderMap;
use sha2::{Digest, Sha256};

use super::core::{Core, Inner};
use super::fold::Fold;
use super::publish::{EXPECTED, Outgoing, PublishError, publish};
use super::source::Source;
use crate::journal::Unavailable;
use crate::journal::limits::Window;
use crate::journal::record::{Corrupt, Reader, put};

/// The last message that a snapshot has in it.
pub const POSITION: &str = "Herald-Position";
/// The sequence of its first piece.
const FIRST: &str = "Herald-First";
/// How many pieces it has.
const PIECES: &str = "Herald-Pieces";
/// SHA-256 of all of it, in hex.
const HASH: &str = "Herald-Hash";

/// Bytes of a piece.
const PIECE: usize = 512 << 10;

/// Who runs a partition, as the log says: its message, and its name, empty if nobody does.
pub type Owner = (u64, String);

/// What was read of a snapshot.
pub struct Snapshot {
    /// The last message that it has in it.
    pub position: u64,
    /// What the log says up to there.
    pub fold: Fold,
    /// Who ran which partition then.
    pub owners: Vec<Owner>,
}

/// Writes a snapshot of what was read so far; answers with its position.
pub async fn write(core: &Core) -> Result<u64, PublishError> {
    let (position, bytes) = {
        let inner = core.lock();
        (inner.position, encode(&inner))
    };
    let before = core.snapshots.last(&core.names.snapshot_end()).await?;
    let mut first = None;
    for piece in bytes.chunks(PIECE) {
        let (subject, headers) = (core.names.snapshot_piece(), HeaderMap::new());
        let body = piece.to_vec().into();
        let sequence = publish(&core.client, Outgoing { subject, headers, body }).await?;
        first.get_or_insert(sequence);
    }
    let first = first.unwrap_or(0);
    let mut headers = HeaderMap::new();
    headers.insert(POSITION, position.to_string());
    headers.insert(FIRST, first.to_string());
    headers.insert(PIECES, bytes.chunks(PIECE).len().to_string());
    headers.insert(HASH, hex::encode(Sha256::digest(&bytes)));
    let expected = before.map_or(0, |stored| stored.sequence);
    headers.insert(EXPECTED, expected.to_string());
    let end = Outgoing { subject: core.names.snapshot_end(), headers, body: bytes::Bytes::new() };
    publish(&core.client, end).await?;
    if let Err(error) = core.snapshots.stream().purge().sequence(first).await {
        tracing::debug!(%error, "older snapshots were not removed");
    }
    Ok(position)
}

/// Reads the last snapshot, if there is one.
pub async fn read(snapshots: &Source, end: &str, window: Window) -> Result<Option<Snapshot>, Unavailable> {
    let Some(last) = snapshots.last(end).await? else { return Ok(None) };
    let text = |name: &str| last.headers.get(name).map_or("", async_nats::HeaderValue::as_str);
    let number =
        |name: &str| text(name).parse::<u64>().map_err(|_| Unavailable(format!("a snapshot without {name}")));
    let (position, first, pieces) = (number(POSITION)?, number(FIRST)?, number(PIECES)?);
    let (mut bytes, mut hash) = (Vec::new(), Sha256::new());
    // Pieces of another that was begun at the same time may stand between them.
    for sequence in first..last.sequence {
        if let Some(piece) = snapshots.get(sequence).await? {
            bytes.extend_from_slice(&piece);
            hash.update(&piece);
        }
        if hex::encode(hash.clone().finalize()) == text(HASH) {
            let (fold, owners) = decode(&bytes, window).map_err(|error| Unavailable(error.to_string()))?;
            return Ok(Some(Snapshot { position, fold, owners }));
        }
    }
    Err(Unavailable(format!("the snapshot of {pieces} pieces in {first}..{} is damaged", last.sequence)))
}

fn encode(inner: &Inner) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    inner.fold.encode(&mut bytes);
    for part in &inner.partitions {
        bytes.extend(part.epoch.to_be_bytes());
        put(&mut bytes, part.owner.as_deref().unwrap_or_default().as_bytes());
    }
    bytes
}

const VERSION: u8 = 1;

fn decode(bytes: &[u8], window: Window) -> Result<(Fold, Vec<Owner>), Corrupt> {
    let mut reader = Reader { bytes, kind: "snapshot" };
    reader.version()?;
    let fold = Fold::decode(&mut reader, window)?;
    let mut owners = Vec::new();
    while !reader.bytes.is_empty() {
        owners.push((reader.u64()?, reader.text()?));
    }
    Ok((fold, owners))
}
