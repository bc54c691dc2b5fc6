//! As much of the shell's grammar as it takes to see how a command ends.

/// A command whose last token is a lone `&`, without it and without what is only a comment behind it.
pub(super) fn without_lone_ampersand(command: &str) -> Option<&str> {
    let at = last_ampersand(command.as_bytes())?;
    let rest = command[..at].trim_end();
    // `&&` is unfinished, `>&` and `<&` are redirections, `;&` belongs to `case`, `|&` is a pipe.
    let is_lone = !matches!(command.as_bytes()[..at].last(), Some(b'&' | b'>' | b'<' | b';' | b'|'));
    (is_lone && !rest.is_empty()).then_some(rest)
}

/// Where the last token begins, if it is an `&` that is neither quoted nor in a comment or a here-document.
fn last_ampersand(command: &[u8]) -> Option<usize> {
    let mut last = None;
    let mut here_documents = Vec::new();
    let mut begins_word = true;
    let mut at = 0;
    while let Some(byte) = command.get(at) {
        let mut next = at + 1;
        match byte {
            b'\n' => {
                for delimiter in here_documents.drain(..) {
                    next = end_of_here_document(command, next, &delimiter)?;
                }
            }
            b' ' | b'\t' | b'\r' => {}
            b'#' if begins_word => next = end_of_line(command, at),
            b'&' => last = Some(at),
            b'\\' => (last, next) = (None, at + 2),
            b'\'' => (last, next) = (None, end_of_quote(command, next, b'\'', false)?),
            b'"' => (last, next) = (None, end_of_quote(command, next, b'"', true)?),
            b'(' if command.get(next) == Some(&b'(') => {
                (last, next) = (None, end_of_arithmetic(command, at).unwrap_or(next));
            }
            b'<' if command[next..].starts_with(b"<<") => (last, next) = (None, at + 3),
            b'<' if command.get(next) == Some(&b'<') => {
                let delimiter;
                (delimiter, next) = here_document(command, at + 2);
                here_documents.push(delimiter);
                last = None;
            }
            _ => last = None,
        }
        begins_word = matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'(' | b')');
        at = next;
    }
    last.filter(|_| here_documents.is_empty())
}

/// Behind the arithmetic that begins with the two brackets at `from`, where `<<` shifts; `None` if they begin
/// subshells.
fn end_of_arithmetic(command: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in command.iter().enumerate().skip(from) {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 2 => return (command.get(at + 1) == Some(&b')')).then_some(at + 2),
            b')' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn end_of_line(command: &[u8], from: usize) -> usize {
    command[from..].iter().position(|byte| *byte == b'\n').map_or(command.len(), |length| from + length)
}

/// Behind the closing quote; `None` if there is none.
fn end_of_quote(command: &[u8], mut at: usize, quote: u8, has_escapes: bool) -> Option<usize> {
    loop {
        match command.get(at)? {
            b'\\' if has_escapes => at += 2,
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The word that ends a here-document.
struct Delimiter {
    word: Vec<u8>,
    /// Tabs before it do not count (`<<-`).
    is_indented: bool,
}

/// Reads what follows `<<`, and where that ends.
fn here_document(command: &[u8], mut at: usize) -> (Delimiter, usize) {
    let is_indented = command.get(at) == Some(&b'-');
    at += usize::from(is_indented);
    at += command[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let is_word = |byte: &&u8| !byte.is_ascii_whitespace() && !b";&|<>()".contains(*byte);
    let written: Vec<u8> = command[at..].iter().take_while(is_word).copied().collect();
    at += written.len();
    let word = written.into_iter().filter(|byte| !b"'\"\\".contains(byte)).collect();
    (Delimiter { word, is_indented }, at)
}

/// The line behind the one that ends the document; `None` if no line does.
fn end_of_here_document(command: &[u8], mut at: usize, delimiter: &Delimiter) -> Option<usize> {
    while at < command.len() {
        let end = end_of_line(command, at);
        let mut line = &command[at..end];
        if delimiter.is_indented {
            line = &line[line.iter().take_while(|byte| **byte == b'\t').count()..];
        }
        at = end + 1;
        if line == delimiter.word {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_lone_ampersand_at_the_end_is_taken_off() {
        for (command, rest) in [
            ("sleep 60 &\n", "sleep 60"),
            ("a & b&", "a & b"),
            ("sleep 60 & # it serves", "sleep 60"),
            ("echo 'it is' \"a \\\" b\" &", "echo 'it is' \"a \\\" b\""),
            ("echo ${#a} a#b $# &", "echo ${#a} a#b $#"),
            ("cat > f <<'END'\ndon't & \"\nEND\nserve f &", "cat > f <<'END'\ndon't & \"\nEND\nserve f"),
            ("cat <<-E >f\n\tit's\n\tE\nserve &", "cat <<-E >f\n\tit's\n\tE\nserve"),
            ("cat <<<word &", "cat <<<word"),
            ("sleep $((1<<3)) &", "sleep $((1<<3))"),
            ("((n = (1 << 3) & 7)); serve &", "((n = (1 << 3) & 7)); serve"),
            ("((cat <<E; true)\nx\nE\n); serve &", "((cat <<E; true)\nx\nE\n); serve"),
        ] {
            assert_eq!(without_lone_ampersand(command), Some(rest), "{command}");
        }
    }

    #[test]
    fn any_other_ampersand_stays() {
        for command in [
            "a && b",
            "a &&",
            "echo \\&",
            "cat <&",
            "echo hi >&",
            "a |&",
            "&",
            " & ",
            "echo '&'",
            "echo a # note &",
            "# only a note &",
            "echo 'a &",
            "echo \"a &",
            "cat <<E\nnot ended &",
            "cat <<E &",
            "(sleep 60 &)",
            "((1 &))",
            "((1<<3 &",
            "",
        ] {
            assert_eq!(without_lone_ampersand(command), None, "{command}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(command in "[&#'\"\\\\<E()$ \\n;é-]{0,40}") {
            if let Some(rest) = without_lone_ampersand(&command) {
                prop_assert!(command[rest.len()..].trim_start().starts_with('&'));
            }
        }
    }
}
