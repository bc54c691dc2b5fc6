//! Markdown as a terminal shows it, line by line, so that an answer can be shown while it is written. Pure.
//!
//! A line of the source stays a line: what is unclear is shown as it was written, and no word is lost.

use crossterm::style::{Attribute, Color, ContentStyle};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::styled::{Line, Span, bold, coloured, dim, plain};

/// Remembers from line to line whether code is being written.
#[derive(Clone, Default)]
pub(crate) struct Markdown {
    /// The sign that ends the block of code.
    fence: Option<String>,
}

impl Markdown {
    /// What the next line looks like. It has no line end.
    pub(crate) fn line(&mut self, source: &str) -> Line {
        let trimmed = source.trim_start();
        if let Some(fence) = &self.fence {
            if trimmed.trim_end() == fence {
                self.fence = None;
                return Line::new(source, dim());
            }
            return Line { is_verbatim: true, ..Line::new(source, coloured(Color::DarkCyan)) };
        }
        if let Some(fence) = fence(trimmed) {
            self.fence = Some(fence);
            return Line::new(source, dim());
        }
        // rows of a table stay as they are aligned in the source
        if trimmed.starts_with('|') {
            return Line { is_verbatim: true, ..Line::new(source, plain()) };
        }
        let indent = source.len() - trimmed.len();
        let mut line = inline(trimmed);
        if indent > 0 {
            line.spans.insert(0, Span { text: source[..indent].to_owned(), style: plain() });
            line.indent += indent;
        }
        line
    }
}

fn fence(line: &str) -> Option<String> {
    let sign = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.chars().take_while(|c| *c == sign).count();
    // inline code may begin with three signs as well, and then ends on the same line
    let is_fence = length >= 3 && !line[length..].contains('`');
    is_fence.then(|| sign.to_string().repeat(length))
}

/// One line that is no code: its marks become looks.
fn inline(source: &str) -> Line {
    let mut line = Line::default();
    let mut styles = vec![plain()];
    let mut link = None;
    for event in Parser::new_ext(source, Options::ENABLE_STRIKETHROUGH) {
        let style = *styles.last().unwrap_or(&plain());
        match event {
            Event::Start(Tag::Item) => {
                let marker = marker(source);
                line.indent = marker.chars().count();
                line.spans.push(Span { text: marker, style });
            }
            Event::Start(Tag::BlockQuote(_)) => {
                line.indent = 2;
                line.spans.push(Span { text: "▎ ".to_owned(), style: dim() });
                styles.push(and(style, Attribute::Italic));
            }
            Event::Start(Tag::Heading { level, .. }) => {
                let underline = if level <= HeadingLevel::H2 { Attribute::Underlined } else { Attribute::Bold };
                styles.push(and(bold(), underline));
            }
            Event::Start(Tag::Emphasis) => styles.push(and(style, Attribute::Italic)),
            Event::Start(Tag::Strong) => styles.push(and(style, Attribute::Bold)),
            Event::Start(Tag::Strikethrough) => styles.push(and(style, Attribute::CrossedOut)),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                link = Some((dest_url.to_string(), line.spans.len()));
                styles.push(and(style, Attribute::Underlined));
            }
            Event::End(TagEnd::Link | TagEnd::Image) => {
                styles.pop();
                if let Some((url, from)) = link.take() {
                    let text: String = line.spans[from..].iter().map(|span| span.text.as_str()).collect();
                    if text != url {
                        line.spans.push(Span { text: format!(" ({url})"), style: dim() });
                    }
                }
            }
            Event::End(
                TagEnd::BlockQuote(_) | TagEnd::Heading(_) | TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough,
            ) => {
                styles.pop();
            }
            Event::Text(text) | Event::InlineHtml(text) | Event::Html(text) => {
                line.spans.push(Span { text: text.trim_end_matches('\n').to_owned(), style });
            }
            Event::Code(code) => {
                let style = ContentStyle { foreground_color: Some(Color::DarkCyan), ..style };
                line.spans.push(Span { text: code.to_string(), style });
            }
            Event::Rule => line.spans.push(Span { text: "─".repeat(20), style: dim() }),
            _ => {}
        }
    }
    // a definition of a link, for instance, shows nothing in Markdown
    let is_empty = line.spans.iter().all(|span| span.text.is_empty());
    if is_empty { Line::new(source, plain()) } else { line }
}

/// What stands before an item: the number as it was written, or a dot.
fn marker(source: &str) -> String {
    let marker = source.trim_start_matches(['>', ' ']).split(' ').next().unwrap_or_default();
    if marker.starts_with(|c: char| c.is_ascii_digit()) { format!("{marker} ") } else { "• ".to_owned() }
}

fn and(mut style: ContentStyle, attribute: Attribute) -> ContentStyle {
    style.attributes.set(attribute);
    style
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(source: &str) -> String {
        let mut markdown = Markdown::default();
        source.lines().map(|line| markdown.line(line).text()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn marks_become_looks() {
        let line = Markdown::default().line("Run **all** of `cargo test` *now*");
        assert_eq!(line.text(), "Run all of cargo test now");
        assert!(line.spans.iter().any(|span| span.text == "all" && span.style.attributes.has(Attribute::Bold)));
        assert!(line.spans.iter().any(|span| span.text == "cargo test" && span.style.foreground_color.is_some()));
    }

    #[test]
    fn blocks_keep_their_words() {
        let source = "# Title\n\n- one\n  - two\n3. three\n> said *so*\n[docs](https://example.com) <https://a.b>\n```rust\nlet x = *y; # not a **title**\n```\n| a | b |\n[x]: https://example.com\n2 < 3 && a_b_c\n---";
        insta::assert_snapshot!(text(source), @"
        Title

        • one
          • two
        3. three
        ▎ said so
        docs (https://example.com) https://a.b
        ```rust
        let x = *y; # not a **title**
        ```
        | a | b |
        [x]: https://example.com
        2 < 3 && a_b_c
        ────────────────────
        ");
    }

    proptest! {
        #[test]
        fn no_word_is_lost(source in "([a-z0-9*_`#>~|\\[\\]()+. -]|\n){0,120}") {
            let letters = |text: &str| text.chars().filter(char::is_ascii_alphabetic).collect::<String>();
            prop_assert_eq!(letters(&text(&source)), letters(&source));
        }
    }
}
