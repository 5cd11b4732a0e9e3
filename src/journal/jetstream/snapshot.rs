//! The fold in bytes, so that the log need not be read from its beginning.
//!
//! ```text
//! snapshot  version · spaces · lanes · events · void · samples · bytes · owners
//! ```
//!
//! It stands in a stream of its own, in pieces, and counts once its last message, which says which
//! they are and what their hash is, is stored: of two dispatchers that write one at a time, one is refused,
//! and its pieces may stand between those of the other.

use async_nats::HeaderMap;
use sha2::{Digest, Sha256};

use super::core::{Core, Inner};
use super::fold::Fold;
use super::names::PARTITIONS;
use super::publish::{EXPECTED, Outgoing, PublishError, publish};
use super::source::Source;
use crate::journal::Unavailable;
use crate::journal::limits::Window;
use crate::journal::record::{Corrupt, Reader, put};

/// The last message that a snapshot has in it.
pub const POSITION: &str = "Herald-Position";
/// The sequences of its pieces, with spaces between them.
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
    store(core, position, &bytes, PIECE).await?;
    Ok(position)
}

/// Writes it in pieces of at most so many bytes.
pub(super) async fn store(
    core: &Core,
    position: u64,
    bytes: &[u8],
    piece: usize,
) -> Result<(), PublishError> {
    let before = core.snapshots.last(&core.names.snapshot_end()).await?;
    let mut pieces = Vec::new();
    for piece in bytes.chunks(piece) {
        let (subject, headers) = (core.names.snapshot_piece(), HeaderMap::new());
        let body = piece.to_vec().into();
        pieces.push(publish(&core.client, Outgoing { subject, headers, body }).await?);
    }
    let first = pieces.first().copied().unwrap_or(0);
    let pieces: Vec<_> = pieces.iter().map(u64::to_string).collect();
    let mut headers = HeaderMap::new();
    headers.insert(POSITION, position.to_string());
    headers.insert(PIECES, pieces.join(" "));
    headers.insert(HASH, hex::encode(Sha256::digest(bytes)));
    let expected = before.map_or(0, |stored| stored.sequence);
    headers.insert(EXPECTED, expected.to_string());
    let end = Outgoing { subject: core.names.snapshot_end(), headers, body: bytes::Bytes::new() };
    publish(&core.client, end).await?;
    if let Err(error) = core.snapshots.stream().purge().sequence(first).await {
        tracing::debug!(%error, "older snapshots were not removed");
    }
    Ok(())
}

/// Reads the last snapshot, if there is one.
pub async fn read(snapshots: &Source, end: &str, window: Window) -> Result<Option<Snapshot>, Unavailable> {
    let Some(last) = snapshots.last(end).await? else { return Ok(None) };
    let text = |name: &str| last.headers.get(name).map_or("", async_nats::HeaderValue::as_str);
    let without = |name: &str| Unavailable(format!("a snapshot without {name}"));
    let position = text(POSITION).parse::<u64>().map_err(|_| without(POSITION))?;
    let pieces = pieces(text(PIECES)).ok_or_else(|| without(PIECES))?;
    let mut bytes = Vec::new();
    for sequence in &pieces {
        bytes.extend_from_slice(&snapshots.get(*sequence).await?.unwrap_or_default());
    }
    if hex::encode(Sha256::digest(&bytes)) != text(HASH) {
        return Err(Unavailable(format!("the snapshot before {} is damaged", last.sequence)));
    }
    let (fold, owners) = decode(&bytes, window).map_err(|error| Unavailable(error.to_string()))?;
    Ok(Some(Snapshot { position, fold, owners }))
}

/// The sequences of pieces: none twice, so that no header makes more of a stream than it has in it.
pub(super) fn pieces(text: &str) -> Option<Vec<u64>> {
    let pieces: Vec<u64> = text.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    pieces.is_sorted_by(|one, next| one < next).then_some(pieces)
}

/// The fold, and who runs what.
pub(super) fn encode(inner: &Inner) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    inner.fold.encode(&mut bytes);
    for part in &inner.partitions {
        bytes.extend(part.epoch.to_be_bytes());
        put(&mut bytes, part.owner.as_deref().unwrap_or_default().as_bytes());
    }
    bytes
}

const VERSION: u8 = 1;

/// What [`encode`] wrote.
pub(super) fn decode(bytes: &[u8], window: Window) -> Result<(Fold, Vec<Owner>), Corrupt> {
    let mut reader = Reader { bytes, kind: "snapshot" };
    reader.version()?;
    let fold = Fold::decode(&mut reader, window)?;
    let mut owners = Vec::new();
    while !reader.bytes.is_empty() {
        if owners.len() == PARTITIONS {
            return Err(Corrupt(reader.kind));
        }
        owners.push((reader.u64()?, reader.text()?));
    }
    Ok((fold, owners))
}
