//! Code that makes workspaces on one kind of host. With one driver it is a plain type, no trait yet.

pub mod local;
