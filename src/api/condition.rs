//! The conditions of a Webhook and the words that are their reasons.

/// An enum whose variants are words on the wire, each with its meaning: what
/// the code's documentation says of a word is what the reference tells people.
macro_rules! words {
    (
        $(#[doc = $summary:literal])+
        pub enum $name:ident { $( $(#[doc = $meaning:literal])+ $word:ident, )+ }
    ) => {
        $(#[doc = $summary])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[doc = $meaning])+ $word, )+ }

        impl $name {
            /// Every word.
            pub const ALL: &[Self] = &[$(Self::$word),+];

            /// The word, as it stands in a condition, a Kubernetes Event and a metric.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => stringify!($word),)+ }
            }

            /// What it means, for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$word => concat!($($meaning),+).trim_ascii(),)+ }
            }
        }
    };
}

words! {
    /// The types of condition that Herald writes.
    pub enum ConditionType {
        /// The webhook is as its spec wants it: proved and enabled, or disabled on purpose.
        Ready,
        /// Its endpoint has proved that it agrees to receive this webhook.
        Verified,
        /// Herald is still working on it.
        Reconciling,
        /// Herald cannot go on without an edit, or has failed many times; its tries go on where they can.
        Stalled,
        /// The dispatcher has loaded the webhook and delivers to it.
        Delivering,
    }
}

words! {
    /// Why the controller's conditions are as they are: one word each.
    pub enum Reason {
        /// The endpoint gave the right answer.
        Verified,
        /// `spec.enabled` is false.
        Disabled,
        /// The first try is still to come.
        VerificationPending,
        /// The URI's host has no address: look for a typing error, or for a missing DNS record.
        NameNotResolved,
        /// An address of the host is one that Herald must not call, such as a private one. The
        /// operator of Herald can allow it.
        AddressForbidden,
        /// No TCP connection came about, or it broke.
        ConnectionFailed,
        /// No TLS session came about: look at the endpoint's certificate, its host name and its
        /// CA (`spec.tls`).
        TLSFailed,
        /// The complete answer did not arrive in time.
        TimedOut,
        /// The answer's status was not 2xx.
        UnexpectedStatus,
        /// The answer's body was not a JSON object with a `key`.
        MalformedAnswer,
        /// The answer held another key than the one in the `X-Verification-Key` header.
        KeyMismatch,
        /// A Secret that the webhook names does not exist in its namespace.
        SecretMissing,
        /// The Secret exists, without the label `herald.dev/allow-webhooks: "true"` by which it
        /// agrees to be used.
        SecretNotAllowed,
        /// The Secret has no such key.
        SecretKeyMissing,
        /// The value in the Secret is empty.
        SecretEmpty,
        /// The value in the Secret cannot be used as what it is for: an API key must be able to
        /// stand in a header, a signing secret must be `whsec_` and base64.
        SecretMalformed,
        /// The ConfigMap with the CA certificates is missing, not labelled or malformed.
        CaUnusable,
        /// The stored object cannot be read by this version of Herald.
        Unreadable,
    }
}

words! {
    /// Why the dispatcher delivers to a webhook, or holds what it has for it.
    pub enum DeliveringReason {
        /// Events are sent as they come.
        Delivering,
        /// `spec.enabled` is false: events are held.
        Disabled,
        /// The present object, URI and TLS settings are not proved: events are held.
        NotVerified,
        /// A Secret or ConfigMap that the webhook names cannot be used: events are held.
        SecretsUnresolved,
        /// The endpoint answered 410: events are held until a verification succeeds or the URI
        /// changes.
        Gone,
        /// Several events in a row have failed: events are held, and one at a time is tried as a probe
        /// until the endpoint takes it. The message says what failed and when the next probe is.
        CircuitOpen,
        /// The dispatcher's view of the cluster is too old to act on: events are held.
        ViewStale,
        /// The stored object cannot be read by this version of Herald: events are held.
        Unreadable,
    }
}

words! {
    /// How far a Replay is.
    pub enum ReplayReason {
        /// Events are being sent.
        Running,
        /// Other Replays run, as many as may at one time, and this one goes on in its turn.
        Queued,
        /// The webhook is held, and the Replay waits: the message says why.
        WebhookHeld,
        /// Every event that it came to was taken or has failed.
        Finished,
        /// There is no such Webhook in the namespace.
        WebhookMissing,
        /// The Webhook was deleted, and another has its name: its events are not that one's.
        WebhookReplaced,
        /// The stored object cannot be read by this version of Herald.
        Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_what_kubernetes_takes_for_a_reason() {
        let words = Reason::ALL.iter().map(|reason| reason.as_str());
        let words = words.chain(DeliveringReason::ALL.iter().map(|reason| reason.as_str()));
        for word in words.chain(ReplayReason::ALL.iter().map(|reason| reason.as_str())) {
            assert!(word.starts_with(|c: char| c.is_ascii_uppercase()), "{word}");
            assert!(word.chars().all(|c| c.is_ascii_alphanumeric()), "{word}");
        }
    }

    #[test]
    fn a_meaning_of_several_lines_is_one_sentence() {
        assert_eq!(
            DeliveringReason::Gone.meaning(),
            "The endpoint answered 410: events are held until a verification succeeds or the URI changes."
        );
    }
}
