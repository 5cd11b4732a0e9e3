//! heed: LMDB, a memory-mapped copy-on-write B-tree in C.
//!
//! A commit of it without a sync may leave a file that cannot be read after the
//! machine stops, so outcomes wait in memory for the next sync.

use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvOpenOptions, RwTxn};

use crate::{Store, known, ticket};

pub struct Heed {
    env: Env,
    events: Database<Bytes, Bytes>,
    tickets: Database<Bytes, Bytes>,
    seen: Database<Bytes, Bytes>,
    waiting: Vec<(u64, u64)>,
}

impl Store for Heed {
    const NAME: &str = "heed";

    fn open(path: &Path) -> Self {
        std::fs::create_dir_all(path).expect("a folder");
        let mut options = EnvOpenOptions::new();
        options.map_size(16 << 30).max_dbs(3);
        // SAFETY: nothing else opens these files.
        let env = unsafe { options.open(path).expect("opens") };
        let mut transaction = env.write_txn().expect("begins");
        let events = env.create_database(&mut transaction, Some("events")).expect("a database");
        let tickets = env.create_database(&mut transaction, Some("tickets")).expect("a database");
        let seen = env.create_database(&mut transaction, Some("seen")).expect("a database");
        transaction.commit().expect("commits");
        Self { env, events, tickets, seen, waiting: Vec::new() }
    }

    fn append(&mut self, first: u64, count: u64, event: &[u8]) {
        let waiting = std::mem::take(&mut self.waiting);
        let mut transaction = self.env.write_txn().expect("begins");
        self.remove(&mut transaction, &waiting);
        for seq in first..first + count {
            assert!(self.seen.get(&transaction, &known(seq)).expect("reads").is_none());
            self.seen.put(&mut transaction, &known(seq), &[0; 24]).expect("puts");
            self.events.put(&mut transaction, &seq.to_be_bytes(), event).expect("puts");
            self.tickets.put(&mut transaction, &ticket(seq), &[0; 24]).expect("puts");
        }
        transaction.commit().expect("commits");
    }

    fn settle(&mut self, first: u64, count: u64, sync: bool) {
        self.waiting.push((first, count));
        if sync {
            let waiting = std::mem::take(&mut self.waiting);
            let mut transaction = self.env.write_txn().expect("begins");
            self.remove(&mut transaction, &waiting);
            transaction.commit().expect("commits");
        }
    }

    fn read(&self, from: u64, most: usize) -> usize {
        let transaction = self.env.read_txn().expect("begins");
        let from = ticket(from);
        let range = (std::ops::Bound::Included(&from[..]), std::ops::Bound::Unbounded);
        let mut found = 0;
        for entry in self.tickets.range(&transaction, &range).expect("reads").take(most) {
            let (key, _) = entry.expect("reads");
            assert!(self.events.get(&transaction, &key[16..]).expect("reads").is_some());
            found += 1;
        }
        found
    }

    fn count(&self) -> usize {
        let transaction = self.env.read_txn().expect("begins");
        usize::try_from(self.tickets.len(&transaction).expect("reads")).expect("fits")
    }
}

impl Heed {
    fn remove(&self, transaction: &mut RwTxn<'_>, waiting: &[(u64, u64)]) {
        for seq in waiting.iter().flat_map(|(first, count)| *first..first + count) {
            self.events.delete(transaction, &seq.to_be_bytes()).expect("deletes");
            self.tickets.delete(transaction, &ticket(seq)).expect("deletes");
        }
    }
}
