//! The HTTP API: handlers, authentication, OpenAPI, streams.
