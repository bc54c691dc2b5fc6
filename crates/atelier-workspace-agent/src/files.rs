//! `/v1/files/*`: reading, writing and editing files (`workspaces.md` 1.4).

use axum::Router;

use crate::agent::Agent;

pub(crate) fn router() -> Router<Agent> {
    Router::new()
}
