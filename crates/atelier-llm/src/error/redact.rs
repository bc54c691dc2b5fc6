//! Taking credentials out of a provider's words.

/// What stands where a credential was.
const MARK: &str = "[redacted]";

/// How keys of known providers and services begin.
const PREFIXES: [&str; 12] =
    ["sk-", "pk-", "rk-", "gsk_", "xai-", "AIza", "ghp_", "gho_", "glpat-", "AKIA", "eyJ", "atelier_"];

/// A shorter word is hardly a credential.
const MIN_LENGTH: usize = 8;

/// Ends of names whose values are credentials, in small letters without `-` and `_`.
const SECRET_NAMES: [&str; 5] = ["apikey", "token", "secret", "password", "signature"];

/// `text` without `key`, without what looks like a key, without what follows `Bearer` or the name of a
/// credential, and without the user and password of an address.
pub(super) fn redacted(text: &str, key: Option<&str>) -> String {
    let text = match key {
        Some(key) if !key.is_empty() => text.replace(key, MARK),
        _ => text.to_owned(),
    };
    let text = without_user_info(&text);
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
        match named_secret(word) {
            Some(name) => {
                clean.push_str(name);
                clean.push('=');
                clean.push_str(MARK);
            }
            None => clean.push_str(if looks_like_key { MARK } else { word }),
        }
        after_bearer = word.eq_ignore_ascii_case("bearer");
        rest = &rest[length..];
    }
    clean
}

/// The name in `name=value` whose value is a credential.
fn named_secret(word: &str) -> Option<&str> {
    let (name, value) = word.split_once('=')?;
    let plain: String = name.chars().filter(|c| *c != '-' && *c != '_').collect::<String>().to_ascii_lowercase();
    (!value.is_empty() && SECRET_NAMES.iter().any(|secret| plain.ends_with(secret))).then_some(name)
}

/// `https://user:password@host` without the user and the password.
fn without_user_info(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut pieces = text.split('@').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            clean.push_str(piece);
            break;
        }
        let user_info = piece.rsplit(|c: char| c == '/' || c == '"' || c.is_whitespace()).next().unwrap_or(piece);
        if user_info.contains(':') {
            clean.push_str(&piece[..piece.len() - user_info.len()]);
            clean.push_str(MARK);
        } else {
            clean.push_str(piece);
        }
        clean.push('@');
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

    #[test]
    fn credentials_in_addresses_go() {
        let clean = |text| redacted(text, None);
        assert_eq!(
            clean("GET https://h.example/v1?api_key=abc&x=1 failed"),
            "GET https://h.example/v1?api_key=[redacted]&x=1 failed"
        );
        assert_eq!(
            clean("X-Api-Key=short access_token=t max_tokens=5"),
            "X-Api-Key=[redacted] access_token=[redacted] max_tokens=5"
        );
        assert_eq!(clean("proxy http://u:p@10.0.0.1:8080/ refused"), "proxy http://[redacted]@10.0.0.1:8080/ refused");
        assert_eq!(clean("write to bob@example.com, at: @ada"), "write to bob@example.com, at: @ada");
        assert_eq!(clean("at\u{2007}u:p@h"), "at\u{2007}[redacted]@h");
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
