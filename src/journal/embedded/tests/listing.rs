//! Listings, for somebody who may see one webhook and not another.

use super::{Bench, append, soon, webhook};
use crate::journal::inspect::Cursor;
use crate::journal::{Inspect as _, Journal as _};

#[tokio::test]
async fn no_place_in_a_listing_shows_the_deliveries_of_another_webhook() {
    let bench = Bench::new();
    let journal = bench.open();
    // More than 256: the numbers of some end in a zero, which a place adds by itself.
    soon(journal.append((0..300).map(|i| append(&format!("e{i}"), &[2])).collect())).await;
    let mut place: Option<Cursor> = None;
    loop {
        let theirs = soon(journal.pending(webhook(2), place.clone(), 1)).await.expect("open");
        let Some(next) = theirs.next else { break };
        for length in 0..=next.0.len() {
            let part = Cursor(next.0[..length].to_vec());
            let mine = soon(journal.pending(webhook(1), Some(part.clone()), 9)).await.expect("open");
            assert!(mine.items.is_empty() && mine.next.is_none(), "{part:?}");
        }
        place = Some(next);
    }
    assert!(place.is_some());
}
