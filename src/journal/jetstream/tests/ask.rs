//! One dispatcher asks another.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::nats::Server;
use super::{dispatcher, soon, webhook};
use crate::journal::ask::AskError;
use crate::journal::jetstream::{JetStream, ask};
use crate::journal::{Journal, Question};
use crate::model::WebhookUid;

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_mins(1);

/// Two dispatchers, and a webhook of each.
async fn two(server: &Server) -> [(JetStream, WebhookUid); 2] {
    let journals = [dispatcher(&server.url(), 1).await, dispatcher(&server.url(), 1).await];
    let spread = async {
        loop {
            let of = |journal: &JetStream| (0..64).map(webhook).find(|webhook| journal.runs(*webhook));
            if let [Some(first), Some(second)] = [of(&journals[0]), of(&journals[1])] {
                return [first, second];
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let webhooks = soon(spread).await;
    let [first, second] = journals;
    [(first, webhooks[0]), (second, webhooks[1])]
}

async fn ask(journal: &JetStream, webhook: WebhookUid, patience: Duration) -> Result<Bytes, AskError> {
    soon(journal.ask(webhook, Bytes::from_static(b"well?"), patience)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_that_runs_the_lane_is_asked_once_and_its_answer_comes_back() {
    let server = Server::start();
    let [first, second] = two(&server).await;
    for ((asking, _), (asked, webhook)) in [(&first, &second), (&second, &first)] {
        let answering = async {
            let question = soon(asked.asked()).await;
            assert_eq!((question.webhook, &question.bytes[..]), (*webhook, &b"well?"[..]));
            question.answer(Bytes::from_static(b"yes"));
        };
        let (answer, ()) = tokio::join!(ask(asking, *webhook, PATIENCE), answering);
        assert_eq!(answer.as_deref(), Ok(&b"yes"[..]));
    }
    // One that runs it itself has nobody to ask.
    assert_eq!(ask(&first.0, first.1, PATIENCE).await, Err(AskError::Nobody));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_may_have_acted_and_who_lets_go_of_the_question_says_so_at_once() {
    let server = Server::start();
    let [(first, _), (second, webhook)] = two(&server).await;
    assert_eq!(ask(&first, webhook, Duration::from_millis(200)).await, Err(AskError::Unknown));
    // That question was asked all the same, and no other.
    assert_eq!(soon(second.asked()).await.webhook, webhook);
    let letting_go = async { drop(soon(second.asked()).await) };
    let asking = tokio::time::timeout(PATIENCE / 2, ask(&first, webhook, PATIENCE));
    let (answer, ()) = tokio::join!(asking, letting_go);
    assert_eq!(answer, Ok(Err(AskError::Unknown)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_act_for_the_lane_is_handed_no_question() {
    let server = Server::start();
    let [(first, own), (second, _)] = two(&server).await;
    let question = Bytes::from_static(b"well?");
    let core = &first.0.core;
    let answer = soon(ask::send(core, &second.0.core.me, own, &question, PATIENCE)).await;
    assert_eq!(answer, Err(AskError::Moved));
    assert!(futures::FutureExt::now_or_never(second.asked()).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_where_the_one_that_ran_the_lane_is_gone() {
    let server = Server::start();
    let [(first, _), (second, webhook)] = two(&server).await;
    let owner = second.0.core.me.clone();
    drop(second);
    let gone = async {
        loop {
            let answer = ask(&first, webhook, Duration::from_millis(100)).await;
            // Until the server has noticed, a question may go nowhere.
            if answer != Err(AskError::Unknown) {
                return answer;
            }
        }
    };
    assert_eq!(soon(gone).await, Err(AskError::Nobody));
    assert!(first.0.core.lock().is_alive(&owner, Instant::now()), "the log still has it as the owner");
    let taken = async {
        while !first.runs(webhook) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon(taken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_questions_are_open_at_one_time_and_no_more() {
    let server = Server::start();
    let [(first, _), (second, webhook)] = two(&server).await;
    let mut asking = JoinSet::new();
    let mut open: Vec<Question> = Vec::new();
    for _ in 0..ask::PLACES {
        let first = first.clone();
        asking.spawn(async move { ask(&first, webhook, PATIENCE).await });
        open.push(soon(second.asked()).await);
    }
    assert_eq!(ask(&first, webhook, PATIENCE).await, Err(AskError::Busy));
    for question in open {
        question.answer(Bytes::from_static(b"yes"));
    }
    assert!(asking.join_all().await.iter().all(|answer| answer.as_deref() == Ok(&b"yes"[..])));
}
