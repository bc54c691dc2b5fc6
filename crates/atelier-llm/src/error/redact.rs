//! Taking credentials out of a provider's words.

/// What stands where a credential was.
const MARK: &str = "[redacted]";

/// How keys of known providers and services begin.
const PREFIXES: [&str; 12] =
    ["sk-", "pk-", "rk-", "gsk_", "xai-", "AIza", "ghp_", "gho_", "glpat-", "AKIA", "eyJ", "atelier_"];

/// A shorter word is hardly a credential.
const MIN_LENGTH: usize = 8;

/// `text` without `key`, without what looks like a key, and without what follows `Bearer`.
pub(super) fn redacted(text: &str, key: Option<&str>) -> String {
    let text = match key {
        Some(key) if !key.is_empty() => text.replace(key, MARK),
        _ => text.to_owned(),
    };
    let mut clean = String::with_capacity(text.len());
    let mut after_bearer = false;
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let length = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        if length == 0 {
            let next = rest.find(is_of_word).unwrap_or(rest.len());
            clean.push_str(&rest[..next]);
            rest = &rest[next..];
            continue;
        }
        let word = &rest[..length];
        let looks_like_key =
            word.len() >= MIN_LENGTH && (after_bearer || PREFIXES.iter().any(|prefix| word.starts_with(prefix)));
        clean.push_str(if looks_like_key { MARK } else { word });
        after_bearer = word.eq_ignore_ascii_case("bearer");
        rest = &rest[length..];
    }
    clean
}

/// Letters of keys, and the stars some providers put in their middle.
const fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*' | '.' | '+' | '/' | '=' | '~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_go_and_the_rest_stays() {
        let clean = |text| redacted(text, Some("k3y k3y"));
        assert_eq!(
            clean("Incorrect API key provided: sk-proj-ab**cd. See"),
            "Incorrect API key provided: [redacted] See"
        );
        assert_eq!(clean("Authorization: Bearer abc.def-123=="), "Authorization: Bearer [redacted]");
        assert_eq!(clean("the k3y k3y, twice: k3y k3y"), "the [redacted], twice: [redacted]");
        assert_eq!(clean("a bearer of news; sk-8; max_tokens: 5"), "a bearer of news; sk-8; max_tokens: 5");
    }

    proptest! {
        #[test]
        fn the_key_is_never_left(before in "\\PC{0,20}", key in "[!-~]{1,30}", after in "\\PC{0,20}") {
            // a key that is part of the mark cannot be told from it
            prop_assume!(!MARK.contains(&key) && !before.contains('[') && !after.contains(']'));
            let clean = redacted(&format!("{before}{key}{after}"), Some(&key));
            let rest = clean.replace(MARK, " ");
            prop_assert!(!rest.contains(&key));
        }
    }
}
