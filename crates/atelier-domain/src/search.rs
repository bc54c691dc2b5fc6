//! Full-text search: how text becomes words, the same for what is indexed and for what is asked.
//!
//! Both databases index the words made here and nothing else, so both find the same: text is decomposed
//! (NFKD), loses its marks, becomes lower case, and is split at everything that is neither letter nor digit.
//! Han, Hiragana and Katakana have no spaces between words: each of their characters is a word of its own.

mod snippet;
mod terms;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

pub use snippet::{Snippet, snippet};
pub use terms::{Keys, TermFault, Terms, parse_terms};

use crate::message::{MessagePart, Role, Visibility};

/// Longer words are cut, in characters: a lexeme of PostgreSQL has at most 2 KiB.
const MAX_WORD_CHARS: usize = 64;
/// A row of the index: PostgreSQL keeps 255 places of a word, and places up to 16,383.
const MAX_ROW_WORDS: usize = 4_000;
const MAX_REPEATS: usize = 255;
/// A row begins with so many words of the one before: a phrase across the border is found.
const OVERLAP: usize = 16;

/// A word of a text, folded, and where it stands there, in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub from: usize,
    pub to: usize,
}

/// The text without case and marks; everything else stays.
#[must_use]
pub fn fold(text: &str) -> String {
    text.chars().flat_map(folded).collect()
}

fn folded(from: char) -> impl Iterator<Item = char> {
    // lower case comes last and may bring a mark (the dot of a Turkish I)
    from.nfkd().flat_map(char::to_lowercase).nfkd().filter(|to| !is_combining_mark(*to))
}

/// The words of a text, in order.
#[must_use]
pub fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut open: Option<(Word, usize)> = None;
    for (at, from) in text.chars().enumerate() {
        let mut is_mark = true;
        for to in folded(from) {
            is_mark = false;
            if !to.is_alphanumeric() {
                words.extend(open.take().map(|(word, _)| word));
            } else if stands_alone(to) {
                words.extend(open.take().map(|(word, _)| word));
                words.push(Word { text: to.to_string(), from: at, to: at + 1 });
            } else {
                let (word, chars) = open.get_or_insert_with(|| (Word { text: String::new(), from: at, to: at }, 0));
                if *chars < MAX_WORD_CHARS {
                    word.text.push(to);
                    *chars += 1;
                }
                word.to = at + 1;
            }
        }
        if is_mark && let Some((word, _)) = &mut open {
            word.to = at + 1;
        }
    }
    words.extend(open.map(|(word, _)| word));
    words
}

fn stands_alone(c: char) -> bool {
    matches!(u32::from(c),
        0x2E80..=0x2FDF | 0x3005..=0x3007 | 0x3021..=0x3029 | 0x3040..=0x30FF | 0x31F0..=0x31FF
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x1B000..=0x1B16F | 0x2_0000..=0x3_FFFF)
}

/// The words of a text as rows of an index, each within what the databases take.
#[must_use]
pub fn index_rows(text: &str) -> Vec<Vec<String>> {
    let words: Vec<String> = words(text).into_iter().map(|word| word.text).collect();
    let mut rows = Vec::new();
    let mut begin = 0;
    while begin < words.len() {
        let mut repeats = std::collections::HashMap::new();
        let end = words[begin..]
            .iter()
            .take(MAX_ROW_WORDS)
            .take_while(|word| {
                let seen = repeats.entry(word.as_str()).or_insert(0_usize);
                *seen += 1;
                *seen <= MAX_REPEATS
            })
            .count()
            + begin;
        rows.push(words[begin..end].to_vec());
        begin = if end == words.len() { end } else { end - OVERLAP };
    }
    rows
}

/// The text of a message that can be found: what people and models said, not what tools printed.
#[must_use]
pub fn searched_text(role: Role, visibility: Visibility, parts: &[MessagePart]) -> String {
    if !matches!(role, Role::User | Role::Assistant) || visibility == Visibility::Model {
        return String::new();
    }
    let texts: Vec<&str> = parts
        .iter()
        .filter_map(|part| match part {
            MessagePart::Text(part) => Some(part.text.as_str()),
            _ => None,
        })
        .collect();
    texts.join("\n")
}

/// One thing that is looked for: words in order, the last one as a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase(Vec<String>);

impl Phrase {
    /// None for a text without letter or digit.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let words: Vec<String> = words(text).into_iter().map(|word| word.text).collect();
        (!words.is_empty()).then_some(Self(words))
    }

    /// Folded words, at least one.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// Whether the phrase begins at this place of a text's words.
    #[must_use]
    fn is_at(&self, words: &[Word]) -> bool {
        let (last, before) = self.0.split_last().expect("a phrase has words");
        words.len() > before.len()
            && before.iter().zip(words).all(|(want, word)| *want == word.text)
            && words[before.len()].text.starts_with(last.as_str())
    }

    /// Whether a text holds the phrase.
    #[must_use]
    pub fn is_in(&self, words: &[Word]) -> bool {
        (0..words.len()).any(|at| self.is_at(&words[at..]))
    }
}

#[cfg(test)]
mod tests;
