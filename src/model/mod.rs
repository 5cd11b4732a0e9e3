//! What Herald talks about: event types, events, endpoints, policies.
//!
//! Everything here is pure. Outside input is parsed into these types at the
//! edge, and a value of one of them is good by construction: nothing inside
//! checks again. Time comes in as a value ([`Timestamp`]), or, for those who
//! have to wait, as a [`Clock`] that a test can hold in its hand.

mod backoff;
mod clock;
mod event;
mod event_type;
pub mod line;
mod message_id;
mod pem;
mod phases;
mod policy;
mod uid;
pub(crate) mod uri;

pub use backoff::{Backoff, Jitter};
pub use clock::{Clock, ManualClock, Timestamp};
pub use event::{Event, EventKey};
pub use event_type::{EventFilter, EventType, FilterError, UNSUPPORTED, UnknownEventType};
pub use message_id::{MESSAGE_ID_PREFIX, message_id};
pub use pem::PemFault;
pub use phases::Phases;
pub use policy::{DeliveryPolicy, Ordering, Payload};
pub use uid::{InvalidUid, WebhookUid};
pub use uri::{EndpointUri, UriError, without_query};
