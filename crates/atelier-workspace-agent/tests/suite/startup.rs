//! Clone and start-up script.

use std::process::Command;

use atelier_workspace_protocol::{EventKind, LifecycleState, ManifestRepository};

use crate::support::{Client, Workspace, until};

fn lifecycle(state: LifecycleState) -> impl Fn(&atelier_workspace_protocol::Event) -> bool {
    move |event| matches!(event.kind, EventKind::Lifecycle { state: got, .. } if got == state)
}

fn bundle(workspace: &Workspace) -> String {
    let repository = workspace.path("source");
    let script = "git init -q -b main source && cd source && echo hi > file && git add -A \
                  && git -c user.name=a -c user.email=a@b commit -qm first && git bundle create -q ../app.bundle HEAD main";
    let status = Command::new("sh").arg("-c").arg(script).current_dir(workspace.home()).status().unwrap();
    assert!(status.success());
    std::fs::remove_dir_all(repository).unwrap();
    workspace.path("app.bundle").display().to_string()
}

#[tokio::test]
async fn a_start_clones_then_runs_the_script_in_the_clone_once() {
    let mut workspace = Workspace::new();
    let url = bundle(&workspace);
    workspace.manifest.repository =
        Some(ManifestRepository { url, branch: Some("main".into()), path: None, origin: Some(String::new()) });
    workspace.manifest.startup_script = Some("echo working in $PWD; echo x >> ~/count; cat file".into());
    let agent = workspace.agent();
    agent.start_up().await;
    let client = Client::of(&agent);
    let events = client.events_until(0, lifecycle(LifecycleState::Ready)).await;
    assert!(matches!(events[0].kind, EventKind::Lifecycle { state: LifecycleState::Starting, has_script: true, .. }));
    let lines: Vec<&str> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Log { output, .. } => Some(output.as_str()),
            _ => None,
        })
        .collect();
    let app = workspace.path("app");
    assert!(lines.iter().any(|line| line.starts_with("Cloning into")), "{lines:?}");
    assert_eq!(lines[lines.len() - 2..], [format!("working in {}", app.display()).as_str(), "hi"]);
    let remotes = Command::new("git").args(["remote"]).current_dir(&app).output().unwrap();
    assert_eq!(remotes.stdout, b"");
    assert_eq!(client.get("/v1/hello").await["directory"], app.to_str().unwrap());
    // It is the workspace's own: no chat sees it.
    assert_eq!(client.get("/v1/processes").await["processes"].as_array().unwrap().len(), 0);

    // The same start again, as after a restart of the agent; then the next start.
    let agent = workspace.agent();
    agent.start_up().await;
    assert_eq!(Client::of(&agent).events_until(0, |_| true).await[0].seq, 1);
    assert_eq!(std::fs::read_to_string(workspace.path("count")).unwrap(), "x\n");
    std::fs::write(app.join("file"), "mine").unwrap();
    workspace.manifest.start_id = "start-2".into();
    let agent = workspace.agent();
    agent.start_up().await;
    assert_eq!(std::fs::read_to_string(workspace.path("count")).unwrap(), "x\nx\n");
    assert_eq!(std::fs::read_to_string(app.join("file")).unwrap(), "mine");
}

#[tokio::test]
async fn a_failing_step_is_a_start_error_with_its_last_words() {
    let mut workspace = Workspace::new();
    workspace.manifest.startup_script = Some("echo trying; echo 'it broke' >&2; exit 5".into());
    let agent = workspace.agent();
    agent.start_up().await;
    let events = Client::of(&agent).events_until(0, lifecycle(LifecycleState::StartError)).await;
    let EventKind::Lifecycle { exit_code, log_tail, .. } = &events.last().unwrap().kind else { panic!() };
    assert_eq!((*exit_code, log_tail.as_deref()), (Some(5), Some("trying\nit broke\n")));

    workspace.manifest.start_id = "start-2".into();
    let url = workspace.path("missing.bundle").display().to_string();
    workspace.manifest.repository = Some(ManifestRepository { url, branch: None, path: None, origin: None });
    let agent = workspace.agent();
    agent.start_up().await;
    let events = Client::of(&agent).events_until(0, lifecycle(LifecycleState::StartError)).await;
    assert!(
        events
            .iter()
            .any(|event| matches!(&event.kind, EventKind::Log { output, .. } if output.contains("missing.bundle")))
    );
    assert!(!workspace.path("missing").exists() && !workspace.path("missing.atelier-clone").exists());
    // Commands start at home meanwhile.
    assert_eq!(Client::of(&agent).execute("pwd").await["output"], format!("{}\n", workspace.home().display()));
}

#[tokio::test]
async fn a_slow_start_is_told_and_goes_on_over_a_restart_of_the_agent() {
    let mut workspace = Workspace::new();
    workspace.manifest.startup_timeout_ms = Some(50);
    workspace.manifest.startup_script =
        Some("echo x >> count; while [ ! -e go ]; do sleep 0.01; done; echo done".into());
    let agent = workspace.agent();
    let running = tokio::spawn({
        let agent = agent.clone();
        async move { agent.start_up().await }
    });
    Client::of(&agent).events_until(0, lifecycle(LifecycleState::StartTimeout)).await;
    until("the script runs", || workspace.path("count").exists()).await;
    running.abort();
    drop(agent);
    let agent = workspace.agent();
    std::fs::write(workspace.path("go"), "").unwrap();
    agent.start_up().await;
    Client::of(&agent).events_until(0, lifecycle(LifecycleState::Ready)).await;
    assert_eq!(std::fs::read_to_string(workspace.path("count")).unwrap(), "x\n");
}
