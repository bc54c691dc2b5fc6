//! Finding the place of an edit: three passes, each less exact than the one before; and the replacement
//! with the indentation of the place. Pure functions over text with LF.

use std::collections::HashMap;
use std::ops::Range;

use atelier_domain::text::head;
use atelier_workspace_protocol::files::{EditPass, NearestText};

use super::document::Replacement;

const MAX_NEAREST_BYTES: usize = 400;
/// Lines of the old text, and of the file, that are compared to name something near.
const NEAREST_OLD_LINES: usize = 50;
const NEAREST_FILE_LINES: usize = 20_000;
const NEAREST_LINE_BYTES: usize = 300;
/// Common pairs of characters, in percent, from which on a line is near another.
const NEAREST_PERCENT: usize = 50;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Places {
        pass: EditPass,
        replacements: Vec<Replacement>,
        /// The indentation could not be adapted at one place at least.
        as_given: bool,
    },
    Nowhere,
    Ambiguous {
        matches: u64,
    },
    /// The file would be larger than it may.
    TooLarge,
}

/// Where `old` is in `text` and what comes there, if no more than `max_bytes` come of it. `old` is not
/// empty.
pub(crate) fn find(text: &str, old: &str, new: &str, replace_all: bool, max_bytes: u64) -> Found {
    let bounds = Bounds { replace_all, most_new: max_bytes.saturating_sub(text.len() as u64) };
    let exact = exact_matches(text, old, replace_all);
    if !exact.is_empty() {
        return decide(EditPass::Exact, exact, bounds, |_| (new.to_owned(), false));
    }
    let lines = lines_of(text);
    let (old_lines, old_ends) = block_lines(old);
    let ranges = |key: fn(&str) -> &str| -> Vec<(Range<usize>, Range<usize>)> {
        let file: Vec<&str> = lines.iter().map(|line| key(&text[line.clone()])).collect();
        let wanted: Vec<&str> = old_lines.iter().map(|line| key(line)).collect();
        let starts = sequence_matches(&file, &wanted);
        let starts = if replace_all { non_overlapping(&starts, wanted.len()) } else { starts };
        starts
            .into_iter()
            .map(|start| {
                let block = start..start + wanted.len();
                let end = lines[block.end - 1].end;
                // With its line end, if the old text has one.
                let end = if old_ends && text[end..].starts_with('\n') { end + 1 } else { end };
                (block, lines[start].start..end)
            })
            .collect()
    };
    let trailing = ranges(str::trim_end);
    if !trailing.is_empty() {
        let places = trailing.into_iter().map(|(_, range)| range).collect();
        return decide(EditPass::TrailingSpace, places, bounds, |_| (new.to_owned(), false));
    }
    let indented = ranges(str::trim);
    let blocks: HashMap<usize, Range<usize>> =
        indented.iter().map(|(block, range)| (range.start, block.clone())).collect();
    let places = indented.into_iter().map(|(_, range)| range).collect();
    decide(EditPass::Indentation, places, bounds, |range| {
        let block = blocks.get(&range.start).cloned().unwrap_or_default();
        let file: Vec<&str> = lines[block].iter().map(|line| &text[line.clone()]).collect();
        match reindent(&file, &old_lines, new) {
            Some(text) => (text, false),
            None => (new.to_owned(), true),
        }
    })
}

#[derive(Clone, Copy)]
struct Bounds {
    replace_all: bool,
    /// Bytes that may come to the text.
    most_new: u64,
}

fn decide(
    pass: EditPass,
    places: Vec<Range<usize>>,
    bounds: Bounds,
    replacement: impl Fn(&Range<usize>) -> (String, bool),
) -> Found {
    match places.len() {
        0 => return Found::Nowhere,
        1 => {}
        _ if bounds.replace_all => {}
        matches => return Found::Ambiguous { matches: matches as u64 },
    }
    let (mut replacements, mut as_given) = (Vec::with_capacity(places.len()), false);
    let (mut new_bytes, mut old_bytes) = (0, 0);
    for range in places {
        let (text, given) = replacement(&range);
        new_bytes += text.len() as u64;
        old_bytes += range.len() as u64;
        // Checked as it grows: many places times a long text is more than there is memory.
        if new_bytes > bounds.most_new.saturating_add(old_bytes) {
            return Found::TooLarge;
        }
        as_given |= given;
        replacements.push(Replacement { range, text });
    }
    Found::Places { pass, replacements, as_given }
}

/// Substrings that do not overlap. A single one that overlaps another counts as two.
fn exact_matches(text: &str, old: &str, replace_all: bool) -> Vec<Range<usize>> {
    let mut matches: Vec<Range<usize>> = text.match_indices(old).map(|(at, _)| at..at + old.len()).collect();
    if let ([only], false) = (matches.as_slice(), replace_all) {
        let next = only.start + text[only.start..].chars().next().map_or(1, char::len_utf8);
        if let Some(overlapping) = text[next..].find(old) {
            matches.push(next + overlapping..next + overlapping + old.len());
        }
    }
    matches
}

