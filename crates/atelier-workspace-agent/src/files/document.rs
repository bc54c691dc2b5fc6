//! A text file as edits see it: lines end with LF and there is no byte-order mark. Both are put back where
//! they were; what an edit does not touch keeps its bytes.

use std::ops::Range;

pub(crate) const BYTE_ORDER_MARK: &str = "\u{feff}";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    has_mark: bool,
    text: String,
    /// Positions in `text` of those LF that are CR LF in the file, ascending.
    crlf: Vec<usize>,
}

/// One replacement of a range of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replacement {
    pub(crate) range: Range<usize>,
    pub(crate) text: String,
}

impl Document {
    pub(crate) fn new(content: &str) -> Self {
        let (has_mark, content) = match content.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) => (true, rest),
            None => (false, content),
        };
        let (text, crlf) = without_cr(content);
        Self { has_mark, text, crlf }
    }

    /// The text with LF.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Text of an edit in the form of [`Self::text`]: with LF, and without a mark that the file has too.
    pub(crate) fn in_its_form(&self, text: &str) -> String {
        lf(text.strip_prefix(BYTE_ORDER_MARK).filter(|_| self.has_mark).unwrap_or(text))
    }

    /// The file's content.
    pub(crate) fn content(&self) -> String {
        let mut content = String::with_capacity(self.text.len() + self.crlf.len() + 3);
        if self.has_mark {
            content.push_str(BYTE_ORDER_MARK);
        }
        let mut from = 0;
        for at in &self.crlf {
            content.push_str(&self.text[from..*at]);
            content.push('\r');
            from = *at;
        }
        content.push_str(&self.text[from..]);
        content
    }

    /// Most lines end with CR LF, so new ones do too.
    fn ends_with_crlf(&self) -> bool {
        let line_ends = self.text.bytes().filter(|byte| *byte == b'\n').count();
        self.crlf.len() * 2 > line_ends
    }

    /// Replaces ranges, which ascend and do not overlap.
    pub(crate) fn replace(&mut self, replacements: &[Replacement]) {
        let with_crlf = self.ends_with_crlf();
        let mut text = String::with_capacity(self.text.len());
        let mut crlf = Vec::with_capacity(self.crlf.len());
        let mut ends = self.crlf.iter().copied().peekable();
        let mut from = 0;
        let mut keep = |text: &mut String, crlf: &mut Vec<usize>, from: usize, to: usize| {
            while let Some(end) = ends.next_if(|end| *end < to) {
                // Ends inside what was replaced lie before `from`.
                if end >= from {
                    crlf.push(text.len() + end - from);
                }
            }
            text.push_str(&self.text[from..to]);
        };
        for replacement in replacements {
            keep(&mut text, &mut crlf, from, replacement.range.start);
            let new = lf(&replacement.text);
            if with_crlf {
                crlf.extend(new.match_indices('\n').map(|(at, _)| text.len() + at));
            }
            text.push_str(&new);
            from = replacement.range.end;
        }
        keep(&mut text, &mut crlf, from, self.text.len());
        self.text = text;
        self.crlf = crlf;
    }
}

/// Text with LF for CR LF.
fn lf(text: &str) -> String {
    text.replace("\r\n", "\n")
}

fn without_cr(content: &str) -> (String, Vec<usize>) {
    let mut text = String::with_capacity(content.len());
    let mut crlf = Vec::new();
    let mut from = 0;
    for (at, _) in content.match_indices("\r\n") {
        text.push_str(&content[from..at]);
        crlf.push(text.len());
        from = at + 1;
    }
    text.push_str(&content[from..]);
    (text, crlf)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replaced(content: &str, old: &str, new: &str) -> String {
        let mut document = Document::new(content);
        let start = document.text().find(old).unwrap();
        document.replace(&[Replacement { range: start..start + old.len(), text: new.into() }]);
        document.content()
    }

    #[test]
    fn w26_line_ends_and_mark_stay() {
        assert_eq!(replaced("\u{feff}a\r\nb\r\nc", "b", "x\ny"), "\u{feff}a\r\nx\r\ny\r\nc");
        assert_eq!(replaced("a\r\nb\r\nc\r\n", "b\nc\n", "d\r\n"), "a\r\nd\r\n");
        assert_eq!(replaced("a\nb\r\nc\nd\re", "b\nc", "z\nz"), "a\nz\nz\nd\re");
        assert_eq!(replaced("a\r\nb\r\n", "\n", ""), "ab\r\n");
    }

    proptest! {
        #[test]
        fn bytes_outside_of_the_edit_stay(before in "[a\r\n\u{feff}]{0,12}", after in "[a\r\n]{0,12}", new in "[b\n]{0,4}") {
            // An LF after the old text must not become one with a CR before it.
            prop_assume!(!before.ends_with('\r') && !after.starts_with('\n'));
            let content = format!("{before}XYZ{after}");
            let text = replaced(&content, "XYZ", &new);
            prop_assert!(text.starts_with(&before) && text.ends_with(&after), "{:?}", text);
            prop_assert_eq!(Document::new(&content).content(), content);
        }
    }
}
