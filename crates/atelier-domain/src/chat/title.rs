//! The first title of a chat, made from its first message without asking a model.

use crate::message::MessagePart;
use crate::text;

const MAX_WORDS: usize = 6;
const MAX_CHARS: usize = 80;
const NO_TEXT: &str = "New Chat";

/// The first six words of text parts and file references, `…` behind them when there are more, at most 80
/// characters; `New Chat` when there is no text. Control characters and their like are dropped.
#[must_use]
pub fn title_from_parts(parts: &[MessagePart]) -> String {
    let mut words: Vec<String> = Vec::new();
    for part in parts {
        if words.len() > MAX_WORDS {
            break;
        }
        match part {
            MessagePart::Text(part) => add_words(&mut words, &part.text),
            MessagePart::FileReference(part) => {
                let name = &part.file_name;
                add_words(&mut words, &format!("{name}:{}-{}", part.start_line, part.end_line));
            }
            MessagePart::Reasoning(_)
            | MessagePart::ToolCall(_)
            | MessagePart::ToolResult(_)
            | MessagePart::Source(_)
            | MessagePart::File(_)
            | MessagePart::DiffComment(_) => {}
        }
    }
    if words.is_empty() {
        return NO_TEXT.to_owned();
    }
    let cut = words.len() > MAX_WORDS;
    words.truncate(MAX_WORDS);
    let mut title = words.join(" ");
    if !cut && title.chars().count() <= MAX_CHARS {
        return title;
    }
    title.truncate(text::head_chars(&title, MAX_CHARS - 1).trim_end().len());
    title.push('…');
    title
}

fn add_words(words: &mut Vec<String>, words_of: &str) {
    for word in words_of.split_whitespace().take(MAX_WORDS + 1) {
        let word: String = word.chars().filter(|c| !text::is_steering(*c)).collect();
        if !word.is_empty() {
            words.push(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{FilePart, FileReferencePart};
    use proptest::prelude::*;

    #[test]
    fn a_title_is_the_first_six_words() {
        let title = |text: &str| title_from_parts(&[MessagePart::text(text)]);
        assert_eq!(title("fix the build"), "fix the build");
        assert_eq!(title("one two  three\nfour five six"), "one two three four five six");
        assert_eq!(title("one two three four five six seven"), "one two three four five six…");
        assert_eq!(title("a\0b \0 c"), "ab c");
        assert_eq!(title("\u{1b}]0;x\u{7} \u{202e}gpj.exe"), "]0;x gpj.exe");
        assert_eq!(title(""), "New Chat");
        let long = title(&"ü".repeat(200));
        assert_eq!(long.chars().count(), 80);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn references_count_and_files_do_not() {
        let reference = MessagePart::FileReference(FileReferencePart {
            file_name: "src/main.rs".into(),
            start_line: 3,
            end_line: 9,
            content: "fn main() {}".into(),
        });
        let file = MessagePart::File(FilePart {
            media_type: "image/png".into(),
            file_id: None,
            name: Some("a.png".into()),
            data: None,
            native: None,
        });
        assert_eq!(title_from_parts(&[reference, MessagePart::text("why?")]), "src/main.rs:3-9 why?");
        assert_eq!(title_from_parts(&[file]), "New Chat");
    }

    proptest! {
        #[test]
        fn a_title_is_never_empty_nor_long(texts in prop::collection::vec(any::<String>(), 0..4)) {
            let parts: Vec<_> = texts.iter().map(MessagePart::text).collect();
            let title = title_from_parts(&parts);
            let chars = title.chars().count();
            prop_assert!((1..=80).contains(&chars));
            prop_assert!(!title.contains(text::is_steering));
        }
    }
}