/// Lines without their ends. After a last line end there is no line.
fn lines_of(text: &str) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut start = 0;
    for (end, _) in text.match_indices('\n') {
        lines.push(start..end);
        start = end + 1;
    }
    if start < text.len() {
        lines.push(start..text.len());
    }
    lines
}

/// Lines of a block, and whether its last one has an end.
fn block_lines(block: &str) -> (Vec<&str>, bool) {
    match block.strip_suffix('\n') {
        Some(rest) => (rest.split('\n').collect(), true),
        None => (block.split('\n').collect(), false),
    }
}

/// Where `wanted` begins in `lines` (Knuth, Morris and Pratt), matches that overlap included.
fn sequence_matches(lines: &[&str], wanted: &[&str]) -> Vec<usize> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut borders = vec![0; wanted.len()];
    let mut border = 0;
    for at in 1..wanted.len() {
        while border > 0 && wanted[at] != wanted[border] {
            border = borders[border - 1];
        }
        if wanted[at] == wanted[border] {
            border += 1;
        }
        borders[at] = border;
    }
    let mut starts = Vec::new();
    let mut matched = 0;
    for (at, line) in lines.iter().enumerate() {
        while matched > 0 && *line != wanted[matched] {
            matched = borders[matched - 1];
        }
        if *line == wanted[matched] {
            matched += 1;
        }
        if matched == wanted.len() {
            starts.push(at + 1 - matched);
            matched = borders[matched - 1];
        }
    }
    starts
}

fn non_overlapping(starts: &[usize], len: usize) -> Vec<usize> {
    let mut free_from = 0;
    starts
        .iter()
        .copied()
        .filter(|start| {
            let is_free = *start >= free_from;
            if is_free {
                free_from = start + len;
            }
            is_free
        })
        .collect()
}

