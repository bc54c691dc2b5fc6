//! The message of `-p` when it begins with a dash, as items of a list and negative numbers do. Pure.
//!
//! To the parser such a word is an option. It could be told to take any word as the message; then `-p --json`, which
//! reads the message from standard input, would send `--json` to the model.

use std::ffi::{OsStr, OsString};

use clap::{Args as _, Command};

use crate::Connection;
use crate::chat::ChatArgs;

/// The arguments of the program; a message of `atelier chat -p` that begins with a dash is joined to its option
/// (`-p=- fix the list`), unless it is `-` or an option itself.
pub fn with_joined_prompt(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut chat = Connection::augment_args(ChatArgs::augment_args(Command::new("chat")));
    chat.build();
    let mut joined: Vec<OsString> = Vec::new();
    let mut is_chat = false;
    for argument in arguments {
        let begins_with_dash = argument.as_encoded_bytes().starts_with(b"-") && argument != "-";
        let takes_message = is_chat && joined.last().is_some_and(|before| ends_with_prompt(&chat, before));
        if takes_message
            && begins_with_dash
            && !is_option(&chat, &argument)
            && let Some(before) = joined.last_mut()
        {
            before.push("=");
            before.push(argument);
            continue;
        }
        // words behind `--` are not options
        is_chat = argument != "--" && (is_chat || argument == "chat");
        joined.push(argument);
    }
    joined
}

/// Whether a word is `--prompt`, `-p`, or several short options of which the last one is `-p`.
fn ends_with_prompt(chat: &Command, word: &OsStr) -> bool {
    let Some(word) = word.to_str() else { return false };
    let Some(short) = word.strip_prefix('-').and_then(|letters| letters.strip_suffix('p')) else {
        return word == "--prompt";
    };
    short.chars().all(|letter| short_option(chat, letter) == Some(false))
}

/// Whether a word is one or several options of the command, with a value or without.
fn is_option(chat: &Command, word: &OsStr) -> bool {
    let Some(word) = word.to_str() else { return false };
    if word == "--" {
        return true;
    }
    if let Some(long) = word.strip_prefix("--") {
        let name = long.split('=').next().unwrap_or(long);
        return chat.get_arguments().any(|option| option.get_long() == Some(name));
    }
    if word.contains(char::is_whitespace) {
        return false;
    }
    for letter in word.chars().skip(1) {
        match short_option(chat, letter) {
            None => return false,
            // the rest is its value
            Some(true) => return true,
            Some(false) => {}
        }
    }
    true
}

/// Whether the option of this letter takes a value; `None` if the option does not exist.
fn short_option(chat: &Command, letter: char) -> Option<bool> {
    let option = chat.get_arguments().find(|option| option.get_short() == Some(letter))?;
    Some(option.get_action().takes_values())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(line: &[&str]) -> Vec<String> {
        let arguments = with_joined_prompt(line.iter().map(OsString::from));
        arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn a_message_that_begins_with_a_dash_is_joined_to_its_option() {
        for message in ["- fix the list", "-1", "--help me", "-x", "-quiet please", "---", "-p is a flag"] {
            for option in ["-p", "--prompt", "-qp"] {
                let expected = ["atelier", "chat", &format!("{option}={message}"), "--json"];
                assert_eq!(joined(&["atelier", "chat", option, message, "--json"]), expected);
            }
        }
    }

    #[test]
    fn options_and_other_commands_stay_as_they_are() {
        for line in [
            &["atelier", "chat", "-p", "-", "--json"][..],
            &["atelier", "chat", "-p", "--json"],
            &["atelier", "chat", "-p", "-q", "--model=my model"],
            &["atelier", "chat", "-p", "--url", "http://x", "--resume"],
            &["atelier", "chat", "-p", "-h"],
            &["atelier", "chat", "-p", "--help"],
            &["atelier", "chat", "-p", "--"],
            &["atelier", "chat", "--", "-p", "- x"],
            &["atelier", "chat", "-p", "fix", "- x"],
            &["atelier", "agent", "-p", "- x"],
        ] {
            assert_eq!(joined(line), line);
        }
    }
}
