//! What a dispatcher does while servers are away, or behind.

use futures::FutureExt as _;

use super::nats::Server;
use super::{claimed, dispatcher, soon, store, webhook};
use crate::journal::jetstream::names::partition;
use crate::journal::{Lane, Lease, Outcome, Settled};
use crate::model::Ordering;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_does_not_have_yet_is_not_taken_for_gone() {
    let server = Server::start();
    let journal = dispatcher(&server.url(), 1).await;
    store(&journal, 0..3, &[webhook(1)]).await;
    let log = &journal.0.core.log;
    let last = log.stream().get_info().await.expect("it answers").state.last_sequence;
    assert!(log.get(last + 1_000).await.is_err(), "it may be on its way to this server");
    assert!(log.get(last).await.expect("it answers").is_some());
    log.stream().purge().sequence(last).await.expect("it is purged");
    assert_eq!(log.get(1).await.expect("it answers"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nats_away_nothing_begins_once_outcomes_wait_and_what_has_an_order_is_broken_off() {
    let mut server = Server::start();
    let journal = dispatcher(&server.url(), 1).await;
    let (ordered, other) = (webhook(1), webhook(2));
    store(&journal, 0..40, &[ordered, other]).await;
    let mut lane = claimed(&journal, ordered, Ordering::PerUser).await;
    let mut second = claimed(&journal, other, Ordering::None).await;
    let mut leases = soon(lane.next(2)).await.expect("ours");
    let others = soon(second.next(1)).await.expect("ours");
    server.kill();

    let settled = leases.pop().expect("two").settle(Outcome::Done).await;
    assert_eq!(settled, Settled::Ok, "this dispatcher remembers it");
    let waits = async {
        while !journal.0.core.lock().partitions[partition(ordered)].is_behind() {
            tokio::task::yield_now().await;
        }
    };
    soon(waits).await;
    assert!(lane.next(1).now_or_never().is_none(), "there are three users more");
    let lease = leases.pop().expect("one");
    assert!(lease.is_good() && lease.lost().now_or_never().is_none());
    soon(lease.lost()).await;
    assert!(!lease.is_good() && !others[0].is_good());
    assert!(others[0].lost().now_or_never().is_none(), "without an order another may begin while it runs");

    drop((lease, others));
    server.restart();
    for lane in [&mut lane, &mut second] {
        assert!(!soon(lane.next(1)).await.expect("nobody else took it").is_empty());
    }
}
