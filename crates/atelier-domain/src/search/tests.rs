use proptest::prelude::*;

use super::*;

fn texts(text: &str) -> Vec<String> {
    words(text).into_iter().map(|word| word.text).collect()
}

const KEYS: Keys = Keys { single: &["title", "archived"], repeated: &["label"] };

#[test]
fn words_are_without_case_marks_and_signs() {
    assert_eq!(texts("Don't STOP: Crème brûlée_v2!"), ["don", "t", "stop", "creme", "brulee", "v2"]);
    assert_eq!(texts("ＦＵＬＬ ㎏ ½ İstanbul"), ["full", "kg", "1", "2", "istanbul"]);
    assert_eq!(texts("e\u{301}té"), ["ete"]);
    assert_eq!(texts("日本語 テスト"), ["日", "本", "語", "テ", "ス", "ト"]);
    assert_eq!(texts("ab漢字cd"), ["ab", "漢", "字", "cd"]);
    assert_eq!(texts("\u{0}- …"), [""; 0]);
}

#[test]
fn places_are_in_characters_of_the_original() {
    let found = words("é e\u{301}a 漢b");
    let places: Vec<(usize, usize)> = found.iter().map(|word| (word.from, word.to)).collect();
    assert_eq!(places, [(0, 1), (2, 5), (6, 7), (7, 8)]);
}

#[test]
fn a_phrase_is_found_in_order_and_its_end_as_a_prefix() {
    let holds = |text: &str, phrase: &str| Phrase::new(phrase).unwrap().is_in(&words(text));
    assert!(holds("The quick brown fox", "QUICK bro"));
    assert!(!holds("The quick brown fox", "brown quick"));
    assert!(!holds("The quick brown fox", "qui brown"));
    assert!(holds("これは日本語です", "日本"));
    assert!(!holds("日 x 本", "日本"));
    assert!(Phrase::new("…!").is_none());
}

#[test]
fn rows_of_the_index_are_bounded_and_overlap() {
    let text: Vec<String> = (0..10_000).map(|n| format!("w{n}")).collect();
    let rows = index_rows(&text.join(" "));
    assert!(rows.iter().all(|row| row.len() <= 4_000));
    assert_eq!(rows[0][4_000 - OVERLAP..], rows[1][..OVERLAP]);
    let rows = index_rows(&"same ".repeat(1_000));
    assert!(rows.len() > 3 && rows.iter().all(|row| row.len() <= 255));
    assert_eq!(index_rows(&"x".repeat(5_000))[0][0].len(), MAX_WORD_CHARS);
}

#[test]
fn a_snippet_is_a_piece_of_the_text_with_its_hits() {
    let text = format!("{} Ein Schlüssel für Zoë und noch ein SCHLUSSEL. {}", "lead ".repeat(30), "tail ".repeat(50));
    let found = snippet(&text, &[Phrase::new("schlüssel").unwrap(), Phrase::new("zoe").unwrap()]);
    assert!(text.contains(&found.text));
    assert_eq!(found.text.chars().count(), 160);
    let hits: Vec<String> =
        found.ranges.iter().map(|(from, to)| found.text.chars().skip(*from).take(to - from).collect()).collect();
    assert_eq!(hits, ["Schlüssel", "Zoë", "SCHLUSSEL"]);
    assert_eq!(snippet("nothing here", &[Phrase::new("x").unwrap()]).ranges, []);
}

#[test]
fn terms_are_keys_words_and_phrases() {
    let terms = parse_terms(r#"fix Title:"a: b" label:team=x LABEL:y "two words" "#, KEYS).unwrap();
    assert_eq!(terms.value("title"), Some("a: b"));
    assert_eq!(terms.values("label").collect::<Vec<_>>(), ["team=x", "y"]);
    assert_eq!(terms.bare, ["fix", "two words"]);
    assert_eq!(parse_terms(r#" "" "#, KEYS).unwrap(), Terms::default());
}

#[test]
fn bad_terms_are_all_named() {
    let fields = |q: &str| parse_terms(q, KEYS).unwrap_err().into_iter().map(|fault| fault.field).collect::<Vec<_>>();
    for q in [":x", "x:", "a:b:c", ":", "::"] {
        assert_eq!(fields(q), ["q"], "{q}");
    }
    assert_eq!(fields(r#"other:1 title:a title:b archived:"""#), ["other", "title", "archived"]);
    assert_eq!(fields(&"x".repeat(1_001)), ["q"]);
}

proptest! {
    #[test]
    fn any_text_has_words_that_stand_where_they_say(text in any::<String>()) {
        let count = text.chars().count();
        let mut end = 0;
        for word in words(&text) {
            // one character may hold several words
            prop_assert!(word.from < word.to && word.to <= count && word.from + 1 >= end);
            prop_assert!(!word.text.is_empty() && word.text.chars().all(char::is_alphanumeric));
            prop_assert_eq!(texts(&word.text), vec![word.text.clone()]);
            end = word.to;
        }
    }

    #[test]
    fn every_word_of_a_text_finds_it(text in "\\PC{0,80}") {
        let found = words(&text);
        for word in &found {
            let phrase = Phrase::new(&word.text).unwrap();
            prop_assert!(phrase.is_in(&found));
            let shown = snippet(&text, &[phrase]);
            prop_assert!(!shown.ranges.is_empty());
            prop_assert!(shown.text.chars().count() <= 160);
        }
    }

    #[test]
    fn any_q_is_read_or_refused(q in any::<String>()) {
        if let Ok(terms) = parse_terms(&q, KEYS) {
            prop_assert!(terms.keyed.iter().all(|(_, value)| !value.is_empty()));
        }
    }
}
