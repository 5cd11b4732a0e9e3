//! Questions to whoever runs a lane, where that is another process.
//!
//! ```text
//! Journal::ask ──> the process that runs the lane ──> Journal::asked ──> Question::answer ──> the answer
//! ```
//!
//! What is asked and answered is not the journal's concern: it knows who runs the lane, and has
//! a way there.
//!
//! **Guarantees.** A question is handed out once at most, by a process that may act for the lane then.
//!
//! **Does not promise** that it is handed out, or answered: [`AskError`] says what may have
//! happened. Nothing is kept of it anywhere.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::model::WebhookUid;

/// The most bytes of a question, and of an answer.
pub const MOST: usize = 64 << 10;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nobody was asked.
    #[error("no dispatcher delivers to this webhook at this moment")]
    Nobody,
    /// Whoever was asked does not run the lane any more, and did nothing.
    #[error("another dispatcher begins to deliver to this webhook at this moment")]
    Moved,
    /// Whoever was asked has too many questions already, and did nothing.
    #[error("the dispatcher that delivers to this webhook is asked too much at one time")]
    Busy,
    /// Nobody was asked, and could be.
    #[error("the dispatcher that delivers to this webhook cannot be asked: {0}")]
    Unavailable(String),
    /// The question may have come or not, and been acted on or not.
    #[error("the dispatcher that delivers to this webhook did not answer")]
    Unknown,
}

/// A question of another process about a lane that is run here. Dropping it says that nothing is known.
#[derive(Debug)]
pub struct Question {
    /// Whose lane.
    pub webhook: WebhookUid,
    /// What is asked, [`MOST`] bytes at most.
    pub bytes: Bytes,
    answer: oneshot::Sender<Bytes>,
}

impl Question {
    /// A question, and where its answer comes.
    pub fn new(webhook: WebhookUid, bytes: Bytes) -> (Self, oneshot::Receiver<Bytes>) {
        let (answer, answered) = oneshot::channel();
        (Self { webhook, bytes, answer }, answered)
    }

    /// Answers, with [`MOST`] bytes at most.
    pub fn answer(self, bytes: Bytes) {
        // Who asked may be gone.
        let _ = self.answer.send(bytes);
    }
}
