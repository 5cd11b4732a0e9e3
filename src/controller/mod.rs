//! Verifies Webhooks and says in their status how they stand.

pub mod decide;
