//! Tokens of workspace agents: `atag_` and 256 random bits in base62. The store keeps their SHA-256 only.

use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 > 2^256
const CHARS: usize = 43;

pub(crate) fn fresh() -> (String, [u8; 32]) {
    let mut random = rand::rng();
    let mut token = String::with_capacity(5 + CHARS);
    token.push_str("atag_");
    for _ in 0..CHARS {
        token.push(char::from(ALPHABET[random.random_range(0..ALPHABET.len())]));
    }
    let hash = Sha256::digest(token.as_bytes()).into();
    (token, hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_form_and_differ() {
        let ((first, first_hash), (second, second_hash)) = (fresh(), fresh());
        assert!(first.starts_with("atag_") && first.len() == 48);
        assert!(first[5..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(first, second);
        assert_ne!(first_hash, second_hash);
    }
}
