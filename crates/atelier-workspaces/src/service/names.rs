//! Names of workspaces made for a chat.

use crate::templates::is_workspace_name;

const SLUG_CHARS: usize = 27;

/// The wanted name if it is a good one, else a slug of it (or of the template's name) with four random
/// digits.
pub(crate) fn workspace_name(wanted: Option<&str>, template_name: &str, random: u16) -> String {
    match wanted {
        Some(name) if is_workspace_name(name) => name.to_owned(),
        Some(name) if slug(name).is_some() => derived(name, random),
        _ => derived(template_name, random),
    }
}

/// A slug of `text` with four digits, for a name that is bad or taken.
pub(crate) fn derived(text: &str, random: u16) -> String {
    let slug = slug(text).unwrap_or_else(|| "workspace".to_owned());
    format!("{slug}-{random:04x}")
}

fn slug(text: &str) -> Option<String> {
    let mut slug = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == SLUG_CHARS {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    (!slug.is_empty()).then(|| slug.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_stay_and_others_become_slugs() {
        assert_eq!(workspace_name(Some("my-box"), "demo", 0xab), "my-box");
        assert_eq!(workspace_name(None, "demo", 0xab), "demo-00ab");
        assert_eq!(workspace_name(Some("Fix the Build!"), "demo", 0x1234), "fix-the-build-1234");
        assert_eq!(workspace_name(Some("日本"), "demo", 1), "demo-0001");
        assert_eq!(workspace_name(Some("日本"), "--", 1), "workspace-0001");
    }

    proptest::proptest! {
        #[test]
        fn every_name_is_a_good_one(wanted in proptest::option::of(".{0,60}"), template in ".{0,40}", random: u16) {
            proptest::prop_assert!(is_workspace_name(&workspace_name(wanted.as_deref(), &template, random)));
        }
    }
}
