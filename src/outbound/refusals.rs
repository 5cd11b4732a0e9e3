//! How often the log tells an administrator of what was refused.
//!
//! Tenants say which hosts are tried, and how often: what is told of them is
//! bounded, and of one namespace apart from every other.
//!
//! A line has what tenants are not told: the address, its kind, and what name servers said.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::guard::{Detail, Forbidden};
use super::resolve::Unresolved;

/// A host is told of once in this time.
const WINDOW: Duration = Duration::from_mins(10);
/// So many hosts of a namespace in this time.
const MOST_HOSTS: usize = 32;
/// So many namespaces.
const MOST_NAMESPACES: usize = 4_096;

/// What has been told lately.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<String, Window>>);

#[derive(Debug)]
struct Window {
    began: Instant,
    hosts: HashSet<String>,
}

/// What to tell of one refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// All of it.
    Everything,
    /// That no more is told of this namespace for a while.
    ThatIsAll,
    /// Nothing.
    Nothing,
}

impl Refusals {
    /// Tells of a host that may not be called, and how to allow it.
    pub(super) fn refused(&self, namespace: &str, host: &str, forbidden: &Forbidden) {
        match self.note(namespace, &format!("refused {host}"), Instant::now()) {
            Tell::Everything => {
                let Detail { address, kind, allow } = forbidden.detail(namespace);
                let address = address.map(tracing::field::display);
                tracing::warn!(%namespace, %host, address, %kind, %allow, "an endpoint was not called: it is forbidden");
            }
            Tell::ThatIsAll => that_is_all(namespace),
            Tell::Nothing => {}
        }
    }

    /// Tells of name servers that gave no answer.
    pub(super) fn unresolved(&self, namespace: &str, host: &str, error: &Unresolved) {
        let Unresolved::NoAnswer(error) = error else { return };
        match self.note(namespace, &format!("unresolved {host}"), Instant::now()) {
            Tell::Everything => {
                tracing::warn!(%namespace, %host, %error, "the name servers gave no answer for an endpoint");
            }
            Tell::ThatIsAll => that_is_all(namespace),
            Tell::Nothing => {}
        }
    }

    fn note(&self, namespace: &str, host: &str, now: Instant) -> Tell {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |window: &Window| now.saturating_duration_since(window.began) >= WINDOW;
        if windows.len() >= MOST_NAMESPACES && !windows.contains_key(namespace) {
            windows.retain(|_, window| !over(window));
            if windows.len() >= MOST_NAMESPACES {
                return Tell::Nothing;
            }
        }
        let new = || Window { began: now, hosts: HashSet::new() };
        let window = windows.entry(namespace.to_owned()).or_insert_with(new);
        if over(window) {
            *window = new();
        }
        if window.hosts.contains(host) {
            return Tell::Nothing;
        }
        let told = window.hosts.len();
        if told > MOST_HOSTS {
            return Tell::Nothing;
        }
        window.hosts.insert(host.to_owned());
        if told < MOST_HOSTS { Tell::Everything } else { Tell::ThatIsAll }
    }
}

fn that_is_all(namespace: &str) {
    tracing::warn!(%namespace, during = ?WINDOW, "no more of this namespace's endpoints is logged");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_of_once_in_a_while_and_a_namespace_cannot_flood_the_log() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let told = |namespace: &str, host: &str, minutes| {
            refusals.note(namespace, host, start + Duration::from_mins(minutes))
        };
        assert_eq!(told("a", "one.example", 0), Tell::Everything);
        assert_eq!(told("a", "one.example", 9), Tell::Nothing);
        let many: Vec<_> = (0..1000).map(|n| told("a", &format!("{n}.example"), 9)).collect();
        let count = |tell| many.iter().filter(|&&told| told == tell).count();
        assert_eq!((count(Tell::Everything), count(Tell::ThatIsAll)), (MOST_HOSTS - 1, 1));
        assert_eq!(told("b", "one.example", 9), Tell::Everything);
        assert_eq!(told("a", "one.example", 10), Tell::Everything);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        for n in 0..MOST_NAMESPACES {
            assert_eq!(refusals.note(&n.to_string(), "a.example", start), Tell::Everything);
        }
        assert_eq!(refusals.note("more", "a.example", start), Tell::Nothing);
        assert_eq!(refusals.note("more", "a.example", start + WINDOW), Tell::Everything);
        assert_eq!(refusals.0.lock().unwrap().len(), 1);
    }
}
