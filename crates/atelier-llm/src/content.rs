//! What a model wrote, in the shapes that servers give it: a text, or a list of parts.

use serde_json::Value;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Reasoning(String),
}

/// The words of `content`, in their order. `None`: it has a shape that we do not know, so words may be lost.
pub(crate) fn pieces(content: Value) -> Option<Vec<Piece>> {
    let mut found = Vec::new();
    collect(content, Piece::Text, &mut found)?;
    Some(found)
}

/// The words of `content` as one text.
pub(crate) fn joined(content: Value) -> Option<String> {
    let words = pieces(content)?.into_iter().map(|piece| match piece {
        Piece::Text(words) | Piece::Reasoning(words) => words,
    });
    Some(words.collect())
}

fn collect(content: Value, kind: fn(String) -> Piece, found: &mut Vec<Piece>) -> Option<()> {
    match content {
        Value::Null => Some(()),
        Value::String(words) => {
            if !words.is_empty() {
                found.push(kind(words));
            }
            Some(())
        }
        Value::Array(parts) => parts.into_iter().try_for_each(|part| collect(part, kind, found)),
        Value::Object(mut part) => {
            if let Some(thinking) = part.remove("thinking") {
                collect(thinking, Piece::Reasoning, found)
            } else if let Some(text) = part.remove("text") {
                collect(text, kind, found)
            } else {
                // a part that says what it is and has no words: a picture, a reference
                part.get("type")?.as_str().map(|_| ())
            }
        }
        Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_and_lists_of_parts_are_read_and_other_shapes_are_not() {
        let text = |words: &str| Piece::Text(words.to_owned());
        let reasoning = |words: &str| Piece::Reasoning(words.to_owned());
        let table = [
            (json!(null), Some(vec![])),
            (json!(""), Some(vec![])),
            (json!("a"), Some(vec![text("a")])),
            (json!(["a", {"type": "text", "text": "b"}]), Some(vec![text("a"), text("b")])),
            (
                json!([{"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"text": "m"}]}, {"text": "a"}]),
                Some(vec![reasoning("h"), reasoning("m"), text("a")]),
            ),
            (json!({"type": "text", "text": "a"}), Some(vec![text("a")])),
            (json!([{"type": "image_url", "image_url": {}}, "a"]), Some(vec![text("a")])),
            (json!(5), None),
            (json!(true), None),
            (json!({"words": "a"}), None),
            (json!(["a", 5]), None),
            (json!({"type": "text", "text": 5}), None),
        ];
        for (content, expected) in table {
            assert_eq!(pieces(content.clone()), expected, "{content}");
        }
        assert_eq!(joined(json!([{"thinking": "a"}, "b"])).as_deref(), Some("ab"));
    }
}
