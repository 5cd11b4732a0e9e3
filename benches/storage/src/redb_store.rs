//! redb: a copy-on-write B-tree.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::{Store, known, ticket};

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const TICKETS: TableDefinition<'_, &[u8; 24], &[u8; 24]> = TableDefinition::new("tickets");

const SEEN: TableDefinition<'_, &[u8; 16], &[u8; 24]> = TableDefinition::new("seen");

pub struct Redb(Database);

impl Store for Redb {
    const NAME: &str = "redb";

    fn open(path: &Path) -> Self {
        let database = Database::builder().set_cache_size(32 << 20).create(path).expect("opens");
        let transaction = database.begin_write().expect("begins");
        transaction.open_table(EVENTS).expect("a table");
        transaction.open_table(TICKETS).expect("a table");
        transaction.open_table(SEEN).expect("a table");
        transaction.commit().expect("commits");
        Self(database)
    }

    fn append(&mut self, first: u64, count: u64, event: &[u8]) {
        let transaction = self.0.begin_write().expect("begins");
        {
            let mut events = transaction.open_table(EVENTS).expect("a table");
            let mut tickets = transaction.open_table(TICKETS).expect("a table");
            let mut seen = transaction.open_table(SEEN).expect("a table");
            for seq in first..first + count {
                assert!(seen.insert(&known(seq), &[0; 24]).expect("inserts").is_none());
                events.insert(seq, event).expect("inserts");
                tickets.insert(&ticket(seq), &[0; 24]).expect("inserts");
            }
        }
        transaction.commit().expect("commits");
    }

    fn settle(&mut self, first: u64, count: u64, sync: bool) {
        let mut transaction = self.0.begin_write().expect("begins");
        let durability = if sync { Durability::Immediate } else { Durability::None };
        transaction.set_durability(durability).expect("set");
        {
            let mut events = transaction.open_table(EVENTS).expect("a table");
            let mut tickets = transaction.open_table(TICKETS).expect("a table");
            for seq in first..first + count {
                events.remove(seq).expect("removes");
                tickets.remove(&ticket(seq)).expect("removes");
            }
        }
        transaction.commit().expect("commits");
    }

    fn read(&self, from: u64, most: usize) -> usize {
        let transaction = self.0.begin_read().expect("begins");
        let events = transaction.open_table(EVENTS).expect("a table");
        let tickets = transaction.open_table(TICKETS).expect("a table");
        let mut found = 0;
        for entry in tickets.range::<&[u8; 24]>(&ticket(from)..).expect("reads").take(most) {
            let (key, _) = entry.expect("reads");
            let seq = u64::from_be_bytes(key.value()[16..].try_into().expect("eight bytes"));
            assert!(events.get(seq).expect("reads").is_some());
            found += 1;
        }
        found
    }

    fn count(&self) -> usize {
        let transaction = self.0.begin_read().expect("begins");
        let tickets = transaction.open_table(TICKETS).expect("a table");
        tickets.iter().expect("reads").count()
    }
}
