//! Test kit of Atelier.
