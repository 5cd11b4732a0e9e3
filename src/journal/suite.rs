//! What every engine must show: the trait's promises and nothing more.
//!
//! Each function takes a fresh journal and a hand on its clock. It asserts only
//! what [`super`] promises, so a journal that repeats, reorders and forgets
//! within its rights passes; one that loses or invents does not. `engine!` runs
//! all of them against an engine.

mod delivery;
mod lane;
mod listing;
mod order;
mod steps;

use std::time::Duration;

use super::chaos::Chaos;
use super::embedded::{Config, Embedded};
use super::jetstream::tests::nats::Server;
use super::jetstream::{self, JetStream};
use crate::model::{Clock, ManualClock, Timestamp};

/// Runs the suite against what `$make` makes of a clock: a journal, and what keeps it.
macro_rules! engine {
    ($name:ident, $make:expr) => {
        mod $name {
            use super::*;
            engine!(@tests $make =>
                delivery::everything_stored_is_delivered_to_each_of_its_webhooks
                delivery::a_repeat_is_a_duplicate_also_within_a_batch
                delivery::a_retry_comes_back_when_it_is_due_with_its_failures
                delivery::what_is_not_settled_comes_back
                order::a_users_events_come_in_order
                order::other_users_do_not_wait_behind_a_hundred_thousand_events
                listing::the_dead_are_kept_and_listed_in_pages
                listing::what_is_pending_is_listed_in_pages
                listing::a_page_of_large_events_is_short_and_none_is_left_out
                listing::a_forgotten_letter_is_gone_and_others_stay
                delivery::a_dropped_webhook_has_nothing_and_others_keep_theirs
                lane::a_lanes_state_is_replaced_only_if_it_is_the_expected_one
                lane::a_lane_has_one_holder
            );
        }
    };
    (@tests $make:expr => $($subject:ident::$test:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let hand = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
                let make = $make;
                let (journal, _keep) = make(hand.clock()).await;
                tokio::time::timeout(Duration::from_mins(5), super::$subject::$test(journal, hand))
                    .await
                    .expect("it ends");
            }
        )*
    };
}

async fn embedded(clock: Clock) -> (Embedded, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config::new(folder.path());
    (Embedded::open(config, clock).expect("it opens"), folder)
}

async fn jetstream(clock: Clock) -> (JetStream, Server) {
    let server = Server::start();
    let config = jetstream::Config { replicas: 1, ..jetstream::Config::new(server.url()) };
    let journal = Box::pin(JetStream::open(config, clock)).await.expect("it opens");
    journal.ready().await;
    (journal, server)
}

engine!(of_the_embedded_engine, embedded);
engine!(of_the_engine_on_jetstream, jetstream);
engine!(of_a_misbehaving_engine, async |clock| {
    let (journal, folder) = embedded(clock).await;
    (Chaos::new(journal, 1), folder)
});
engine!(of_another_misbehaving_engine, async |clock| {
    let (journal, folder) = embedded(clock).await;
    (Chaos::new(journal, 2), folder)
});
