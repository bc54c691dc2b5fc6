//! The one outgoing HTTP client: resolve, check, dial.
