//! The twelve user events, by the name people use and by the type on the wire.

use std::fmt;
use std::str::FromStr;

/// A type of user event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// By an admin, or implicitly upon authenticating.
    UserCreated,
    /// The profile was updated.
    UserUpdated,
    /// The user was deleted.
    UserDeleted,
    /// The user was associated with an app.
    UserAddedToApp,
    /// The user was removed from an app.
    UserRemovedFromApp,
    /// Successful authentication.
    UserLoggedIn,
    /// Out of the session, via the logout API.
    UserLoggedOut,
    /// The user was suspended.
    UserSuspended,
    /// From suspended back to active.
    UserUnsuspended,
    /// A lockout applies on password authentication.
    UserPasswordLock,
    /// Logged in within an orchestrated journey.
    OrchestratedUserLogin,
    /// The last e-mail or phone verification with OTP failed.
    FailedOtpAttempt,
}

/// A type that no user event has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a type of user event; the types are {types}", types = EventType::list(EventType::wire_name))]
pub struct UnknownEventType(pub String);

impl EventType {
    /// Every type, in the order of the documentation.
    pub const ALL: [Self; 12] = [
        Self::UserCreated,
        Self::UserUpdated,
        Self::UserDeleted,
        Self::UserAddedToApp,
        Self::UserRemovedFromApp,
        Self::UserLoggedIn,
        Self::UserLoggedOut,
        Self::UserSuspended,
        Self::UserUnsuspended,
        Self::UserPasswordLock,
        Self::OrchestratedUserLogin,
        Self::FailedOtpAttempt,
    ];

    /// The name in `spec.events`, such as `User created`.
    pub const fn display_name(self) -> &'static str {
        match self {
            Self::UserCreated => "User created",
            Self::UserUpdated => "User updated",
            Self::UserDeleted => "User deleted",
            Self::UserAddedToApp => "User added to app",
            Self::UserRemovedFromApp => "User removed from app",
            Self::UserLoggedIn => "User logged in",
            Self::UserLoggedOut => "User logged out",
            Self::UserSuspended => "User suspended",
            Self::UserUnsuspended => "User unsuspended",
            Self::UserPasswordLock => "User password lock",
            Self::OrchestratedUserLogin => "Orchestrated user login",
            Self::FailedOtpAttempt => "Failed OTP attempt",
        }
    }

    /// The `type` attribute of the event, such as `user.created`.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::UserCreated => "user.created",
            Self::UserUpdated => "user.updated",
            Self::UserDeleted => "user.deleted",
            Self::UserAddedToApp => "user.added_to_app",
            Self::UserRemovedFromApp => "user.removed_from_app",
            Self::UserLoggedIn => "user.logged_in",
            Self::UserLoggedOut => "user.logged_out",
            Self::UserSuspended => "user.suspended",
            Self::UserUnsuspended => "user.unsuspended",
            Self::UserPasswordLock => "user.password_lock",
            Self::OrchestratedUserLogin => "user.orchestrated_login",
            Self::FailedOtpAttempt => "user.failed_otp_attempt",
        }
    }

    /// All names of one kind, for a message that says what to write instead.
    pub fn list(name: fn(Self) -> &'static str) -> String {
        Self::ALL.map(|t| format!("{:?}", name(t))).join(", ")
    }

    /// The type of this name, as `spec.events` has it or as it is on the wire.
    ///
    /// # Errors
    /// There is none.
    pub fn of_any_name(name: &str) -> Result<Self, UnknownEventType> {
        Self::from_display_name(name).map_or_else(|| name.parse(), Ok)
    }

    /// The type that `spec.events` calls `name`.
    pub fn from_display_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.display_name() == name)
    }

    const fn bit(self) -> u16 {
        1 << (self as u16)
    }
}

impl FromStr for EventType {
    type Err = UnknownEventType;

    fn from_str(wire: &str) -> Result<Self, UnknownEventType> {
        Self::ALL.into_iter().find(|t| t.wire_name() == wire).ok_or_else(|| UnknownEventType(wire.to_owned()))
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wire_name())
    }
}

/// The types that a webhook wants: never none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventFilter(u16);

/// The event that the identity service's portal shows and the service never sends.
pub const UNSUPPORTED: &str = "User requested deletion";

/// A list of names that is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The list is empty.
    #[error("must name at least one event, or \"*\" for all of them")]
    Empty,
    /// A name in the list is not one of the twelve.
    #[error("{0:?} is not an event; the events are {names}", names = EventType::list(EventType::display_name))]
    Unknown(String),
    /// A name that people see in the identity service's portal.
    #[error(
        "{UNSUPPORTED:?} is shown by the identity service's portal but is not supported: \
         the service sends no such event, so remove it (\"User deleted\" is sent when a user is deleted)"
    )]
    Unsupported,
    /// `"*"` beside other names.
    #[error("\"*\" stands for every event and must be the only item: remove it or the others")]
    WildcardNotAlone,
}

impl EventFilter {
    /// What `"*"` stands for.
    pub const EVERY: Self = Self((1 << EventType::ALL.len()) - 1);

    /// Reads `spec.events`.
    ///
    /// # Errors
    /// The list is empty, names no event, or has `"*"` beside others.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<Self, FilterError> {
        let mut bits = 0;
        for name in names.iter().map(AsRef::as_ref) {
            bits |= match EventType::from_display_name(name) {
                Some(event_type) => event_type.bit(),
                None if name == "*" && names.len() == 1 => return Ok(Self::EVERY),
                None if name == "*" => return Err(FilterError::WildcardNotAlone),
                None if name == UNSUPPORTED => return Err(FilterError::Unsupported),
                None => return Err(FilterError::Unknown(name.to_owned())),
            };
        }
        if bits == 0 { Err(FilterError::Empty) } else { Ok(Self(bits)) }
    }

    /// Whether the webhook wants events of this type.
    pub const fn wants(self, event_type: EventType) -> bool {
        self.0 & event_type.bit() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_a_type_lead_back_to_it() {
        for event_type in EventType::ALL {
            assert_eq!(event_type.wire_name().parse(), Ok(event_type));
            assert_eq!(EventType::from_display_name(event_type.display_name()), Some(event_type));
            for name in [event_type.wire_name(), event_type.display_name()] {
                assert_eq!(EventType::of_any_name(name), Ok(event_type));
            }
        }
    }

    #[test]
    fn a_filter_wants_what_it_names_and_nothing_else() {
        let filter = EventFilter::parse(&["User created", "Failed OTP attempt"]);
        for event_type in EventType::ALL {
            let named = matches!(event_type, EventType::UserCreated | EventType::FailedOtpAttempt);
            assert_eq!(filter.as_ref().map(|f| f.wants(event_type)), Ok(named), "{event_type}");
            assert_eq!(EventFilter::parse(&["*"]).map(|f| f.wants(event_type)), Ok(true));
        }
    }

    #[test]
    fn a_bad_list_says_what_to_write_instead() {
        let table: [(&[&str], &str); 4] = [
            (&[], "at least one event"),
            (&["User created", "*"], "must be the only item"),
            (&["user.created"], "\"User created\""),
            (&["User requested deletion"], "not supported"),
        ];
        for (names, expected) in table {
            let message = EventFilter::parse(names).map_err(|e| e.to_string());
            assert!(message.as_ref().is_err_and(|m| m.contains(expected)), "{names:?}: {message:?}");
        }
    }
}
