//! The name somebody probably meant.

/// The name of `known` that is nearest to `name`, if one is near enough to be worth naming.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    known
        .iter()
        .map(|candidate| (distance(name, candidate), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Single-character insertions, deletions and replacements between two words.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, character) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for column in 0..right.len() {
            let replaced = diagonal + usize::from(right[column] != character);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_slip_is_recognized_and_a_strange_word_is_not() {
        let known = ["directory", "startup_script", "env", "repository"];
        assert_eq!(nearest("directry", &known), Some("directory"));
        assert_eq!(nearest("startup_scrpit", &known), Some("startup_script"));
        assert_eq!(nearest("evn", &known), None);
        assert_eq!(nearest("en", &known), Some("env"));
        assert_eq!(nearest("volumes", &known), None);
    }
}
