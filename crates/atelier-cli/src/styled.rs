//! Text with its looks, and how it is broken into rows. Pure.

use crossterm::style::{Attribute, Color, ContentStyle};
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

/// A piece of text in one style.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) text: String,
    pub(crate) style: ContentStyle,
}

/// A line before it is broken into rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) spans: Vec<Span>,
    /// Columns by which rows after the first one are indented.
    pub(crate) indent: usize,
    /// The terminal breaks it where it likes, and a copy of it is as it was written: code, JSON.
    pub(crate) is_verbatim: bool,
}

/// What fits beside one another in a terminal.
pub(crate) type Row = Vec<Span>;

impl Line {
    pub(crate) fn new(text: impl Into<String>, style: ContentStyle) -> Self {
        Self { spans: vec![Span { text: text.into(), style }], ..Self::default() }
    }

    pub(crate) fn verbatim(text: impl Into<String>) -> Self {
        Self { is_verbatim: true, ..Self::new(text, plain()) }
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        self.spans.iter().map(|span| span.text.as_str()).collect()
    }

    /// Breaks the line into rows of at most `width` columns, between words where it can.
    pub(crate) fn rows(&self, width: usize) -> Vec<Row> {
        let width = width.max(2);
        let indent = if self.indent + 10 < width { self.indent } else { 0 };
        let mut rows = vec![Row::new()];
        let mut column = 0;
        for (word, style) in self.words() {
            let columns = word.width();
            let is_space = word.trim().is_empty();
            if column + columns > width && column > 0 && !is_space && columns <= width - indent {
                rows.push(start(indent));
                column = indent;
            }
            for piece in word.graphemes(true) {
                let columns = piece.width();
                if column + columns > width {
                    // the space between two words is where the row ends
                    if is_space {
                        continue;
                    }
                    rows.push(start(indent));
                    column = indent;
                }
                push(rows.last_mut(), piece, style);
                column += columns;
            }
        }
        rows
    }

    /// The line in words and the spaces between them; a word may have several styles and then comes in pieces,
    /// which is good enough for breaking.
    fn words(&self) -> impl Iterator<Item = (&str, ContentStyle)> {
        self.spans.iter().flat_map(|span| {
            span.text.split_inclusive(' ').flat_map(|word| {
                let (word, space) = word.strip_suffix(' ').map_or((word, ""), |word| (word, " "));
                [word, space].into_iter().filter(|piece| !piece.is_empty()).map(|piece| (piece, span.style))
            })
        })
    }
}

fn start(indent: usize) -> Row {
    if indent == 0 { Row::new() } else { vec![Span { text: " ".repeat(indent), style: plain() }] }
}

fn push(row: Option<&mut Row>, text: &str, style: ContentStyle) {
    let Some(row) = row else { return };
    match row.last_mut() {
        Some(span) if span.style == style => span.text.push_str(text),
        _ => row.push(Span { text: text.to_owned(), style }),
    }
}

/// Columns of a row.
pub(crate) fn columns(row: &Row) -> usize {
    row.iter().map(|span| span.text.width()).sum()
}

pub(crate) fn plain() -> ContentStyle {
    ContentStyle::default()
}

pub(crate) fn with(attribute: Attribute) -> ContentStyle {
    let mut style = plain();
    style.attributes.set(attribute);
    style
}

pub(crate) fn dim() -> ContentStyle {
    with(Attribute::Dim)
}

pub(crate) fn bold() -> ContentStyle {
    with(Attribute::Bold)
}

/// Colours are those of the terminal's own palette, which fits its background. None is white or black.
pub(crate) fn coloured(color: Color) -> ContentStyle {
    ContentStyle { foreground_color: Some(color), ..plain() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(line: &Line, width: usize) -> Vec<String> {
        line.rows(width).iter().map(|row| row.iter().map(|span| span.text.as_str()).collect()).collect()
    }

    #[test]
    fn rows_end_between_words_and_hang_under_their_first() {
        let line = Line { indent: 2, ..Line::new("• one two three four five", plain()) };
        assert_eq!(shown(&line, 14), ["• one two ", "  three four ", "  five"]);
        assert_eq!(shown(&Line::new("日本語テキスト", plain()), 6), ["日本語", "テキス", "ト"]);
    }

    proptest! {
        #[test]
        fn no_row_is_too_wide_and_no_letter_is_lost(text in "[a-zäß日本 👩‍👩‍👧]{0,80}", width in 2_usize..40, indent in 0_usize..4) {
            let line = Line { indent, ..Line::new(text.clone(), plain()) };
            for row in line.rows(width) {
                prop_assert!(columns(&row) <= width.max(2), "{row:?}");
            }
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            prop_assert_eq!(letters(&shown(&line, width).concat()), letters(&text));
        }
    }
}
