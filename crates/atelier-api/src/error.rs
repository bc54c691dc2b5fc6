//! The body of every refusal.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Time;

/// What every status from 400 on carries. `code` is stable, `message` is for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Error {
    pub message: String,
    pub code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validations: Vec<Validation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent_micros: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_micros: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Validation {
    /// Path of the field, for instance `content[0].text`.
    pub field: String,
    pub detail: String,
}

/// A plain message, where a call has nothing else to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Response {
    pub message: String,
}
