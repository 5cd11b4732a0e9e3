//! What callers may be allowed to do, as RBAC names it.

use std::fmt;

use crate::api::GROUP;

/// A verb on a resource of `herald.dev` that is never stored: it is there for
/// RBAC to name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// As in a Role.
    pub verb: &'static str,
    /// As in a Role.
    pub resource: &'static str,
    /// What follows the resource after a slash in a Role.
    pub subresource: Option<&'static str>,
}

impl Action {
    /// Sends user events.
    pub const SEND_EVENTS: Self = Self::new("create", "userevents");
    /// Sees what became of one event.
    pub const GET_EVENT: Self = Self::new("get", "userevents");
    /// Lists deliveries by webhook and state.
    pub const LIST_EVENTS: Self = Self::new("list", "userevents");
    /// Sees what an event says.
    pub const GET_PAYLOAD: Self = Self::new("get", "userevents").of("payload");
    /// Lists dead letters.
    pub const LIST_DEAD_LETTERS: Self = Self::new("list", "deadletters");
    /// Deletes dead letters.
    pub const DELETE_DEAD_LETTERS: Self = Self::new("delete", "deadletters");
    /// Has an event that nobody sent go to a webhook.
    pub const TEST_WEBHOOK: Self = Self::new("create", "webhooks").of("test");

    const fn new(verb: &'static str, resource: &'static str) -> Self {
        Self { verb, resource, subresource: None }
    }

    const fn of(self, subresource: &'static str) -> Self {
        Self { subresource: Some(subresource), ..self }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, subresource } = self;
        write!(f, "{verb} {resource}.{GROUP}")?;
        match subresource {
            Some(subresource) => write!(f, "/{subresource}"),
            None => Ok(()),
        }
    }
}
