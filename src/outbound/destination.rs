//! How much one host and one address may be sent, by all Webhooks together.
//!
//! ```text
//! Channel: gate of its host ── admit ─> Pass ─┐
//!                                             ├─> exchange
//! Connection: gate of its address ── enter ───┘
//! ```
//!
//! Anybody who may write a Webhook says where requests go. Many Webhooks could be
//! aimed at one victim, by one name or by many that lead to one address, and
//! without a proof: challenges go to whatever a Webhook names. So each host name and
//! each address has limits of its own, which all Webhooks share: exchanges at one time,
//! requests a second, connections a second.
//!
//! **Guarantees.** Both gates have let an exchange in before anything of it is
//! sent, and both count each connection before it is tried. What one of them has
//! no room for was not tried: the caller gets its turn by [`NoRoom::wait`]. What becomes free
//! goes to the namespace that has least of it, so that none takes a destination
//! that others use too, and within a namespace in the order of coming. A channel and a
//! connection hold their gates, so nothing is looked up for a request.
//!
//! **Assumes.** Gates that nobody uses are swept now and then.
//!
//! **Does not do.** A victim with many addresses has the limits of each. The addresses of an
//! IPv6 network of 64 bits count as one, since one machine can have them all. Limits are
//! those of one process.

mod bound;
mod shares;

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

pub use self::bound::{NoRoom, Permit};

use self::bound::{Bound, Counts, Share};
use super::metrics::{Metrics, Of};
use super::resolve::canonical;

/// What one destination may have, each 0 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerDestination {
    /// Exchanges at one time, from the first connection attempt to the end of the answer.
    pub in_flight: usize,
    /// Requests begun in any second.
    pub requests: usize,
    /// Connections begun in any second.
    pub connects: usize,
}

impl Default for PerDestination {
    fn default() -> Self {
        Self { in_flight: 512, requests: 10_000, connects: 200 }
    }
}

impl PerDestination {
    /// No limits.
    pub const NONE: Self = Self { in_flight: 0, requests: 0, connects: 0 };

    const fn most(self, limit: Limit) -> usize {
        match limit {
            Limit::InFlight => self.in_flight,
            Limit::Requests => self.requests,
            Limit::Connects => self.connects,
        }
    }
}

/// One of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelValue)]
pub enum Limit {
    /// Exchanges at one time.
    InFlight,
    /// Requests a second.
    Requests,
    /// Connections a second.
    Connects,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InFlight => "requests at one time",
            Self::Requests => "requests a second",
            Self::Connects => "new connections a second",
        })
    }
}

/// The limits of one host or one address, as one namespace has a part in them.
#[derive(Debug, Default)]
pub(super) struct Gate {
    in_flight: Option<Arc<Share>>,
    requests: Option<Arc<Share>>,
    connects: Option<Arc<Share>>,
}

/// A permit that was waited for, to be used for what it is of.
pub(super) type Waited = Option<Permit>;

/// A place in flight at one gate. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Entry {
    _in_flight: Option<Permit>,
    /// Until the request begins.
    request: Option<Permit>,
}

impl Entry {
    /// The request begins.
    pub(super) fn begin(&mut self) {
        spend(self.request.take());
    }
}

/// The right to one exchange, as far as its host goes. Dropping it gives it back.
#[derive(Debug)]
#[must_use]
pub struct Pass {
    pub(super) host: Entry,
    /// Of the gate that had no room the last time.
    pub(super) waited: Waited,
}

impl Gate {
    /// A place in flight, and the right to begin a request.
    pub(super) fn enter(&self, waited: &mut Waited) -> Result<Entry, NoRoom> {
        let in_flight = take(self.in_flight.as_ref(), waited)?;
        let request = take(self.requests.as_ref(), waited)?;
        Ok(Entry { _in_flight: in_flight, request })
    }

    /// The right to try a connection, which is spent when that begins.
    pub(super) fn connect(&self, waited: &mut Waited) -> Result<Option<Permit>, NoRoom> {
        take(self.connects.as_ref(), waited)
    }

