//! Per-user order in a lane: who must wait.
//!
//! ```text
//! busy     users of deliveries that are leased or about to be        in memory
//! blocked  users with deliveries in `order` (retry or parked),       at most MOST in memory,
//!          and the number of the first of them                       beyond that the disk is asked
//! parking  users with deliveries on their way to `order`             bounded by the inbox
//! ```

use std::collections::HashMap;

/// Users that are remembered; 16 bytes each, about.
pub const MOST: usize = 65_536;

/// See the module.
#[derive(Debug, Default)]
pub struct Users {
    busy: HashMap<u64, u64>,
    blocked: HashMap<u64, u64>,
    parking: HashMap<u64, u32>,
    overflown: bool,
}

/// What is known of a user without asking the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing earlier is in the way.
    Free,
    /// Something is.
    Blocked,
    /// The disk must be asked.
    Unknown,
}

impl Users {
    /// From the first entry of each user in `order`; `overflown` if those are not all.
    pub fn new(blocked: HashMap<u64, u64>, overflown: bool) -> Self {
        Self { blocked, overflown, ..Self::default() }
    }

    /// Whether the user's delivery `seq`, which is in neither, must wait.
    pub fn verdict(&self, user: u64, seq: u64) -> Verdict {
        let earlier = self.blocked.get(&user).is_some_and(|first| *first < seq);
        if earlier || self.busy.contains_key(&user) || self.parking.contains_key(&user) {
            Verdict::Blocked
        } else if self.overflown && !self.blocked.contains_key(&user) {
            Verdict::Unknown
        } else {
            Verdict::Free
        }
    }

    /// Whether anything of the user may be, or come to be, in `order`.
    pub fn may_wait(&self, user: u64) -> bool {
        self.overflown || self.blocked.contains_key(&user) || self.parking.contains_key(&user)
    }

    /// Whether a delivery of the user before `seq` is in memory.
    pub fn is_busy_before(&self, user: u64, seq: u64) -> bool {
        self.busy.get(&user).is_some_and(|busy| *busy < seq)
    }

    /// A delivery of the user is about to be leased.
    pub fn begin(&mut self, user: u64, seq: u64) {
        self.busy.insert(user, seq);
    }

    /// It has ended, or is on the disk again.
    pub fn end(&mut self, user: u64, seq: u64) {
        if self.busy.get(&user) == Some(&seq) {
            self.busy.remove(&user);
        }
    }

    /// A delivery of the user is on its way to `order`.
    pub fn park(&mut self, user: u64) {
        *self.parking.entry(user).or_default() += 1;
    }

    /// It is there.
    pub fn parked(&mut self, user: u64) {
        if let Some(count) = self.parking.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.parking.remove(&user);
            }
        }
    }

    /// The first entry of the user in `order` now is `first`.
    pub fn set_first(&mut self, user: u64, first: Option<u64>) {
        match first {
            None => {
                self.blocked.remove(&user);
            }
            Some(_) if self.blocked.len() >= MOST && !self.blocked.contains_key(&user) => {
                self.overflown = true;
            }
            Some(first) => {
                self.blocked.insert(user, first);
            }
        }
    }

    /// An entry of the user was added to `order`.
    pub fn add(&mut self, user: u64, seq: u64) {
        let first = self.blocked.get(&user).map_or(seq, |first| seq.min(*first));
        if !self.overflown || self.blocked.contains_key(&user) {
            self.set_first(user, Some(first));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_waits_for_what_is_leased_parked_or_to_be_retried_before() {
        let mut users = Users::default();
        assert_eq!(users.verdict(1, 10), Verdict::Free);
        users.begin(1, 10);
        assert_eq!(users.verdict(1, 11), Verdict::Blocked);
        assert_eq!(users.verdict(2, 11), Verdict::Free);
        users.park(1);
        users.end(1, 10);
        assert_eq!(users.verdict(1, 12), Verdict::Blocked, "11 is on its way to the disk");
        users.parked(1);
        users.add(1, 11);
        assert_eq!(users.verdict(1, 12), Verdict::Blocked);
        assert_eq!(users.verdict(1, 9), Verdict::Free, "an earlier one waits for no later one");
        users.set_first(1, None);
        assert_eq!(users.verdict(1, 12), Verdict::Free);
    }

    #[test]
    fn more_users_than_are_remembered_are_looked_up() {
        let mut users = Users::default();
        for user in 0..=MOST as u64 {
            users.add(user, 1);
        }
        assert_eq!(users.verdict(5, 2), Verdict::Blocked);
        assert_eq!(users.verdict(MOST as u64, 2), Verdict::Unknown);
    }
}
