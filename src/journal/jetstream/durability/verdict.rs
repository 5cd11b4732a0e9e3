//! What follows from what the servers said. No I/O.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// How a server syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncing {
    /// Each write, before it says that it has it.
    Always,
    /// Once in so long.
    Every(Duration),
    /// It keeps nothing.
    WithoutJetStream,
}

/// A server, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name in its cluster.
    pub name: String,
    /// Where it was asked.
    pub at: SocketAddr,
    /// How it syncs.
    pub syncing: Syncing,
}

/// Servers that acknowledge before they sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers(pub Vec<Server>);

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, server) in self.0.iter().enumerate() {
            let Server { name, at, syncing } = server;
            let comma = if place == 0 { "" } else { ", " };
            let every = match syncing {
                Syncing::Every(every) => *every,
                Syncing::Always | Syncing::WithoutJetStream => Duration::ZERO,
            };
            write!(
                f,
                "{comma}the server {name} of NATS (asked at {at}) acknowledges what is not on its disk"
            )?;
            write!(f, ", and syncs every {every:?}")?;
        }
        Ok(())
    }
}

/// Who keeps a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its name.
    pub stream: String,
    /// The names of the servers.
    pub servers: BTreeSet<String>,
}

/// What was heard at one time.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Who keeps what.
    pub homes: Vec<Home>,
    /// Who answered; one that has several addresses more than once.
    pub servers: Vec<Server>,
    /// Who did not, and why.
    pub failures: Vec<String>,
}

/// A stream of which some servers have not said how they sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    stream: String,
    /// How many servers have to keep it.
    wanted: usize,
    /// How many of them sync each write.
    synced: usize,
    silent: BTreeSet<String>,
    failures: Vec<String>,
}

impl Gap {
    /// Whether those that have not are fewer than half.
    pub const fn is_minority(&self) -> bool {
        self.synced * 2 > self.wanted
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, wanted, synced, silent, failures } = self;
        write!(
            f,
            "of the {wanted} servers of NATS that are to keep {stream}, {synced} said that they sync each write"
        )?;
        if !silent.is_empty() {
            let silent: Vec<_> = silent.iter().map(String::as_str).collect();
            write!(f, ", and no answer was had of {}", silent.join(", "))?;
        }
        if !failures.is_empty() {
            write!(f, " ({})", failures.join("; "))?;
        }
        Ok(())
    }
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every server of every stream syncs each write, and so does every other that was asked.
    Synced,
    /// These do not.
    Unsynced(Servers),
    /// None is known not to, and some have not said.
    Unknown(Gap),
}

/// Judges a look, of streams with so many replicas.
pub fn judge(look: Look, replicas: usize) -> Verdict {
    let Look { homes, servers, failures } = look;
    let mut unsynced: Vec<Server> = Vec::new();
    let mut synced = BTreeSet::new();
    for server in servers {
        match server.syncing {
            Syncing::Always => {
                synced.insert(server.name);
            }
            Syncing::Every(_) if unsynced.iter().all(|other| other.name != server.name) => {
                unsynced.push(server);
            }
            Syncing::Every(_) | Syncing::WithoutJetStream => {}
        }
    }
    if !unsynced.is_empty() {
        return Verdict::Unsynced(Servers(unsynced));
    }
    let gaps = homes.into_iter().map(|Home { stream, servers }| {
        let wanted = servers.len().max(replicas);
        let silent: BTreeSet<_> = servers.difference(&synced).cloned().collect();
        Gap { stream, wanted, synced: servers.len() - silent.len(), silent, failures: failures.clone() }
    });
    // The one of which the least is known says the most.
    let worst = gaps.filter(|gap| gap.synced < gap.wanted).max_by_key(|gap| gap.wanted - gap.synced);
    worst.map_or(Verdict::Synced, Verdict::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Syncing = Syncing::Every(Duration::from_mins(2));

    fn server(name: &str, syncing: Syncing) -> Server {
        Server { name: name.to_owned(), at: ([10, 0, 0, 1], 8222).into(), syncing }
    }

    fn home(servers: &[&str]) -> Home {
        Home { stream: "LOG".to_owned(), servers: servers.iter().copied().map(str::to_owned).collect() }
    }

    fn of(kept_by: &[&str], said: &[(&str, Syncing)]) -> Verdict {
        let servers = said.iter().map(|(name, syncing)| server(name, *syncing)).collect();
        judge(Look { homes: vec![home(kept_by)], servers, failures: vec!["x: away".to_owned()] }, 3)
    }

    #[test]
    fn each_server_of_a_stream_has_to_say_that_it_syncs_and_no_other_that_it_does_not() {
        use Syncing::{Always, WithoutJetStream};
        let abc = ["a", "b", "c"];
        let all = [("a", Always), ("b", Always), ("c", Always)];
        assert_eq!(of(&abc, &all), Verdict::Synced);
        let beside = [&all[..], &[("c", Always), ("d", WithoutJetStream)]].concat();
        assert_eq!(of(&abc, &beside), Verdict::Synced);
        // It may be given the stream at any time.
        let wrong = [&all[..], &[("d", SLOW), ("d", SLOW)]].concat();
        assert_eq!(of(&abc, &wrong), Verdict::Unsynced(Servers(vec![server("d", SLOW)])));
        let alone = [("b", SLOW)];
        assert_eq!(of(&abc, &alone), Verdict::Unsynced(Servers(vec![server("b", SLOW)])));
    }

    #[test]
    fn who_is_silent_is_named_and_whether_a_majority_has_answered_is_told() {
        use Syncing::Always;
        let gap = |verdict| match verdict {
            Verdict::Unknown(gap) => gap,
            other @ (Verdict::Synced | Verdict::Unsynced(_)) => panic!("{other:?}"),
        };
        let two = gap(of(&["a", "b", "c"], &[("a", Always), ("b", Always)]));
        assert!(two.is_minority());
        assert_eq!(
            two.to_string(),
            "of the 3 servers of NATS that are to keep LOG, 2 said that they sync each write, \
             and no answer was had of c (x: away)"
        );
        assert!(!gap(of(&["a", "b", "c"], &[("a", Always)])).is_minority());
        // Those that answer are others than those that keep the stream.
        assert!(!gap(of(&["a", "b", "c"], &[("d", Always), ("e", Always), ("f", Always)])).is_minority());
        // There are fewer than there should be, whatever they say.
        assert!(!gap(of(&["a"], &[("a", Always)])).is_minority());
        assert!(gap(of(&["a", "b"], &[("a", Always), ("b", Always)])).is_minority());
        assert!(!gap(of(&[], &[])).is_minority());
    }
}
