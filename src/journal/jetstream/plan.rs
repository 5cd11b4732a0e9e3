//! Who should run which partition, decided alike by every dispatcher.
//!
//! Partitions that nobody alive has go to who has fewest; who has more than
//! their part gives one back at a time. Nothing else moves: a dispatcher that
//! comes or goes touches no more partitions than its part.

use crate::journal::record::short_hash;

/// What one dispatcher sees.
#[derive(Clone, Debug)]
pub struct View<'v> {
    /// Itself.
    pub me: &'v str,
    /// All that are alive, itself among them.
    pub members: Vec<&'v str>,
    /// Who runs each partition; `None` where nobody alive does.
    pub owners: Vec<Option<&'v str>>,
}

/// What it should do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Partitions to claim.
    pub claim: Vec<usize>,
    /// One to give back.
    pub release: Option<usize>,
}

/// See the module.
pub fn plan(view: &View<'_>) -> Moves {
    let mut members = view.members.clone();
    members.sort_unstable();
    members.dedup();
    let mut counts: Vec<(usize, &str)> = members
        .iter()
        .map(|member| (view.owners.iter().filter(|owner| **owner == Some(*member)).count(), *member))
        .collect();
    let mut moves = Moves::default();
    for (partition, owner) in view.owners.iter().enumerate() {
        if owner.is_some() {
            continue;
        }
        let least = counts.iter_mut().min_by_key(|(count, member)| (*count, weight(partition, member)));
        if let Some((count, member)) = least {
            *count += 1;
            if *member == view.me {
                moves.claim.push(partition);
            }
        }
    }
    let mine = counts.iter().find(|(_, member)| *member == view.me).map_or(0, |(count, _)| *count);
    let least = counts.iter().map(|(count, _)| *count).min().unwrap_or(mine);
    // One more than another is as even as it can be.
    if moves.claim.is_empty() && mine > least + 1 {
        let of_mine = view.owners.iter().enumerate().filter(|(_, owner)| **owner == Some(view.me));
        moves.release =
            of_mine.map(|(partition, _)| partition).max_by_key(|partition| weight(*partition, view.me));
    }
    moves
}

fn weight(partition: usize, member: &str) -> u64 {
    short_hash(&format!("{partition}/{member}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Lets all members plan, round after round, until nobody has anything to do.
    fn settle(members: &[&'static str], owners: &mut [Option<&'static str>]) -> usize {
        for owner in owners.iter_mut() {
            *owner = owner.filter(|owner| members.contains(owner));
        }
        for round in 0..1000 {
            let view = |me| View { me, members: members.to_vec(), owners: owners.to_vec() };
            let moves: Vec<_> = members.iter().map(|me| (*me, plan(&view(me)))).collect();
            if moves.iter().all(|(_, moves)| *moves == Moves::default()) {
                return round;
            }
            for (me, moves) in moves {
                for partition in moves.claim {
                    assert_eq!(owners[partition], None, "two claim it");
                    owners[partition] = Some(me);
                }
                if let Some(partition) = moves.release {
                    owners[partition] = None;
                }
            }
        }
        panic!("it never settles");
    }

    fn counts(owners: &[Option<&'static str>]) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for owner in owners {
            *counts.entry(owner.expect("each has an owner")).or_default() += 1;
        }
        counts
    }

    #[test]
    fn partitions_are_spread_evenly_and_only_a_part_of_them_moves() {
        let mut owners = vec![None; 32];
        settle(&["a"], &mut owners);
        assert_eq!(counts(&owners), BTreeMap::from([("a", 32)]));
        settle(&["a", "b", "c"], &mut owners);
        let three = counts(&owners);
        assert!(three.len() == 3 && three.values().all(|count| (10..=11).contains(count)), "{three:?}");
        let before = owners.clone();
        settle(&["a", "c"], &mut owners);
        assert!(counts(&owners).values().all(|count| *count == 16));
        let moved = before.iter().zip(&owners).filter(|(before, after)| before != after).count();
        assert_eq!(moved, three["b"], "those of the one that went, and no other");
        let rounds = settle(&["a", "c", "d", "e"], &mut owners);
        assert!(counts(&owners).values().all(|count| *count == 8));
        assert!(rounds < 40, "{rounds}");
    }

    #[test]
    fn who_is_not_among_the_members_claims_nothing() {
        let view = View { me: "x", members: vec!["a"], owners: vec![None, Some("a")] };
        assert_eq!(plan(&view), Moves::default());
    }
}
