//! Values that no log may show: those of sensitive parameters.

/// What stands in a value's place.
const MASK: &str = "••••";
/// Shorter lines of a value are words of every log.
const MIN_CHARACTERS: usize = 4;

/// The values to hide, a value of several lines line by line, since logs are read line by line.
#[derive(Clone, Debug, Default)]
pub(super) struct Masks(Vec<String>);

impl Masks {
    pub(super) fn of(values: impl IntoIterator<Item = String>) -> Self {
        let mut lines: Vec<String> = values
            .into_iter()
            .flat_map(|value| value.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>())
            .filter(|line| line.chars().count() >= MIN_CHARACTERS)
            .collect();
        // a value that holds another is hidden whole
        lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
        lines.dedup();
        Self(lines)
    }

    pub(super) fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, line| text.replace(line, MASK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_wherever_they_stand() {
        let masks = Masks::of(["hunter2".into(), "hunter2-long".into(), "one two\nthree four\n\n".into(), "no".into()]);
        assert_eq!(masks.hide("token=hunter2 and hunter2-long!"), "token=•••• and ••••!");
        assert_eq!(masks.hide("  one two"), "  ••••");
        assert_eq!(masks.hide("three four; no more"), "••••; no more");
        assert_eq!(Masks::default().hide("as it is"), "as it is");
    }
}
