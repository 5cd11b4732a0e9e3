//! What a person on call asks, with the commands that there are for it.

mod events;
mod letters;
mod rights;
mod trial;
