//! What streams and subjects are called, for the server and for who looks after it.

use crate::model::WebhookUid;

/// How many parts the lanes are divided into, by their webhooks' UIDs; each part is run by one
/// dispatcher. It is written into the stream, and never changes.
pub const PARTITIONS: usize = 32;

/// The partition of a webhook's lane.
pub fn partition(webhook: WebhookUid) -> usize {
    // A UID is random, but in a few bits that say its version.
    let [first, second, ..] = webhook.as_bytes();
    (usize::from(*first) ^ usize::from(*second)) % PARTITIONS
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
}

/// What a subject of the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'s> {
    /// Events of a namespace.
    Append(&'s str),
    /// What came of deliveries.
    Change,
    /// Events once more.
    Carry,
    /// Who runs a partition.
    Owner(usize),
    /// That a dispatcher is alive.
    Member(&'s str),
}

impl Names {
    /// All of them begin with `prefix`, a word of letters, digits, `-` and `_`.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    fn stream(&self, what: &str) -> String {
        format!("{}_{what}", self.prefix.to_uppercase())
    }

    /// The stream of events and of what came of them.
    pub fn log(&self) -> String {
        self.stream("LOG")
    }

    /// All subjects of the log.
    pub fn of_log(&self) -> String {
        format!("{}.log.>", self.prefix)
    }

    /// Events of a namespace.
    pub fn append(&self, namespace: &str) -> String {
        format!("{}.log.append.{}", self.prefix, token(namespace))
    }

    /// What came of deliveries of a partition.
    pub fn change(&self, partition: usize) -> String {
        format!("{}.log.change.{partition}", self.prefix)
    }

    /// Who runs a partition.
    pub fn owner(&self, partition: usize) -> String {
        format!("{}.log.owner.{partition}", self.prefix)
    }

    /// That a dispatcher is alive; what it is called is a [`token`].
    pub fn member(&self, id: &str) -> String {
        format!("{}.log.member.{id}", self.prefix)
    }

    /// What a dispatcher is asked; what it is called is a [`token`].
    pub fn ask(&self, id: &str) -> String {
        format!("{}.ask.{id}", self.prefix)
    }

    /// What subjects begin with by which somebody is answered.
    pub fn inbox(&self) -> String {
        format!("{}.inbox", self.prefix)
    }

    /// That any dispatcher is alive.
    pub fn members(&self) -> String {
        format!("{}.log.member.*", self.prefix)
    }

    /// What a subject of the log says; `None` for one of another version.
    pub fn parse<'s>(&self, subject: &'s str) -> Option<Subject<'s>> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix(".log.")?;
        let (kind, of) = rest.split_once('.')?;
        match kind {
            "append" => Some(Subject::Append(of)),
            "change" => Some(Subject::Change),
            "carry" => Some(Subject::Carry),
            "owner" => of.parse().ok().filter(|partition| *partition < PARTITIONS).map(Subject::Owner),
            "member" => Some(Subject::Member(of)),
            _ => None,
        }
    }

    /// Events of a namespace that stand in the log once more.
    pub fn carry(&self, namespace: &str) -> String {
        format!("{}.log.carry.{}", self.prefix, token(namespace))
    }

    /// The stream of snapshots.
    pub fn snapshots(&self) -> String {
        self.stream("SNAPSHOTS")
    }

    /// All subjects of snapshots.
    pub fn of_snapshots(&self) -> String {
        format!("{}.snapshot.>", self.prefix)
    }

    /// A piece of a snapshot.
    pub fn snapshot_piece(&self) -> String {
        format!("{}.snapshot.piece", self.prefix)
    }

    /// The end of a snapshot, which says where it is.
    pub fn snapshot_end(&self) -> String {
        format!("{}.snapshot.end", self.prefix)
    }

    /// The stream of dead letters.
    pub fn dead(&self) -> String {
        self.stream("DEAD_LETTERS")
    }

    /// All subjects of dead letters.
    pub fn of_dead(&self) -> String {
        format!("{}.dead.>", self.prefix)
    }

    /// Dead letters of a webhook.
    pub fn letter(&self, webhook: WebhookUid) -> String {
        format!("{}.dead.{webhook}", self.prefix)
    }

    /// The stream of attempts.
    pub fn attempts(&self) -> String {
        self.stream("ATTEMPTS")
    }

    /// All subjects of attempts.
    pub fn of_attempts(&self) -> String {
        format!("{}.attempt.>", self.prefix)
    }

    /// Attempts of events of a namespace.
    pub fn attempt(&self, namespace: &str) -> String {
        format!("{}.attempt.{}", self.prefix, token(namespace))
    }
}

/// A part of a subject: names of Kubernetes are one as they are, but for their dots.
pub fn token(name: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(good) {
        name.to_owned()
    } else {
        format!("={}", hex::encode(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_says_what_it_was_made_of() {
        let names = Names::new("herald");
        assert_eq!(names.log(), "HERALD_LOG");
        assert_eq!(names.parse(&names.append("identity")), Some(Subject::Append("identity")));
        assert_eq!(names.parse(&names.change(3)), Some(Subject::Change));
        assert_eq!(names.parse(&names.owner(31)), Some(Subject::Owner(31)));
        assert_eq!(names.parse(&names.member("herald-0")), Some(Subject::Member("herald-0")));
        for other in ["herald.log.owner.32", "herald.log.what.1", "heraldx.log.owner.1", "other.log.owner.1"]
        {
            assert_eq!(names.parse(other), None, "{other}");
        }
        assert_eq!(names.append("a.b *"), "herald.log.append.=612e62202a");
        // The others know a dispatcher by what it is called in the log.
        let id = token("a.b");
        assert_eq!(names.parse(&names.member(&id)), Some(Subject::Member(&id)));
    }

    #[test]
    fn webhooks_are_spread_over_the_partitions() {
        let mut counts = [0_u32; PARTITIONS];
        for _ in 0..3200 {
            let uid = WebhookUid::from_bytes(*uuid::Uuid::new_v4().as_bytes());
            counts[partition(uid)] += 1;
        }
        assert!(counts.iter().all(|count| (50..200).contains(count)), "{counts:?}");
    }
}