    /// With a host's gate: the right to an exchange.
    pub(super) fn admit(&self, mut waited: Waited) -> Result<Pass, NoRoom> {
        let host = self.enter(&mut waited)?;
        Ok(Pass { host, waited })
    }

    fn is_in_use(&self, now: Instant) -> bool {
        let shares = [&self.in_flight, &self.requests, &self.connects];
        shares.into_iter().flatten().any(|share| share.is_in_use(now))
    }
}

/// What a permit is for, if one is needed, begins.
pub(super) fn spend(permit: Option<Permit>) {
    if let Some(permit) = permit {
        permit.spend();
    }
}

fn take(share: Option<&Arc<Share>>, waited: &mut Waited) -> Result<Option<Permit>, NoRoom> {
    let Some(share) = share else { return Ok(None) };
    match waited.take_if(|permit| permit.is_of(share)) {
        Some(permit) => Ok(Some(permit)),
        None => share.try_take().map(Some),
    }
}

/// One host or one address.
#[derive(Debug)]
struct Destination {
    in_flight: Option<Arc<Bound>>,
    requests: Option<Arc<Bound>>,
    connects: Option<Arc<Bound>>,
    /// Of each namespace.
    gates: HashMap<Box<str>, Arc<Gate>>,
}

impl Destination {
    fn new(limits: PerDestination, of: Of, metrics: &Metrics) -> Self {
        let bound = |limit| {
            let most = limits.most(limit);
            let counts = || Counts { waits: metrics.waits(limit, of), waiting: metrics.waiting.clone() };
            (most > 0).then(|| Arc::new(Bound::new(limit, most, counts())))
        };
        Self {
            in_flight: bound(Limit::InFlight),
            requests: bound(Limit::Requests),
            connects: bound(Limit::Connects),
            gates: HashMap::new(),
        }
    }

    fn gate(&mut self, namespace: &str) -> Arc<Gate> {
        if let Some(gate) = self.gates.get(namespace) {
            return gate.clone();
        }
        let share = |bound: &Option<Arc<Bound>>| bound.clone().map(|bound| Arc::new(Share::of(bound)));
        let gate = Arc::new(Gate {
            in_flight: share(&self.in_flight),
            requests: share(&self.requests),
            connects: share(&self.connects),
        });
        self.gates.insert(namespace.into(), gate.clone());
        gate
    }
}

/// All hosts, or all addresses, that are in use.
#[derive(Debug)]
struct Gates<K> {
    limits: PerDestination,
    of: Of,
    metrics: Metrics,
    by_key: Mutex<HashMap<K, Destination>>,
}

impl<K: Eq + Hash> Gates<K> {
    fn new(limits: PerDestination, of: Of, metrics: Metrics) -> Self {
        Self { limits, of, metrics, by_key: Mutex::default() }
    }

    fn of(&self, key: K, namespace: &str) -> Arc<Gate> {
        if self.limits == PerDestination::NONE {
            return Arc::default();
        }
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Destination::new(self.limits, self.of, &self.metrics);
        by_key.entry(key).or_insert_with(new).gate(namespace)
    }

    /// Forgets those that nobody uses. What was spent in the last second keeps them:
    /// else whoever closes each connection would begin anew with each.
    fn sweep(&self, now: Instant) {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        by_key.retain(|_, destination| {
            destination.gates.retain(|_, gate| Arc::strong_count(gate) > 1 || gate.is_in_use(now));
            !destination.gates.is_empty()
        });
        if by_key.len() < by_key.capacity() / 4 {
            by_key.shrink_to_fit();
        }
    }
}

/// The gates of all destinations.
#[derive(Debug)]
pub(super) struct Destinations {
    hosts: Gates<Box<str>>,
    addresses: Gates<IpAddr>,
}

