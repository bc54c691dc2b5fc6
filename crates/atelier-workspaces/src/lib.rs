//! Templates, builds, the local driver and connections to workspace agents.
