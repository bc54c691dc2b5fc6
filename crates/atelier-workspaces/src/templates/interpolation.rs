//! `${param.X}` and its relatives in string values.

use std::collections::BTreeMap;

/// What a value may name beside parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub workspace_id: String,
    pub workspace_name: String,
    pub owner_username: String,
}

/// One piece of a string value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    /// The name between `${` and `}`.
    Name(&'a str),
    /// `${` without `}`.
    Open,
}

/// Splits a value. `$${` is a literal `${`.
pub(crate) fn pieces(value: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = value;
    while let Some(at) = rest.find("${") {
        if at > 0 && rest.as_bytes()[at - 1] == b'$' {
            // The first dollar goes, `${` stays as text.
            pieces.push(Piece::Text(&rest[..at - 1]));
            pieces.push(Piece::Text("${"));
            rest = &rest[at + 2..];
            continue;
        }
        pieces.push(Piece::Text(&rest[..at]));
        let inner = &rest[at + 2..];
        let Some(end) = inner.find('}') else {
            pieces.push(Piece::Open);
            return pieces;
        };
        pieces.push(Piece::Name(&inner[..end]));
        rest = &inner[end + 1..];
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// Whether the value depends on anything.
pub(crate) fn is_plain(value: &str) -> bool {
    pieces(value).iter().all(|piece| matches!(piece, Piece::Text(_)))
}

/// What is wrong with the names in `value`, given the declared parameters.
pub(crate) fn faults(value: &str, parameters: &[&str]) -> Vec<String> {
    pieces(value)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Open => Some("${ without }; write $${ for a literal ${".to_owned()),
            Piece::Name("workspace.id" | "workspace.name" | "owner.username") => None,
            Piece::Name(name) => match name.strip_prefix("param.") {
                Some(parameter) if parameters.contains(&parameter) => None,
                Some(parameter) => Some(format!("${{{name}}}: there is no parameter called {parameter}")),
                None => Some(format!(
                    "${{{name}}} is unknown; there are ${{param.NAME}}, ${{workspace.id}}, ${{workspace.name}} and ${{owner.username}}"
                )),
            },
        })
        .collect()
}

/// The names of ours that a script uses, where nothing is substituted.
pub(crate) fn names_in_script(script: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = script;
    while let Some(at) = rest.find("${") {
        rest = &rest[at + 2..];
        let Some(end) = rest.find('}') else { break };
        let name = &rest[..end];
        if ["param.", "workspace.", "owner."].iter().any(|prefix| name.starts_with(prefix)) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The value with everything put in. Names were checked when the template was saved; one that is
/// missing all the same is an error here, never an empty string.
pub(crate) fn substitute(value: &str, facts: &Facts, parameters: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    for piece in pieces(value) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Name("workspace.id") => out.push_str(&facts.workspace_id),
            Piece::Name("workspace.name") => out.push_str(&facts.workspace_name),
            Piece::Name("owner.username") => out.push_str(&facts.owner_username),
            Piece::Name(name) => match name.strip_prefix("param.").and_then(|name| parameters.get(name)) {
                Some(value) => out.push_str(value),
                None => return Err(format!("${{{name}}} has no value")),
            },
            Piece::Open => return Err("${ without }".into()),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { workspace_id: "1".into(), workspace_name: "box".into(), owner_username: "ada".into() }
    }

    #[test]
    fn values_are_put_in_once_and_literals_stay() {
        let parameters = BTreeMap::from([("branch".to_owned(), "${owner.username}".to_owned())]);
        let substitute = |value: &str| substitute(value, &facts(), &parameters).unwrap();
        assert_eq!(substitute("a-${param.branch}-${workspace.name}"), "a-${owner.username}-box");
        assert_eq!(substitute("$${param.branch}"), "${param.branch}");
        assert_eq!(substitute("cost: 5$ and $HOME"), "cost: 5$ and $HOME");
    }

    #[test]
    fn unknown_names_are_faults() {
        assert_eq!(faults("${param.branch} ${workspace.id}", &["branch"]), Vec::<String>::new());
        assert_eq!(faults("${param.x} ${env.HOME} ${", &["branch"]).len(), 3);
        assert_eq!(names_in_script("echo ${HOME} ${param.branch} ${#x}"), ["param.branch"]);
    }

    proptest::proptest! {
        #[test]
        fn a_parameter_value_arrives_byte_for_byte(value in ".*") {
            let parameters = BTreeMap::from([("x".to_owned(), value.clone())]);
            proptest::prop_assert_eq!(substitute("${param.x}", &facts(), &parameters).unwrap(), value);
        }

        #[test]
        fn splitting_never_panics(value in ".*") {
            let _ = (faults(&value, &["a"]), names_in_script(&value), is_plain(&value));
        }
    }
}
