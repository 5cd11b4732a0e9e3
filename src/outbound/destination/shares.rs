//! What each party has of so many, and whose turn it is.
//!
//! **Guarantees.** Nobody waits while something is free. Of those that wait the party that has
//! least is served, of two that have as much the one that took last longer ago, and of one
//! party's in the order of coming. So who comes to what others have wholly taken gets what
//! comes back, until it has as much as they, and of a single one each has its turn.
//!
//! **Assumes.** What comes back is what its party took, once.

use std::collections::{BTreeMap, BTreeSet};

use slab::Slab;

/// See the module. `W` is how to tell somebody that its turn has come.
#[derive(Debug)]
pub(super) struct Shares<W> {
    free: usize,
    parties: Slab<Party<W>>,
    /// Of the parties that wait, whose turn is next first.
    turns: BTreeSet<Turn>,
    now: Moment,
}

/// One that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PartyId(usize);

/// A time that goes on by one with each that takes or begins to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

#[derive(Debug)]
struct Party<W> {
    has: usize,
    took: Moment,
    waiting: BTreeMap<Moment, W>,
}

/// Compared by its fields in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    has: usize,
    took: Moment,
    party: PartyId,
}

impl<W> Shares<W> {
    pub(super) fn new(all: usize) -> Self {
        Self { free: all, parties: Slab::new(), turns: BTreeSet::new(), now: Moment::default() }
    }

    pub(super) fn join(&mut self) -> PartyId {
        PartyId(self.parties.insert(Party { has: 0, took: Moment::default(), waiting: BTreeMap::new() }))
    }

    /// For one that has nothing and does not wait.
    pub(super) fn leave(&mut self, party: PartyId) {
        if self.parties.get(party.0).is_some_and(|party| party.has == 0 && party.waiting.is_empty()) {
            self.parties.remove(party.0);
        }
    }

    pub(super) fn has(&self, party: PartyId) -> usize {
        self.parties.get(party.0).map_or(0, |party| party.has)
    }

    /// One, if it is free.
    pub(super) fn take(&mut self, party: PartyId) -> bool {
        let is_free = self.free > 0;
        if is_free {
            self.take_one(party);
        }
        is_free
    }

    /// Waits from this moment on, where nothing was free.
    pub(super) fn wait(&mut self, party: PartyId, waiter: W) -> Moment {
        let since = self.tick();
        self.change(party, |party| {
            party.waiting.insert(since, waiter);
        });
        since
    }

    /// Does not wait any more, unless its turn has come.
    pub(super) fn stop(&mut self, party: PartyId, since: Moment) -> Option<W> {
        self.change(party, |party| party.waiting.remove(&since)).flatten()
    }

    /// Gives back what each took, and serves those whose turn has come.
    pub(super) fn give_back(&mut self, returned: impl IntoIterator<Item = (PartyId, usize)>) -> Vec<W> {
        for (party, count) in returned {
            self.free += count;
            self.change(party, |party| party.has -= count);
        }
        let mut served = Vec::new();
        while self.free > 0
            && let Some(&Turn { party, .. }) = self.turns.first()
        {
            self.take_one(party);
            served.extend(
                self.change(party, |party| party.waiting.pop_first()).flatten().map(|(_, first)| first),
            );
        }
        served
    }

    fn take_one(&mut self, party: PartyId) {
        self.free -= 1;
        let now = self.tick();
        self.change(party, |party| {
            party.has += 1;
            party.took = now;
        });
    }

    fn tick(&mut self) -> Moment {
        self.now.0 += 1;
        self.now
    }

    /// Keeps the turns in step.
    fn change<T>(&mut self, id: PartyId, change: impl FnOnce(&mut Party<W>) -> T) -> Option<T> {
        let party = self.parties.get_mut(id.0)?;
        if let Some(turn) = party.turn(id) {
            self.turns.remove(&turn);
        }
        let changed = change(party);
        self.turns.extend(party.turn(id));
        Some(changed)
    }
}

