//! Provider trait, canonical history and the wire adapters.
