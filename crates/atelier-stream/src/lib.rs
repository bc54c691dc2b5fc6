//! Step log, hub, cursors and viewers of chat streams.
