//! Why an answer ended, in the words of all wires: gateways pass on those of the providers behind them.

use atelier_domain::error::ErrorKind;
use atelier_domain::message::FinishReason;

/// What the word for the end of an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Whole(FinishReason),
    /// The server broke the answer off, and may do better the next time.
    BrokenOff(ErrorKind),
}

/// Reads a finish word, in whatever case it is written. `None`: it says nothing, as some servers do with every
/// event.
///
/// Sources, read 2026-12-01: platform.openai.com/docs/api-reference/chat, docs.claude.com/en/api/handling-stop-reasons,
/// docs.mistral.ai/api (`model_length`), ai.google.dev/api/generate-content (`MAX_TOKENS`),
/// api-docs.deepseek.com/api/create-chat-completion (`insufficient_system_resource`), Zhipu:
/// github.com/BerriAI/litellm/issues/23386 (`network_error`, `sensitive`) and
/// github.com/anomalyco/opencode/issues/18814 (`model_context_window_exceeded`), vLLM and SGLang:
/// github.com/sgl-project/sglang/pull/19357 (`abort`).
pub(crate) fn ending(word: &str) -> Option<Ending> {
    let word = word.trim().to_ascii_lowercase();
    Some(match word.as_str() {
        "" | "null" | "none" => return None,
        "tool_calls" | "function_call" | "tool_use" => Ending::Whole(FinishReason::ToolCalls),
        "length" | "max_tokens" | "model_length" | "model_context_window_exceeded" => {
            Ending::Whole(FinishReason::Length)
        }
        "content_filter" | "refusal" | "sensitive" => Ending::Whole(FinishReason::Refused),
        "pause_turn" => Ending::Whole(FinishReason::Pause),
        "insufficient_system_resource" => Ending::BrokenOff(ErrorKind::Overloaded),
        "network_error" => Ending::BrokenOff(ErrorKind::Network),
        // gateways, and servers that give no cause with it
        "error" | "abort" => Ending::BrokenOff(ErrorKind::Generic),
        // `stop`, `end_turn`, and words we do not know
        _ => Ending::Whole(FinishReason::Stop),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finish_words_of_many_providers() {
        let whole = |reason| Some(Ending::Whole(reason));
        let broken_off = |kind| Some(Ending::BrokenOff(kind));
        let table = [
            ("stop", whole(FinishReason::Stop)),
            ("STOP", whole(FinishReason::Stop)),
            ("end_turn", whole(FinishReason::Stop)),
            ("something_new", whole(FinishReason::Stop)),
            ("tool_calls", whole(FinishReason::ToolCalls)),
            ("tool_use", whole(FinishReason::ToolCalls)),
            ("length", whole(FinishReason::Length)),
            ("MAX_TOKENS", whole(FinishReason::Length)),
            ("model_context_window_exceeded", whole(FinishReason::Length)),
            ("content_filter", whole(FinishReason::Refused)),
            ("sensitive", whole(FinishReason::Refused)),
            ("pause_turn", whole(FinishReason::Pause)),
            ("insufficient_system_resource", broken_off(ErrorKind::Overloaded)),
            ("network_error", broken_off(ErrorKind::Network)),
            ("error", broken_off(ErrorKind::Generic)),
            ("abort", broken_off(ErrorKind::Generic)),
            ("", None),
            (" ", None),
            ("null", None),
            ("None", None),
        ];
        for (word, expected) in table {
            assert_eq!(ending(word), expected, "{word}");
        }
    }
}
