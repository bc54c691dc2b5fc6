//! The start of a workspace: clone, then start-up script (`workspaces.md` 6).
//!
//! Both are commands of the ledger with a token of their own, named after the start. So an agent that is
//! restarted meanwhile goes on waiting for the same ones, and one that is restarted later finds that they
//! are done.

use atelier_domain::Chain;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atelier_workspace_protocol::{
    EventKind, LifecycleState, LogLevel, LogStage, Manifest, ManifestRepository, ProcessState,
};
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::api::Caller;
use crate::ledger::CallKey;
use crate::paths;
use crate::processes::{NewProcess, Part};
use crate::storage::{self, Durability};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
const LOG_LINE_BYTES: usize = 8 * 1024;
const LOG_TAIL_BYTES: usize = 4 * 1024;
const PAGE_BYTES: usize = 32 * 1024;
const PAGE_WAIT: Duration = Duration::from_secs(60);

/// Clones beside the place and moves the whole thing there, so that a half clone is never taken for one.
const CLONE_SCRIPT: &str = r#"set -e
rm -rf -- "$CLONE_PART"
mkdir -p -- "$CLONE_PARENT"
git clone ${CLONE_BRANCH:+--branch "$CLONE_BRANCH"} -- "$CLONE_URL" "$CLONE_PART"
case "$CLONE_ORIGIN" in
  keep) ;;
  remove) git -C "$CLONE_PART" remote remove origin ;;
  *) git -C "$CLONE_PART" remote set-url origin "${CLONE_ORIGIN#set:}" ;;
esac
if [ -d "$CLONE_TARGET" ]; then rmdir -- "$CLONE_TARGET"; fi
mv -- "$CLONE_PART" "$CLONE_TARGET"
"#;

/// How a start went. Kept in the state folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outcome {
    start_id: String,
    state: LifecycleState,
    exit_code: Option<i32>,
    log_tail: Option<String>,
}

pub(crate) async fn run(agent: &Agent) {
    let file = agent.config().state.join("startup.json");
    let start_id = &agent.manifest().start_id;
    match storage::read_json::<Outcome>(&file) {
        Ok(Some(outcome)) if outcome.start_id == *start_id => return report(agent, outcome),
        Ok(_) => {}
        Err(error) => tracing::warn!(error = %Chain(&error), "the outcome of the last start cannot be read"),
    }
    report(agent, outcome(agent, LifecycleState::Starting, None, None));
    let timeout = agent.manifest().startup_timeout_ms.map_or(DEFAULT_TIMEOUT, Duration::from_millis);
    let steps = steps(agent);
    tokio::pin!(steps);
    let outcome = match tokio::time::timeout(timeout, &mut steps).await {
        Ok(outcome) => outcome,
        Err(_) => {
            report(agent, outcome(agent, LifecycleState::StartTimeout, None, None));
            log(agent, LogStage::Script, LogLevel::Warn, "the start takes longer than its time limit; it goes on");
            steps.await
        }
    };
    if let Err(error) = storage::write_json(&file, &outcome, Durability::Written) {
        tracing::warn!(error = %Chain(&error), "the outcome of the start cannot be kept");
    }
    report(agent, outcome);
}

async fn steps(agent: &Agent) -> Outcome {
    if let (Some(repository), Some(target)) =
        (&agent.manifest().repository, clone_target(agent.home(), agent.manifest()))
        && is_missing_or_empty(&target)
        && let Some(failed) = run_step(agent, LogStage::Clone, clone_process(agent, repository, &target)).await
    {
        return failed;
    }
    if let Some(script) = &agent.manifest().startup_script
        && let Some(failed) = run_step(agent, LogStage::Script, script_process(agent, "script", script)).await
    {
        return failed;
    }
    outcome(agent, LifecycleState::Ready, None, None)
}

/// Runs one command of the start, its output as log; the outcome if it fails.
async fn run_step(agent: &Agent, stage: LogStage, process: NewProcess) -> Option<Outcome> {
    let failed = |exit_code, tail| Some(outcome(agent, LifecycleState::StartError, exit_code, tail));
    let begun = match agent.processes().begin(process).await {
        Ok(begun) => begun,
        Err(error) => {
            log(agent, stage, LogLevel::Error, &error.body.message);
            return failed(None, Some(error.body.message));
        }
    };
    // What an agent before this one has told is not told again.
    let mut offset = if begun.attached { i64::MAX } else { 0 };
    let mut lines = Lines::default();
    let caller = Caller::default();
    loop {
        let part = Part::Page { offset, limit: PAGE_BYTES };
        let Ok(page) = agent.processes().output(&caller, &begun.process_id, part, PAGE_WAIT).await else {
            break;
        };
        for line in lines.add(&page.output) {
            log(agent, stage, LogLevel::Info, &line);
        }
        offset = i64::try_from(page.next_offset).unwrap_or(i64::MAX);
        if page.eof == Some(true) {
            break;
        }
    }
    if let Some(line) = lines.rest() {
        log(agent, stage, LogLevel::Info, &line);
    }
    let (exit_code, state) = agent.processes().ended(&begun.process_id).await.unwrap_or((None, ProcessState::Lost));
    if exit_code == Some(0) {
        return None;
    }
    let reason = match (exit_code, state) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, ProcessState::Lost) => "was lost".to_owned(),
        (None, _) => "was ended by a signal".to_owned(),
    };
    log(agent, stage, LogLevel::Error, &format!("{} {reason}", stage.as_str()));
    let whole = agent.processes().output(&caller, &begun.process_id, Part::HeadAndTail, Duration::ZERO).await;
    failed(exit_code, whole.ok().map(|whole| atelier_domain::text::tail(&whole.output, LOG_TAIL_BYTES).to_owned()))
}

