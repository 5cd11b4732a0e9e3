//! What was promised before a crash, as the child wrote it down.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What was promised, a line at a time.
#[derive(Clone)]
pub(super) struct Ledger(Arc<Mutex<std::fs::File>>);

impl Ledger {
    /// In the folder that is recorded.
    pub(super) fn new(folder: &Path) -> Self {
        let file = std::fs::File::create(folder.join("LEDGER")).expect("a ledger");
        Self(Arc::new(Mutex::new(file)))
    }

    /// One write.
    pub(super) fn say(&self, line: &str) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes()).expect("written");
    }
}

/// What a ledger says must be there.
#[derive(Debug, Default)]
pub(super) struct Promised {
    /// By webhook: acknowledged, and nobody was about to settle it.
    pub(super) pending: BTreeMap<u8, BTreeSet<String>>,
    /// Not acknowledged, and nobody was about to settle it: whether it is there is open, for
    /// which of its webhooks.
    pub(super) tried: BTreeMap<String, Vec<u8>>,
    /// How many times the store was opened again.
    pub(super) reopened: u64,
    /// Acknowledged, the last of them.
    pub(super) last: Option<(String, Vec<u8>)>,
}

impl Promised {
    /// From its lines; the last may be cut short.
    pub(super) fn read(text: &str) -> Self {
        let mut promised = Self::default();
        // A delivery may be out before its event's line is.
        let mut settling: HashSet<(u8, String)> = HashSet::new();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in complete.lines() {
            let numbers = |list: &str| -> Vec<u8> {
                list.split(',').map(|number| number.parse().expect("a number")).collect()
            };
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["TRYING", id, webhooks] => drop(promised.tried.insert(id.to_owned(), numbers(webhooks))),
                ["STORED", id, webhooks] => {
                    let webhooks = numbers(webhooks);
                    promised.tried.remove(id);
                    for webhook in webhooks.iter().filter(|n| !settling.contains(&(**n, id.to_owned()))) {
                        promised.pending.entry(*webhook).or_default().insert(id.to_owned());
                    }
                    promised.last = Some((id.to_owned(), webhooks));
                }
                ["SETTLING", webhook, id] => {
                    let webhook = webhook.parse().expect("a number");
                    promised.pending.entry(webhook).or_default().remove(id);
                    if let Some(webhooks) = promised.tried.get_mut(id) {
                        webhooks.retain(|tried| *tried != webhook);
                    }
                    settling.insert((webhook, id.to_owned()));
                }
                ["DROPPING", webhook] => drop(promised.pending.remove(&webhook.parse().expect("a number"))),
                ["REOPENED", times] => promised.reopened = times.parse().expect("a number"),
                _ => panic!("{line}"),
            }
        }
        promised
    }
}
