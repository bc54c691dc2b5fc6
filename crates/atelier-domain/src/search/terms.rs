//! The `q` parameter of lists: `key:value`, bare words, and double quotes that hold spaces together.

/// The most characters of a `q`.
const MAX_CHARS: usize = 1_000;

/// The keys of a list.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// May be given once.
    pub single: &'static [&'static str],
    /// May be given several times; all must hold.
    pub repeated: &'static [&'static str],
}

/// What a `q` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Keys in lower case, in the order given.
    pub keyed: Vec<(String, String)>,
    /// Bare words and quoted phrases.
    pub bare: Vec<String>,
}

impl Terms {
    /// The value of a key that may be given once.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.keyed.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.keyed.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// What is wrong with a term: the field (`q`, or the key) and the words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermFault {
    pub field: String,
    pub detail: String,
}

/// A term with where it may be split: colons inside quotes do not count.
#[derive(Default)]
struct Term {
    text: String,
    colons: Vec<usize>,
    is_quoted: bool,
}

/// Reads a `q`.
///
/// # Errors
/// Everything that is wrong with it at once.
pub fn parse_terms(q: &str, keys: Keys) -> Result<Terms, Vec<TermFault>> {
    let fault = |field: &str, detail: String| TermFault { field: field.to_owned(), detail };
    if q.chars().count() > MAX_CHARS {
        return Err(vec![fault("q", format!("has more than {MAX_CHARS} characters"))]);
    }
    let mut terms = Terms::default();
    let mut faults = Vec::new();
    for Term { text, colons, is_quoted } in split(q) {
        let [colon] = colons[..] else {
            if colons.is_empty() {
                terms.bare.extend((!text.trim().is_empty()).then_some(text));
            } else {
                faults.push(fault("q", format!("{text} has two colons; write key:value, with quotes if need be")));
            }
            continue;
        };
        let (key, value) = (text[..colon].to_lowercase(), text[colon + 1..].to_owned());
        if key.is_empty() || (value.is_empty() && !is_quoted) {
            faults.push(fault("q", format!("{text} is no term; write key:value")));
        } else if value.trim().is_empty() {
            faults.push(fault(&key, "is empty".to_owned()));
        } else if keys.repeated.contains(&key.as_str()) {
            terms.keyed.push((key, value));
        } else if !keys.single.contains(&key.as_str()) {
            let known: Vec<&str> = keys.single.iter().chain(keys.repeated).copied().collect();
            faults.push(fault(&key, format!("is no key of this search; there are {}", known.join(", "))));
        } else if terms.value(&key).is_some() {
            faults.push(fault(&key, "is given twice".to_owned()));
        } else {
            terms.keyed.push((key, value));
        }
    }
    if faults.is_empty() { Ok(terms) } else { Err(faults) }
}

fn split(q: &str) -> Vec<Term> {
    let mut terms = Vec::new();
    let mut open = Term::default();
    let mut in_quotes = false;
    for c in q.chars() {
        match c {
            '"' => {
                in_quotes = !in_quotes;
                open.is_quoted = true;
            }
            c if c.is_whitespace() && !in_quotes => terms.push(std::mem::take(&mut open)),
            c => {
                if c == ':' && !in_quotes {
                    open.colons.push(open.text.len());
                }
                open.text.push(c);
            }
        }
    }
    terms.push(open);
    terms.retain(|term| !term.text.is_empty());
    terms
}