impl<W> Party<W> {
    fn turn(&self, party: PartyId) -> Option<Turn> {
        let &Self { has, took, .. } = self;
        (!self.waiting.is_empty()).then_some(Turn { has, took, party })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two parties, of which the first has all, and waits with what is told as 1, 2, 3.
    fn all_taken(all: usize) -> (Shares<&'static str>, PartyId, PartyId) {
        let mut shares = Shares::new(all);
        let (greedy, other) = (shares.join(), shares.join());
        while shares.take(greedy) {}
        for waiter in ["greedy 1", "greedy 2", "greedy 3"] {
            shares.wait(greedy, waiter);
        }
        (shares, greedy, other)
    }

    #[test]
    fn who_has_least_is_next_however_many_of_another_wait_for_longer() {
        let (mut shares, greedy, other) = all_taken(4);
        for waiter in ["other 1", "other 2", "other 3"] {
            shares.wait(other, waiter);
        }
        let served: Vec<_> = (0..4).flat_map(|_| shares.give_back([(greedy, 1)])).collect();
        assert_eq!(served, ["other 1", "other 2", "greedy 1", "greedy 2"]);
        assert_eq!((shares.has(greedy), shares.has(other)), (2, 2));
        let served: Vec<_> = (0..3).flat_map(|_| shares.give_back([(other, 1)])).collect();
        assert_eq!(served, ["other 3", "greedy 3"]);
        assert!(shares.take(other), "nobody waits");
    }

    #[test]
    fn a_party_that_is_alone_has_everything_and_is_served_in_the_order_of_coming() {
        let (mut shares, greedy, _) = all_taken(2);
        assert_eq!(shares.has(greedy), 2);
        assert!(!shares.take(greedy));
        assert_eq!(shares.give_back([(greedy, 2)]), ["greedy 1", "greedy 2"]);
        assert_eq!(shares.give_back([(greedy, 1)]), ["greedy 3"]);
        assert_eq!(shares.has(greedy), 2);
    }

    #[test]
    fn of_a_single_one_each_party_has_its_turn_however_many_of_it_wait() {
        let (mut shares, greedy, other) = all_taken(1);
        shares.wait(other, "other 1");
        let late = shares.join();
        shares.wait(late, "late 1");
        shares.wait(other, "other 2");
        let turns = [(greedy, "other 1"), (other, "late 1"), (late, "greedy 1"), (greedy, "other 2")];
        for (returned, served) in turns {
            assert_eq!(shares.give_back([(returned, 1)]), [served]);
        }
    }

    #[test]
    fn who_stops_waiting_is_not_served_and_holds_up_nobody() {
        let (mut shares, greedy, other) = all_taken(1);
        let first = shares.wait(other, "other 1");
        let second = shares.wait(other, "other 2");
        assert_eq!(shares.stop(other, first), Some("other 1"));
        assert_eq!(shares.give_back([(greedy, 1)]), ["other 2"]);
        assert_eq!(shares.stop(other, second), None, "its turn had come");
        assert_eq!(shares.has(other), 1);
        assert_eq!(shares.give_back([(other, 1)]), ["greedy 1"]);
    }

    #[test]
    fn only_who_has_nothing_and_does_not_wait_is_forgotten() {
        let (mut shares, greedy, other) = all_taken(1);
        shares.leave(greedy);
        shares.leave(other);
        assert_eq!(shares.parties.len(), 1);
        for _ in 0..4 {
            shares.give_back([(greedy, 1)]);
        }
        shares.leave(greedy);
        assert!(shares.parties.is_empty() && shares.free == 1);
    }

    #[test]
    fn whatever_is_done_nothing_is_lost_and_nobody_waits_while_something_is_free() {
        use rand::{RngExt as _, SeedableRng as _};
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        let mut shares = Shares::new(5);
        let parties = [(); 4].map(|()| shares.join());
        let mut waiting = Vec::new();
        let mut has = [0; 4];
        for step in 0..10_000 {
            let at = random.random_range(0..4);
            match random.random_range(0..4) {
                0 if shares.take(parties[at]) => has[at] += 1,
                1 if shares.free == 0 => waiting.push((at, shares.wait(parties[at], (at, step)), step)),
                2 if has[at] > 0 => {
                    has[at] -= 1;
                    for (served, step) in shares.give_back([(parties[at], 1)]) {
                        has[served] += 1;
                        waiting.retain(|&(_, _, its)| its != step);
                    }
                }
                _ => {
                    if let Some((at, since, _)) = waiting.pop() {
                        shares.stop(parties[at], since);
                    }
                }
            }
            let free = 5 - has.iter().sum::<usize>();
            assert_eq!(shares.free, free);
            assert_eq!(parties.map(|party| shares.has(party)), has);
            let waits: usize = shares.parties.iter().map(|(_, party)| party.waiting.len()).sum();
            assert_eq!(waits, waiting.len());
        }
    }
}
