//! Instruction files and skills for the model (`workspaces.md` 2.6). Blocks; never fails: what cannot be
//! read is left out. The model's provider gets to see what is here, so no link is followed: a repository could
//! lay one to anything that the workspace can read.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use atelier_workspace_protocol::{ContextAnswer, ContextFile, ContextSkill};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use sha2::{Digest as _, Sha256};

const FILE_BYTES: usize = 64 * 1024;
const SKILLS: usize = 64;
const SKILL_HEAD_BYTES: usize = 16 * 1024;
const NAME_BYTES: usize = 100;
const DESCRIPTION_BYTES: usize = 1024;

pub(crate) fn gather(home: &Path, directory: &Path) -> ContextAnswer {
    let own = home.join(".atelier");
    let files = [own.as_path(), directory].into_iter().filter_map(|folder| instructions(home, folder)).collect();
    let mut answer = ContextAnswer {
        os: os_name(),
        directory: directory.display().to_string(),
        files,
        skills: skills(home, directory),
        hash: String::new(),
    };
    let text = serde_json::to_vec(&answer).expect("an answer has only text");
    answer.hash = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    answer
}

fn os_name() -> String {
    let files = ["/etc/os-release", "/usr/lib/os-release"];
    let text = files.iter().find_map(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| std::env::consts::OS.to_owned(), |name| name.trim_matches('"').to_owned())
}

/// `AGENTS.md`, however it is written, of one folder.
fn instructions(home: &Path, folder: &Path) -> Option<ContextFile> {
    let root = Root::open(home, folder).ok()?;
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.eq_ignore_ascii_case("agents.md")))
        .collect();
    names.sort();
    let path = names.first()?;
    let (bytes, truncated) = root.read_start(Path::new(path.file_name()?), FILE_BYTES).ok()?;
    let content = clean(&String::from_utf8_lossy(&bytes));
    (!content.trim().is_empty()).then(|| ContextFile { path: path.display().to_string(), content, truncated })
}

/// A folder from which files are read without following links.
struct Root(rustix::fd::OwnedFd);

