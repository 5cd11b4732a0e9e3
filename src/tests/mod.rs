//! Tests of several parts together, without I/O.

mod model;
