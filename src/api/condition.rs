//! The conditions of a Webhook and the words that are their reasons.

/// The types of condition that Herald writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// The webhook is as its spec wants it: proved and enabled, or disabled on purpose.
    Ready,
    /// Its endpoint has proved that it agrees to receive this webhook.
    Verified,
    /// Herald is still working on it.
    Reconciling,
    /// Herald cannot go on without an edit, or has failed many times.
    Stalled,
    /// The dispatcher has loaded the webhook and delivers to it.
    Delivering,
}

impl ConditionType {
    /// The `type` of the condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Verified => "Verified",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Delivering => "Delivering",
        }
    }
}

/// Why the controller's conditions are as they are: one word each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The endpoint gave the right answer.
    Verified,
    /// `spec.enabled` is false.
    Disabled,
    /// The first try is still to come.
    VerificationPending,
    /// The host has no address.
    NameNotResolved,
    /// An address of the host is one that Herald must not call.
    AddressForbidden,
    /// No TCP connection, or it broke.
    ConnectionFailed,
    /// No TLS session: certificate, version or host name.
    TLSFailed,
    /// No complete answer in time.
    TimedOut,
    /// The answer's status was not 2xx.
    UnexpectedStatus,
    /// The answer's body was not a JSON object with a `key`.
    MalformedAnswer,
    /// The answer held another key.
    KeyMismatch,
    /// A Secret that the webhook names does not exist.
    SecretMissing,
    /// It exists, without the label by which it agrees.
    SecretNotAllowed,
    /// It has no such key.
    SecretKeyMissing,
    /// The value is empty.
    SecretEmpty,
    /// The value cannot be used as what it is for.
    SecretMalformed,
    /// The `ConfigMap` with the CA is missing, not allowed or malformed.
    CaUnusable,
    /// The object's spec cannot be read by this version of Herald.
    Unreadable,
}

impl Reason {
    /// The word, as it stands in a condition, a Kubernetes Event and a metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "Verified",
            Self::Disabled => "Disabled",
            Self::VerificationPending => "VerificationPending",
            Self::NameNotResolved => "NameNotResolved",
            Self::AddressForbidden => "AddressForbidden",
            Self::ConnectionFailed => "ConnectionFailed",
            Self::TLSFailed => "TLSFailed",
            Self::TimedOut => "TimedOut",
            Self::UnexpectedStatus => "UnexpectedStatus",
            Self::MalformedAnswer => "MalformedAnswer",
            Self::KeyMismatch => "KeyMismatch",
            Self::SecretMissing => "SecretMissing",
            Self::SecretNotAllowed => "SecretNotAllowed",
            Self::SecretKeyMissing => "SecretKeyMissing",
            Self::SecretEmpty => "SecretEmpty",
            Self::SecretMalformed => "SecretMalformed",
            Self::CaUnusable => "CaUnusable",
            Self::Unreadable => "Unreadable",
        }
    }
}

/// Why the dispatcher delivers to a webhook, or holds what it has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveringReason {
    /// Events are sent as they come.
    Delivering,
    /// `spec.enabled` is false.
    Disabled,
    /// No proof for the present object, URI and TLS settings.
    NotVerified,
    /// A Secret or `ConfigMap` that it names cannot be used.
    SecretsUnresolved,
    /// The endpoint answered 410.
    Gone,
    /// The dispatcher's view of the cluster is too old to act on.
    ViewStale,
    /// The object cannot be read by this version of Herald.
    Unreadable,
}

impl DeliveringReason {
    /// The word, as it stands in the condition and in a metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivering => "Delivering",
            Self::Disabled => "Disabled",
            Self::NotVerified => "NotVerified",
            Self::SecretsUnresolved => "SecretsUnresolved",
            Self::Gone => "Gone",
            Self::ViewStale => "ViewStale",
            Self::Unreadable => "Unreadable",
        }
    }
}