impl Root {
    /// The folder itself may be reached through links as long as they do not lead out of the home folder.
    fn open(home: &Path, folder: &Path) -> io::Result<Self> {
        let real = std::fs::canonicalize(folder)?;
        if folder.starts_with(home) && !real.starts_with(std::fs::canonicalize(home)?) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Self(openat(CWD, &real, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// The first bytes of a regular file, and whether there are more.
    fn read_start(&self, path: &Path, limit: usize) -> io::Result<(Vec<u8>, bool)> {
        // A pipe or device in the file's place must not block.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let file = File::from(openat2(&self.0, path, flags, Mode::empty(), resolve)?);
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        let truncated = bytes.len() > limit;
        bytes.truncate(limit);
        Ok((bytes, truncated))
    }
}

/// Takes out what a person who looks at the file does not see: comments and invisible characters.
fn clean(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("<!--") {
        visible.push_str(&rest[..start]);
        // A comment without end hides all that follows.
        rest = rest[start..].find("-->").map_or("", |end| &rest[start + end + 3..]);
    }
    visible.push_str(rest);
    let visible = visible.replace("\r\n", "\n").replace('\r', "\n");
    visible.chars().filter(|c| !is_invisible(*c)).collect()
}

fn is_invisible(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{180b}'..='\u{180f}'
        | '\u{3164}'
        | '\u{feff}' => true,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' => true,
        '\u{e0000}'..='\u{e0fff}' => true,
        c => c.is_control(),
    }
}

fn skills(home: &Path, directory: &Path) -> Vec<ContextSkill> {
    let relative = Path::new(".agents/skills");
    let (Ok(root), Ok(entries)) = (Root::open(home, directory), std::fs::read_dir(directory.join(relative))) else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(relative.join(entry.ok()?.file_name()))).collect();
    folders.sort();
    folders.iter().filter_map(|folder| skill(&root, directory, folder)).take(SKILLS).collect()
}

fn skill(root: &Root, directory: &Path, folder: &Path) -> Option<ContextSkill> {
    let relative = folder.join("SKILL.md");
    let (bytes, _) = root.read_start(&relative, SKILL_HEAD_BYTES).ok()?;
    let text = clean(&String::from_utf8_lossy(&bytes));
    let (name, description) = front_matter(&text);
    let name = name.unwrap_or_else(|| folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
    Some(ContextSkill {
        name: atelier_domain::text::head(&name, NAME_BYTES).to_owned(),
        description: atelier_domain::text::head(&description.unwrap_or_default(), DESCRIPTION_BYTES).to_owned(),
        path: directory.join(relative).display().to_string(),
    })
}

/// `name` and `description` between the two `---` lines. A value may go on in indented lines.
fn front_matter(text: &str) -> (Option<String>, Option<String>) {
    let (mut name, mut description) = (None, None);
    let mut lines = text.lines().peekable();
    if lines.next().map(str::trim_end) != Some("---") {
        return (None, None);
    }
    while let Some(line) = lines.next().filter(|line| line.trim_end() != "---") {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let mut value = value.trim().to_owned();
        if matches!(value.as_str(), ">" | "|" | ">-" | "|-") {
            value.clear();
        }
        while let Some(more) = lines.next_if(|line| line.starts_with([' ', '\t'])) {
            if !value.is_empty() {
                value.push(' ');
            }
            value.push_str(more.trim());
        }
        let quoted = |quote| value.len() >= 2 && value.starts_with(quote) && value.ends_with(quote);
        if quoted('"') || quoted('\'') {
            value = value[1..value.len() - 1].to_owned();
        }
        match key.trim() {
            "name" if !value.is_empty() => name = Some(value),
            "description" if !value.is_empty() => description = Some(value),
            _ => {}
        }
    }
    (name, description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_skills_are_found_cleaned_and_hashed() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("app");
        let skill = directory.join(".agents/skills/release");
        std::fs::create_dir_all(&skill).unwrap();
        std::fs::create_dir(home.path().join(".atelier")).unwrap();
        std::fs::write(home.path().join(".atelier/agents.md"), "mine").unwrap();
        std::fs::write(directory.join("AGENTS.md"), "a<!-- hidden -->b\r\nc\u{200b}\u{e0041}d<!-- open").unwrap();
        std::fs::write(
            skill.join("SKILL.md"),
            "---\nname: 'Release it'\ndescription: >\n  How to\n  release.\n---\ntext\n",
        )
        .unwrap();
        let answer = gather(home.path(), &directory);
        assert_eq!(answer.files.iter().map(|file| file.content.as_str()).collect::<Vec<_>>(), ["mine", "ab\ncd"]);
        assert_eq!(
            (answer.skills[0].name.as_str(), answer.skills[0].description.as_str()),
            ("Release it", "How to release.")
        );
        assert_eq!(answer.hash.len(), 64);
        assert_eq!(gather(home.path(), &directory), answer);
        std::fs::write(directory.join("AGENTS.md"), "other").unwrap();
        assert_ne!(gather(home.path(), &directory).hash, answer.hash);
    }

    #[test]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(outside.path().join("skills/steal")).unwrap();
        for name in ["AGENTS.md", "skills/steal/SKILL.md"] {
            std::fs::write(outside.path().join(name), "secret").unwrap();
        }
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("app");
        std::fs::create_dir_all(directory.join(".agents")).unwrap();
        symlink(outside.path().join("AGENTS.md"), directory.join("AGENTS.md")).unwrap();
        symlink(outside.path().join("skills"), directory.join(".agents/skills")).unwrap();
        symlink(outside.path(), home.path().join(".atelier")).unwrap();
        let answer = gather(home.path(), &directory);
        assert_eq!((answer.files.len(), answer.skills.len()), (0, 0), "{answer:?}");

        // The folder of the workspace may be a link that stays in the home folder.
        std::fs::remove_file(directory.join("AGENTS.md")).unwrap();
        std::fs::write(directory.join("AGENTS.md"), "mine").unwrap();
        symlink(&directory, home.path().join("link")).unwrap();
        assert_eq!(gather(home.path(), &home.path().join("link")).files[0].content, "mine");
        symlink(outside.path(), home.path().join("away")).unwrap();
        assert_eq!(gather(home.path(), &home.path().join("away")).files.len(), 0);
    }

    #[test]
    fn a_pipe_in_the_files_place_does_not_block_and_long_files_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("AGENTS.md");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert_eq!(instructions(folder.path(), folder.path()), None);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "x".repeat(FILE_BYTES + 1)).unwrap();
        let file = instructions(folder.path(), folder.path()).unwrap();
        assert!(file.truncated && file.content.len() == FILE_BYTES);
    }
}
