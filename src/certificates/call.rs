//! One call of the API server: it ends in time, and says how.

use std::time::Duration;

use tokio::time::timeout;

/// No call takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Somebody else wrote first.
    #[error("the object was written by somebody else")]
    Conflict,
    /// The API server understood, and did not do it.
    #[error("{message} ({code})")]
    Refused { code: u16, message: String },
    /// It was not reached, or answered with nonsense.
    #[error(transparent)]
    Failed(kube::Error),
    /// It did not answer.
    #[error("no answer within {PATIENCE:?}")]
    Timeout,
}

impl CallError {
    /// Whether the same call will have the same end until a person does something.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { code: 400..=499, .. })
            && !matches!(self, Self::Refused { code: 429, .. })
    }

    pub(super) fn is_code(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }
}

/// Waits for the answer, within bounds.
pub(super) async fn call<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match timeout(PATIENCE, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(CallError::Conflict),
        Ok(Err(kube::Error::Api(status))) => {
            Err(CallError::Refused { code: status.code, message: status.message.clone() })
        }
        Ok(Err(error)) => Err(CallError::Failed(error)),
        Err(_) => Err(CallError::Timeout),
    }
}
