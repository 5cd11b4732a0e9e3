//! What happens to the endpoints and to Herald, and when: all of it follows from
//! the seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::endpoint::Mood;

/// Something that is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// An endpoint changes its mood.
    Mood(usize, Mood),
    /// An endpoint that said 410 is to prove itself again.
    Prove(usize),
    /// What died is sent again, to all.
    Replay,
    /// SIGTERM, and a new process.
    Stop,
    /// SIGKILL, and a new process.
    Kill,
}

/// What is to come.
pub struct Weather {
    random: StdRng,
    /// The mood of each endpoint and when it ends; the first one is always well.
    moods: Vec<Option<(Mood, Duration)>>,
    next_mood: Duration,
    next_restart: Duration,
    next_replay: Duration,
}

const REPLAY_EVERY: Duration = Duration::from_secs(30);

impl Weather {
    pub fn new(seed: u64, endpoints: usize) -> Self {
        let (next_mood, next_restart) = (Duration::from_secs(5), Duration::from_secs(20));
        let moods = vec![None; endpoints];
        let random = StdRng::seed_from_u64(seed);
        Self { random, moods, next_mood, next_restart, next_replay: REPLAY_EVERY }
    }

    /// What is due at this time since the begin.
    pub fn due(&mut self, now: Duration) -> Vec<Act> {
        let mut acts = Vec::new();
        for (number, slot) in self.moods.iter_mut().enumerate() {
            if let Some((mood, _)) = slot.take_if(|(_, end)| *end <= now) {
                acts.push(Act::Mood(number, Mood::Takes));
                acts.extend((mood == Mood::Gone).then_some(Act::Prove(number)));
            }
        }
        if now >= self.next_mood {
            let number = self.random.random_range(1..self.moods.len());
            let mood = [Mood::Fails, Mood::Hangs, Mood::Resets, Mood::Gone][self.random.random_range(0..4)];
            let end = now + self.seconds(2.0, 15.0);
            self.next_mood = now + self.seconds(2.0, 6.0);
            if self.moods[number].is_none() {
                self.moods[number] = Some((mood, end));
                acts.push(Act::Mood(number, mood));
            }
        }
        if now >= self.next_replay {
            self.next_replay = now + REPLAY_EVERY;
            acts.push(Act::Replay);
        }
        if now >= self.next_restart {
            self.next_restart = now + self.seconds(25.0, 60.0);
            acts.push(if self.random.random() { Act::Kill } else { Act::Stop });
        }
        acts
    }

    fn seconds(&mut self, least: f64, most: f64) -> Duration {
        Duration::from_secs_f64(self.random.random_range(least..most))
    }
}
