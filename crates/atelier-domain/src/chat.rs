//! The chat's state machine.
