//! How long certificates live, in values that fit together.

use std::time::Duration;

/// What differing clocks may cost at most: so much earlier a certificate begins to be valid.
const BACKDATED: Duration = Duration::from_hours(1);
/// X.509 counts whole seconds.
const LEAST: Duration = Duration::from_secs(1);
/// The year 9999 is the last that X.509 can write; nobody needs to come near it.
const MOST: Duration = Duration::from_hours(100 * 365 * 24);

/// Lifetimes under which every certificate ends before its CA, and every CA is
/// known everywhere before it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    ca: Duration,
    certificate: Duration,
    lead: Duration,
}

/// Why lifetimes do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifetimesError {
    /// The serving certificate would be over at once.
    #[error("a certificate lives for at least a second")]
    CertificateTooShort,
    /// A CA would sign before anyone knows it.
    #[error("a CA is published for at least a second before it signs")]
    LeadTooShort,
    /// A CA could end before its successor is everywhere.
    #[error("a CA lives for at least {0:?}: three certificates and two leads")]
    CaTooShort(Duration),
    /// The end could not be written.
    #[error("a CA lives for at most a hundred years")]
    CaTooLong,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            ca: Duration::from_hours(365 * 24),
            certificate: Duration::from_hours(30 * 24),
            lead: Duration::from_hours(24),
        }
    }
}

impl Lifetimes {
    /// Of a CA and of a serving certificate, and how long a CA is published before it signs.
    ///
    /// # Errors
    /// They do not fit together.
    pub fn new(ca: Duration, certificate: Duration, lead: Duration) -> Result<Self, LifetimesError> {
        if certificate < LEAST {
            return Err(LifetimesError::CertificateTooShort);
        }
        if lead < LEAST {
            return Err(LifetimesError::LeadTooShort);
        }
        if ca > MOST {
            return Err(LifetimesError::CaTooLong);
        }
        // A CA waits for its turn while it is published, signs while its successor is,
        // and outlives what it signed last: a lead and a certificate, twice, and a certificate.
        let least = certificate.saturating_mul(3).saturating_add(lead.saturating_mul(2));
        if ca < least {
            return Err(LifetimesError::CaTooShort(least));
        }
        Ok(Self { ca, certificate, lead })
    }

    /// Of a CA.
    pub fn ca(&self) -> Duration {
        self.ca
    }

    /// Of a serving certificate.
    pub fn certificate(&self) -> Duration {
        self.certificate
    }

    /// How long a CA is published before it signs.
    pub fn lead(&self) -> Duration {
        self.lead
    }

    /// With so much left to the signing CA its successor is made. That one signs a
    /// lead after it is in every bundle. Getting it there may take as long as a
    /// certificate lives: no certificate is cut short by the end of its CA even then.
    pub(super) fn successor_due(&self) -> Duration {
        self.certificate * 2 + self.lead
    }
}

/// How much earlier than now a certificate of this lifetime begins to be valid.
pub(super) fn backdated(lifetime: Duration) -> Duration {
    BACKDATED.min(lifetime / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn hours(hours: u64) -> Duration {
        Duration::from_hours(hours)
    }

    #[test]
    fn lifetimes_that_cannot_work_are_refused() {
        let table = [
            (hours(8760), hours(720), hours(24), Ok(())),
            (hours(2208), hours(720), hours(24), Ok(())),
            (hours(2207), hours(720), hours(24), Err(LifetimesError::CaTooShort(hours(2208)))),
            (hours(8760), Duration::ZERO, hours(24), Err(LifetimesError::CertificateTooShort)),
            (hours(8760), Duration::from_millis(999), hours(24), Err(LifetimesError::CertificateTooShort)),
            (hours(8760), hours(720), Duration::ZERO, Err(LifetimesError::LeadTooShort)),
            (Duration::MAX, hours(720), hours(24), Err(LifetimesError::CaTooLong)),
            (hours(8760), Duration::MAX, hours(24), Err(LifetimesError::CaTooShort(Duration::MAX))),
        ];
        for (ca, certificate, lead, expected) in table {
            let verdict = Lifetimes::new(ca, certificate, lead).map(|_| ());
            assert_eq!(verdict, expected, "{ca:?} {certificate:?} {lead:?}");
        }
    }

    #[test]
    fn the_default_is_one_that_can_be_asked_for() {
        let default = Lifetimes::default();
        assert_eq!(Lifetimes::new(default.ca, default.certificate, default.lead), Ok(default));
    }

    #[test]
    fn a_short_life_is_not_backdated_away() {
        for (lifetime, expected) in [(hours(720), hours(1)), (hours(10), hours(1)), (hours(1), hours(1) / 10)]
        {
            assert_eq!(backdated(lifetime), expected, "{lifetime:?}");
        }
    }
}