impl Destinations {
    pub(super) fn new(limits: PerDestination, metrics: &Metrics) -> Self {
        Self {
            hosts: Gates::new(limits, Of::Host, metrics.clone()),
            addresses: Gates::new(limits, Of::Address, metrics.clone()),
        }
    }

    /// A namespace's gate of a host, however the host's name is spelt.
    pub(super) fn host(&self, host: &str, namespace: &str) -> Arc<Gate> {
        self.hosts.of(canonical(host).into_boxed_str(), namespace)
    }

    /// A namespace's gate of an address.
    pub(super) fn address(&self, address: IpAddr, namespace: &str) -> Arc<Gate> {
        self.addresses.of(key(address), namespace)
    }

    pub(super) fn sweep(&self, now: Instant) {
        self.hosts.sweep(now);
        self.addresses.sweep(now);
    }
}

/// What counts as one address.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address @ IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            const NETWORK: u128 = u128::MAX << 64;
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn destinations(limits: PerDestination) -> Destinations {
        Destinations::new(limits, &Metrics::default())
    }

    #[test]
    fn a_host_is_the_same_however_it_is_spelt_and_a_64_bit_network_is_one_address() {
        let all = destinations(PerDestination::default());
        let host = all.host("hooks.example.com", "team");
        for spelling in ["hooks.example.com.", "Hooks.Example.COM"] {
            assert!(Arc::ptr_eq(&host, &all.host(spelling, "team")), "{spelling}");
        }
        assert!(!Arc::ptr_eq(&host, &all.host("hooks.example.org", "team")));
        let table = [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2a00:1:2:3::1", "2a00:1:2:3:ffff::9", true),
            ("2a00:1:2:3::1", "2a00:1:2:4::1", false),
        ];
        for (one, other, same) in table {
            let gate = |text: &str| all.address(text.parse().unwrap(), "team");
            assert_eq!(Arc::ptr_eq(&gate(one), &gate(other)), same, "{one} {other}");
        }
    }

    #[test]
    fn what_was_let_in_and_did_not_begin_a_request_has_spent_nothing() {
        let gate =
            destinations(PerDestination { in_flight: 1, requests: 1, connects: 0 }).host("a.test", "team");
        drop(gate.admit(None).unwrap());
        let mut pass = gate.admit(None).unwrap();
        assert_eq!(gate.admit(None).unwrap_err().limit(), Limit::InFlight);
        pass.host.begin();
        drop(pass);
        assert_eq!(gate.admit(None).unwrap_err().limit(), Limit::Requests);
    }

    #[test]
    fn gates_that_nobody_uses_are_forgotten_and_what_was_spent_is_not() {
        let all = destinations(PerDestination { in_flight: 1, requests: 0, connects: 1 });
        let now = Instant::now();
        let (kept, spent) = (all.host("kept.test", "team"), all.host("spent.test", "team"));
        spent.connect(&mut None).unwrap().unwrap().spend();
        drop(spent);
        all.host("unused.test", "team");
        let pass = all.host("in-flight.test", "team").admit(None).unwrap();
        let names = |now| {
            all.sweep(now);
            let mut names: Vec<_> =
                all.hosts.by_key.lock().unwrap().keys().map(ToString::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(names(now), ["in-flight.test", "kept.test", "spent.test"]);
        assert!(all.host("spent.test", "team").connect(&mut None).is_err());
        assert_eq!(names(now + Duration::from_secs(2)), ["in-flight.test", "kept.test"]);
        drop((pass, kept));
        assert!(names(now + Duration::from_secs(2)).is_empty());
    }

    #[test]
    fn without_limits_nothing_is_kept_and_nothing_refused() {
        let all = destinations(PerDestination::NONE);
        let gate = all.host("a.test", "team");
        let passes: Vec<_> = (0..1000).map(|_| gate.admit(None).unwrap()).collect();
        assert!(gate.connect(&mut None).unwrap().is_none());
        assert!(all.hosts.by_key.lock().unwrap().is_empty());
        drop(passes);
    }
}
