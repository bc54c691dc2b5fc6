//! The Atelier binary.
fn main() {}
