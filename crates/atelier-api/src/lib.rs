//! Wire types of the HTTP API (serde and utoipa), and with the feature `client` a typed client.