fn leading(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

/// How the indentation of the place differs from that of the old text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shift<'t> {
    Add(&'t str),
    Remove(&'t str),
    /// The file has a tab for this many spaces.
    ToTabs(usize),
    ToSpaces(usize),
}

fn shift<'t>(pairs: &[(&'t str, &'t str)]) -> Option<Shift<'t>> {
    let (file, old) = pairs.first()?;
    if let Some(prefix) = file.strip_suffix(old)
        && pairs.iter().all(|(file, old)| file.strip_prefix(prefix) == Some(*old))
    {
        return Some(Shift::Add(prefix));
    }
    if let Some(prefix) = old.strip_suffix(file)
        && pairs.iter().all(|(file, old)| old.strip_prefix(prefix) == Some(*file))
    {
        return Some(Shift::Remove(prefix));
    }
    let is_translated = |tabs: &str, spaces: &str, width: usize| {
        tabs.bytes().all(|byte| byte == b'\t')
            && spaces.bytes().all(|byte| byte == b' ')
            && spaces.len() == tabs.len() * width
    };
    for width in [2, 4, 8] {
        if pairs.iter().all(|(file, old)| is_translated(file, old, width)) {
            return Some(Shift::ToTabs(width));
        }
        if pairs.iter().all(|(file, old)| is_translated(old, file, width)) {
            return Some(Shift::ToSpaces(width));
        }
    }
    None
}

/// The new text with the place's indentation; `None` if no rule says how.
fn reindent(file: &[&str], old: &[&str], new: &str) -> Option<String> {
    let pairs: Vec<(&str, &str)> = file
        .iter()
        .zip(old)
        .filter(|(_, old)| !old.trim().is_empty())
        .map(|(file, old)| (leading(file), leading(old)))
        .collect();
    let shift = shift(&pairs)?;
    let mut lines = Vec::new();
    for line in new.split('\n') {
        if line.trim().is_empty() {
            lines.push(line.to_owned());
            continue;
        }
        let indent = leading(line);
        let text = &line[indent.len()..];
        lines.push(match shift {
            Shift::Add(prefix) => format!("{prefix}{line}"),
            Shift::Remove(prefix) => line.strip_prefix(prefix)?.to_owned(),
            Shift::ToSpaces(width) => format!("{}{text}", indent.replace('\t', &" ".repeat(width))),
            Shift::ToTabs(width) => {
                let spaces = indent.bytes().take_while(|byte| *byte == b' ').count();
                format!("{}{}{text}", "\t".repeat(spaces / width), &indent[spaces - spaces % width..])
            }
        });
    }
    Some(lines.join("\n"))
}

/// The place that is most like the old text, if any is like it.
pub(crate) fn nearest(text: &str, old: &str) -> Option<NearestText> {
    let lines = lines_of(text);
    let (old_lines, _) = block_lines(old);
    let start = most_equal_lines(text, &lines, &old_lines).or_else(|| most_similar_line(text, &lines, &old_lines))?;
    let end = (start + old_lines.len()).min(lines.len());
    let block = &text[lines[start].start..lines[end - 1].end];
    Some(NearestText { start_line: start as u64 + 1, text: head(block, MAX_NEAREST_BYTES).to_owned() })
}

/// The place where most lines are those of the old text but for white space.
fn most_equal_lines(text: &str, lines: &[Range<usize>], old: &[&str]) -> Option<usize> {
    let mut wanted: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, line) in old.iter().take(NEAREST_OLD_LINES).enumerate() {
        // A bracket alone says nothing.
        if line.chars().filter(|c| c.is_alphanumeric()).take(2).count() == 2 {
            wanted.entry(line.trim()).or_default().push(index);
        }
    }
    let mut votes: HashMap<usize, usize> = HashMap::new();
    for (at, line) in lines.iter().enumerate() {
        for index in wanted.get(text[line.clone()].trim()).into_iter().flatten() {
            if let Some(start) = at.checked_sub(*index) {
                *votes.entry(start).or_default() += 1;
            }
        }
    }
    votes.into_iter().max_by_key(|(start, count)| (*count, usize::MAX - start)).map(|(start, _)| start)
}

/// The place whose first line has most pairs of characters in common with that of the old text.
fn most_similar_line(text: &str, lines: &[Range<usize>], old: &[&str]) -> Option<usize> {
    let (index, first) = old.iter().enumerate().find(|(_, line)| !line.trim().is_empty())?;
    let wanted = pairs_of(first);
    let mut best: Option<(usize, usize)> = None;
    for (at, line) in lines.iter().enumerate().take(NEAREST_FILE_LINES) {
        let percent = similarity(&wanted, &pairs_of(&text[line.clone()]));
        if percent >= NEAREST_PERCENT && best.is_none_or(|(most, _)| percent > most) {
            best = Some((percent, at));
        }
    }
    best.map(|(_, at)| at.saturating_sub(index))
}

fn pairs_of(line: &str) -> Vec<(char, char)> {
    let line = head(line.trim(), NEAREST_LINE_BYTES);
    let mut pairs: Vec<(char, char)> = line.chars().zip(line.chars().skip(1)).collect();
    pairs.sort_unstable();
    pairs
}

/// Twice the common pairs over all pairs, in percent.
fn similarity(left: &[(char, char)], right: &[(char, char)]) -> usize {
    let (mut at, mut other, mut common) = (0, 0, 0_usize);
    while at < left.len() && other < right.len() {
        match left[at].cmp(&right[other]) {
            std::cmp::Ordering::Less => at += 1,
            std::cmp::Ordering::Greater => other += 1,
            std::cmp::Ordering::Equal => {
                common += 1;
                at += 1;
                other += 1;
            }
        }
    }
    (200 * common).checked_div(left.len() + right.len()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: u64 = 1 << 20;

    fn apply(text: &str, old: &str, new: &str, replace_all: bool) -> (EditPass, String, bool) {
        let Found::Places { pass, replacements, as_given } = find(text, old, new, replace_all, MAX) else {
            panic!("{:?}", find(text, old, new, replace_all, MAX));
        };
        let mut whole = String::new();
        let mut from = 0;
        for Replacement { range, text: new } in replacements {
            whole.push_str(&text[from..range.start]);
            whole.push_str(&new);
            from = range.end;
        }
        whole.push_str(&text[from..]);
        (pass, whole, as_given)
    }

    #[test]
    fn w25_each_pass_has_its_case() {
        assert_eq!(apply("one two", "two", "2", false), (EditPass::Exact, "one 2".into(), false));
        assert_eq!(apply("a  \nb\t\nc", "a\nb\n", "x\n", false), (EditPass::TrailingSpace, "x\nc".into(), false));
        assert_eq!(apply("a  \nb\t\nc", "a\nb", "x", false), (EditPass::TrailingSpace, "x\nc".into(), false));
        assert_eq!(
            apply("if x {\n    a\n\n      b\n}", "  a\n  \n    b", "  c\n\n    d", false),
            (EditPass::Indentation, "if x {\n    c\n\n      d\n}".into(), false)
        );
        assert_eq!(find("ab", "x\ny", "z", false, MAX), Found::Nowhere);
        // Whole lines only.
        assert_eq!(find("xa \nb", "a\nb", "z", false, MAX), Found::Nowhere);
    }

    #[test]
    fn w25_ambiguous_names_the_count_and_replace_all_counts() {
        assert_eq!(find("a a a", "a", "b", false, MAX), Found::Ambiguous { matches: 3 });
        assert_eq!(find("aaa", "aa", "b", false, MAX), Found::Ambiguous { matches: 2 });
        assert_eq!(apply("aaa", "aa", "b", true).1, "ba");
        // The exact match decides, though a less exact pass would find more.
        assert_eq!(apply("a\nb\n a\n b", "a\nb\n", "x\n", false), (EditPass::Exact, "x\n a\n b".into(), false));
        assert_eq!(find("x \ny\nx\t\ny", "x\ny", "z", false, MAX), Found::Ambiguous { matches: 2 });
        assert_eq!(apply("x \ny\nx\t\ny", "x\ny", "z", true).1, "z\nz");
        assert_eq!(apply("x \nx \nx ", "x\nx", "z", true), (EditPass::TrailingSpace, "z\nx ".into(), false));
    }

    #[test]
    fn what_would_grow_too_much_is_refused() {
        assert_eq!(find("aaaa", "a", "bbb", true, 11), Found::TooLarge);
        assert!(matches!(find("aaaa", "a", "bbb", true, 12), Found::Places { .. }));
        assert!(matches!(find("aaaa", "aaaa", "b", false, 4), Found::Places { .. }));
    }

    #[test]
    fn w27_indentation() {
        let indent = |text, old, new| {
            let (pass, whole, as_given) = apply(text, old, new, false);
            assert_eq!(pass, EditPass::Indentation);
            (whole, as_given)
        };
        // Added; blank new lines stay as they are.
        assert_eq!(indent("\t a\n\t b\n", "a\nb", "c\n\n  d"), ("\t c\n\n\t   d\n".into(), false));
        // Removed.
        assert_eq!(indent("a\n  b\n", "    a\n      b\n", "    c\n      d\n"), ("c\n  d\n".into(), false));
        // A new line that does not have it.
        assert_eq!(indent("a\n  b\n", "    a\n      b\n", "  c\n"), ("  c\n".into(), true));
        // Spaces to tabs and back.
        assert_eq!(indent("\ta\n\t\tb\n", "  a\n    b\n", "  c\n     d\n"), ("\tc\n\t\t d\n".into(), false));
        assert_eq!(
            indent("    a\n        b\n", "\ta\n\t\tb\n", "\tc\n\t\t\td\n"),
            ("    c\n            d\n".into(), false)
        );
        // No rule.
        assert_eq!(indent("  a\n      b\n", "a\nb\n", "c\n"), ("c\n".into(), true));
        // Each place has its own.
        let (_, whole, as_given) = apply(" x\n y\n  x\n  y\n", "\tx\n\ty\n", "\tz\n", true);
        assert_eq!((whole.as_str(), as_given), ("\tz\n  z\n", true));
        assert_eq!(apply(" x\n y\n  x\n  y\n", "x\ny", "z", true).1, " z\n  z\n");
    }

    #[test]
    fn the_nearest_place() {
        let text = "fn a() {\n    one();\n}\nfn b() {\n    two();\n    three();\n}\n";
        let near = nearest(text, "fn b() {\n    two();\n    four();\n}\n").unwrap();
        assert_eq!((near.start_line, near.text.as_str()), (4, "fn b() {\n    two();\n    three();\n}"));
        let near = nearest(text, "three(5);").unwrap();
        assert_eq!((near.start_line, near.text.as_str()), (6, "    three();"));
        assert_eq!(nearest(text, "zzz"), None);
        assert_eq!(nearest("", "zzz"), None);
        assert!(nearest(&"é".repeat(1000), &"é".repeat(999)).unwrap().text.len() <= MAX_NEAREST_BYTES);
    }

    proptest! {
        #[test]
        fn a_block_is_found_under_any_indentation(
            lines in proptest::collection::vec("[a-z]{1,3}", 1..6), prefix in "[ \t]{1,4}",
        ) {
            let old = lines.join("\n");
            let text = lines.iter().map(|line| format!("{prefix}{line}\n")).collect::<String>();
            let new = "new\n  more";
            if lines.len() > 1 {
                let (pass, whole, as_given) = apply(&text, &old, new, false);
                prop_assert_eq!(pass, EditPass::Indentation);
                prop_assert!(!as_given);
                prop_assert_eq!(whole, format!("{prefix}new\n{prefix}  more\n"));
            }
        }

        #[test]
        fn sequences_are_found_as_a_plain_search_finds_them(
            lines in proptest::collection::vec("[ab]", 0..30), wanted in proptest::collection::vec("[ab]", 1..4),
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let plain: Vec<usize> = lines
                .windows(wanted.len())
                .enumerate()
                .filter(|(_, window)| *window == wanted)
                .map(|(at, _)| at)
                .collect();
            prop_assert_eq!(sequence_matches(&lines, &wanted), plain);
        }
    }
}
