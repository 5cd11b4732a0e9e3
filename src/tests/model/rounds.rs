//! Whether the world can go round: the same state again, for ever.
//!
//! The checker looks at states, and for it a round is a state that it knows.
//! Every edit, failure and crash makes what is left of them less, so a round
//! is made of Herald's own steps alone: work that never ends.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use stateright::Model as _;

use super::Herald;
use super::steps::Step;
use super::world::World;

/// Depth first, with the way here in hand.
struct Here {
    print: u64,
    step: Option<Step>,
    next: Vec<(Step, World)>,
}

/// The number of states; panics at the first round.
pub(super) fn none_in(herald: &Herald) -> usize {
    // Whether it is on the way here.
    let mut seen: HashMap<u64, bool> = HashMap::new();
    for begin in herald.init_states() {
        let mut way = Vec::new();
        enter(herald, &mut seen, &mut way, None, &begin);
        while let Some(here) = way.last_mut() {
            assert!(seen.len() < 1_000_000, "it goes on and on");
            let Some((step, world)) = here.next.pop() else {
                seen.insert(here.print, false);
                way.pop();
                continue;
            };
            match seen.get(&print(&world)) {
                Some(false) => {}
                Some(true) => {
                    let steps: Vec<_> = way.iter().filter_map(|here| here.step).collect();
                    panic!("after {steps:?}, {step:?} leads to where it was before:\n{world:?}");
                }
                None => enter(herald, &mut seen, &mut way, Some(step), &world),
            }
        }
    }
    seen.len()
}

fn enter(
    herald: &Herald,
    seen: &mut HashMap<u64, bool>,
    way: &mut Vec<Here>,
    step: Option<Step>,
    world: &World,
) {
    let print = print(world);
    seen.insert(print, true);
    way.push(Here { print, step, next: herald.next_steps(world) });
}

fn print(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}
