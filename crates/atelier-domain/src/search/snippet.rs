//! What is shown of a text in which something was found.

use super::{Phrase, words};

/// Characters of a snippet.
const MAX_CHARS: usize = 160;
/// So many of them lie before the first hit.
const BEFORE: usize = 40;

/// A piece of a text and what was found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// At most 160 characters of the original text.
    pub text: String,
    /// From and to of each hit, in characters of the snippet.
    pub ranges: Vec<(usize, usize)>,
}

/// The piece of a text around the first of these phrases; its beginning if it holds none.
#[must_use]
pub fn snippet(text: &str, phrases: &[Phrase]) -> Snippet {
    let words = words(text);
    let mut hits: Vec<(usize, usize)> = Vec::new();
    for at in 0..words.len() {
        let longest =
            phrases.iter().filter(|phrase| phrase.is_at(&words[at..])).map(|phrase| phrase.words().len()).max();
        if let Some(length) = longest {
            hits.push((words[at].from, words[at + length - 1].to));
        }
    }
    let first = hits.first().map_or(0, |hit| hit.0);
    // begins with a word, so that no word is cut in front
    let begin = if first <= BEFORE {
        0
    } else {
        words.iter().map(|word| word.from).find(|from| *from >= first - BEFORE).unwrap_or(first).min(first)
    };
    let shown: String = text.chars().skip(begin).take(MAX_CHARS).collect();
    let end = begin + shown.chars().count();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for (from, to) in hits.into_iter().filter(|(from, _)| (begin..end).contains(from)) {
        let (from, to) = (from - begin, to.min(end) - begin);
        match ranges.last_mut() {
            Some(last) if from < last.1 => last.1 = last.1.max(to),
            _ => ranges.push((from, to)),
        }
    }
    Snippet { text: shown, ranges }
}
