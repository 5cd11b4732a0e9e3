//! fjall: a log, and trees that are merged from it.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::{Store, known, ticket};

pub struct Fjall {
    database: Database,
    events: Keyspace,
    tickets: Keyspace,
    seen: Keyspace,
}

impl Store for Fjall {
    const NAME: &str = "fjall";

    fn open(path: &Path) -> Self {
        let database =
            Database::builder(path).worker_threads(1).max_journaling_size(64 << 20).open().expect("opens");
        let keyspace = |name, memory| {
            database
                .keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(memory))
                .expect("a keyspace")
        };
        let (events, tickets) = (keyspace("events", 6 << 20), keyspace("tickets", 1 << 20));
        let seen = keyspace("seen", 1 << 20);
        Self { events, tickets, seen, database }
    }

    fn append(&mut self, first: u64, count: u64, event: &[u8]) {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for seq in first..first + count {
            batch.insert(&self.events, seq.to_be_bytes(), event);
            batch.insert(&self.tickets, ticket(seq), [0; 24]);
            assert!(self.seen.get(known(seq)).expect("reads").is_none());
            batch.insert(&self.seen, known(seq), [0; 24]);
        }
        batch.commit().expect("commits");
    }

    fn settle(&mut self, first: u64, count: u64, sync: bool) {
        let mode = if sync { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut batch = self.database.batch().durability(Some(mode));
        // The last leaves a trace: see the journal's own use of it.
        let Some(last) = (first..first + count).last() else {
            return batch.commit().expect("commits");
        };
        for seq in first..last {
            batch.remove_weak(&self.events, seq.to_be_bytes());
            batch.remove_weak(&self.tickets, ticket(seq));
        }
        batch.remove(&self.events, last.to_be_bytes());
        batch.remove(&self.tickets, ticket(last));
        batch.commit().expect("commits");
    }

    fn read(&self, from: u64, most: usize) -> usize {
        let mut found = 0;
        for guard in self.tickets.range(ticket(from)..).take(most) {
            let key = guard.key().expect("reads");
            assert!(self.events.get(&key[16..]).expect("reads").is_some());
            found += 1;
        }
        found
    }

    fn count(&self) -> usize {
        self.tickets.range(ticket(0)..).count()
    }
}
