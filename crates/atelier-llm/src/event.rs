//! What a model's stream consists of.

use atelier_domain::message::{FinishReason, MessagePart, Usage};
use futures::stream::BoxStream;

use crate::error::ProviderError;

/// The events of one answer. Ends after [`ModelEvent::Finish`] or after the first error.
///
/// Dropping it before its end cancels the request at the provider.
pub type ModelStream = BoxStream<'static, Result<ModelEvent, ProviderError>>;

/// One event. `index` tells blocks apart, in the order of their first appearance, with gaps allowed.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelEvent {
    TextDelta {
        index: u32,
        text: String,
    },
    ReasoningDelta {
        index: u32,
        text: String,
    },
    /// A call we are to run has begun; its arguments follow as text.
    CallStart {
        index: u32,
        tool_call_id: String,
        tool_name: String,
    },
    CallArgs {
        index: u32,
        delta: String,
    },
    /// The block is complete. Its text is that of the deltas before; `native` is set where the canonical
    /// fields do not say everything.
    Part {
        index: u32,
        part: MessagePart,
    },
    /// The counts known so far; they never fall. A later event replaces the counts it names.
    Usage(Usage),
    /// The provider says that it still works.
    Alive,
    Finish {
        reason: FinishReason,
        response_id: Option<String>,
    },
}