fn outcome(agent: &Agent, state: LifecycleState, exit_code: Option<i32>, log_tail: Option<String>) -> Outcome {
    Outcome { start_id: agent.manifest().start_id.clone(), state, exit_code, log_tail }
}

fn report(agent: &Agent, outcome: Outcome) {
    agent.events().push(EventKind::Lifecycle {
        state: outcome.state,
        exit_code: outcome.exit_code,
        log_tail: outcome.log_tail,
        has_script: agent.manifest().startup_script.is_some(),
    });
}

fn log(agent: &Agent, stage: LogStage, level: LogLevel, line: &str) {
    let output = atelier_domain::text::head(line, LOG_LINE_BYTES).to_owned();
    agent.events().push(EventKind::Log { stage, level, output });
}

/// Where the repository is cloned to.
pub(crate) fn clone_target(home: &Path, manifest: &Manifest) -> Option<PathBuf> {
    let repository = manifest.repository.as_ref()?;
    if let Some(path) = &repository.path {
        return paths::resolve(home, home, path).ok();
    }
    let last = repository.url.trim_end_matches('/').rsplit(['/', ':']).next()?;
    let name = last.trim_end_matches(".git").trim_end_matches(".bundle");
    (!name.is_empty() && name != "." && name != "..").then(|| home.join(name))
}

fn is_missing_or_empty(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn clone_process(agent: &Agent, repository: &ManifestRepository, target: &Path) -> NewProcess {
    let target_text = target.display().to_string();
    let part = format!("{target_text}.atelier-clone");
    let parent = target.parent().unwrap_or(Path::new("/")).display().to_string();
    let origin = match repository.origin.as_deref() {
        None => "keep".to_owned(),
        Some("") => "remove".to_owned(),
        Some(url) => format!("set:{url}"),
    };
    let mut process = script_process(agent, "clone", CLONE_SCRIPT);
    process.workdir = agent.home().to_owned();
    process.env = agent.environment().of_script(&[
        ("CLONE_URL", &repository.url),
        ("CLONE_BRANCH", repository.branch.as_deref().unwrap_or_default()),
        ("CLONE_TARGET", &target_text),
        ("CLONE_PART", &part),
        ("CLONE_PARENT", &parent),
        ("CLONE_ORIGIN", &origin),
    ]);
    process
}

/// A script of the template, once for each start and name.
pub(crate) fn script_process(agent: &Agent, name: &str, script: &str) -> NewProcess {
    NewProcess {
        command: script.to_owned(),
        workdir: agent.directory(),
        env: agent.environment().of_script(&[]),
        shell: agent.environment().shell(),
        background: false,
        chat_id: None,
        ancestors: Vec::new(),
        call: Some(CallKey { token: format!("start:{name}:{}", agent.manifest().start_id), digest: name.to_owned() }),
    }
}

/// Pieces of output as lines of a log.
#[derive(Default)]
struct Lines {
    rest: String,
}

impl Lines {
    fn add(&mut self, piece: &str) -> Vec<String> {
        self.rest.push_str(piece);
        let mut lines = Vec::new();
        while let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            lines.push(line.trim_end().to_owned());
        }
        while self.rest.len() > LOG_LINE_BYTES {
            let len = atelier_domain::text::head(&self.rest, LOG_LINE_BYTES).len();
            lines.push(self.rest.drain(..len).collect());
        }
        lines
    }

    fn rest(self) -> Option<String> {
        (!self.rest.is_empty()).then_some(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clone_lies_where_the_template_says_or_below_home() {
        let target = |repository: serde_json::Value| {
            let manifest = serde_json::json!({
                "start_id": "b", "workspace": {"id": "w", "name": "box", "owner": "ada"}, "repository": repository,
            });
            clone_target(Path::new("/h"), &serde_json::from_value(manifest).unwrap())
                .map(|path| path.display().to_string())
        };
        assert_eq!(target(serde_json::json!({"url": "https://git.example/a/app.git"})).as_deref(), Some("/h/app"));
        assert_eq!(target(serde_json::json!({"url": "git@git.example:app"})).as_deref(), Some("/h/app"));
        assert_eq!(target(serde_json::json!({"url": "x", "path": "~/calc"})).as_deref(), Some("/h/calc"));
        assert_eq!(target(serde_json::json!({"url": "https://git.example/.."})), None);
    }

    #[test]
    fn lines_are_joined_over_pieces_and_long_ones_are_cut() {
        let mut lines = Lines::default();
        assert_eq!(lines.add("a\nb"), ["a"]);
        assert_eq!(lines.add("c\n\nd"), ["bc", ""]);
        let long = lines.add(&"é".repeat(LOG_LINE_BYTES));
        assert!(long.iter().all(|line| line.len() <= LOG_LINE_BYTES));
        assert!(lines.rest().is_some());
    }
}
