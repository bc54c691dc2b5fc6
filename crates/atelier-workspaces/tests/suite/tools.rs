//! What the tools of a turn get: templates, and workspaces made for a chat.

use atelier_daemon::tool_error::ToolErrorCode;
use atelier_daemon::workspace::WorkspaceCreateArgs;
use atelier_store::{BuildState, Transition};
use atelier_workspaces::BuildCreate;
use serde_json::json;

use crate::host::{Engine, Host};

fn args(template: &str) -> WorkspaceCreateArgs {
    WorkspaceCreateArgs { template: template.into(), name: None, parameters: Vec::new(), ttl_ms: 0 }
}

async fn templates_are_listed_in_pages_and_read_by_id_or_name(engine: Engine) {
    let host = Host::without_agent(engine).await;
    for number in 0..12 {
        host.template(&format!("t{number:02}"), json!({})).await;
    }
    let spec = json!({
        "autostop": { "default_ttl_ms": 3_600_000 },
        "parameters": [{ "name": "branch", "default": "main", "mutable": true }],
    });
    let with_parameters = host.template("zz-parameters", spec).await;
    let first = host.tools().template_list(host.ada, None, 1).await.unwrap();
    assert_eq!((first.templates.len(), first.total_pages, first.total_count), (10, 2, 13));
    assert_eq!(host.tools().template_list(host.ada, None, 2).await.unwrap().templates.len(), 3);
    assert_eq!(host.tools().template_list(host.ada, None, 9).await.unwrap().templates.len(), 0);
    let found = host.tools().template_list(host.ada, Some("PARAM".into()), 1).await.unwrap();
    assert_eq!(found.total_count, 1);
    let by_id = host.tools().template_read(host.ada, with_parameters.id.to_string()).await.unwrap();
    let by_name = host.tools().template_read(host.ada, "zz-parameters".into()).await.unwrap();
    assert_eq!(by_id, by_name);
    assert_eq!(by_id["default_ttl_ms"], 3_600_000);
    assert_eq!(by_id["parameters"][0]["name"], "branch");
    let error = host.tools().template_read(host.ada, "nothing".into()).await.unwrap_err();
    assert_eq!(error.code, ToolErrorCode::TemplateNotFound);
}

async fn w32_and_w34_a_chat_gets_one_workspace_however_often_it_asks(engine: Engine) {
    let mut host = Host::without_agent(engine).await;
    host.template("plain", json!({})).await;
    let chat = host.chat().await;
    let caller = host.caller(chat);
    let (first, second) = tokio::join!(
        host.tools().workspace_create(caller, args("plain")),
        host.tools().workspace_create(host.caller(chat), args("plain")),
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.workspace_id, second.workspace_id);
    assert!(first.changed != second.changed, "one of them made it");
    assert_eq!(host.store.workspaces_of(host.ada).await.unwrap().len(), 1);
    let bound = host.store.chat_get_for_system(chat).await.unwrap().unwrap();
    assert_eq!(bound.workspace_id, Some(first.workspace_id));
    // No agent in this host: that is a report, no error.
    assert_eq!(first.fields["status"], "running");
    assert_eq!(first.fields["agent_status"], "not_ready");
    assert!(first.fields["message"].as_str().unwrap().contains("start_workspace"), "{:?}", first.fields);

    // The same call after a restart of the server finds what it made.
    host.restart().await;
    let made_by = if first.changed { caller } else { host.caller(chat) };
    let again = host.tools().workspace_create(made_by, args("plain")).await.unwrap();
    assert_eq!((again.workspace_id, again.changed), (first.workspace_id, first.changed));

    // Stopped: it is named, not started.
    let stop = BuildCreate {
        workspace_id: first.workspace_id,
        initiator_id: host.ada,
        transition: Transition::Stop,
        template_version_id: None,
        parameters: Vec::new(),
    };
    host.service.build_create(stop).await.unwrap();
    host.wait_for_status(first.workspace_id, "stopped").await;
    let stopped = host.tools().workspace_create(host.caller(chat), args("plain")).await.unwrap();
    assert!(!stopped.changed);
    assert_eq!(stopped.fields["status"], "stopped");
    let error = host.tools().connect(first.workspace_id, host.ada, std::time::Duration::ZERO).await.err().unwrap();
    assert_eq!(error.code, ToolErrorCode::WorkspaceStopped);
    let caller = host.caller(chat);
    let started = host.tools().workspace_start(caller).await.unwrap();
    assert!(started.changed);
    assert_eq!(started.fields["status"], "running");
    assert_ne!(started.build_id, first.build_id);
    let repeated = host.tools().workspace_start(caller).await.unwrap();
    assert_eq!((repeated.build_id, repeated.changed), (started.build_id, true));
}

async fn wrong_arguments_and_missing_workspaces_say_what_to_do(engine: Engine) {
    let host = Host::without_agent(engine).await;
    host.template("strict", json!({ "parameters": [{ "name": "size", "type": "number" }] })).await;
    let chat = host.chat().await;
    let error = host.tools().workspace_start(host.caller(chat)).await.unwrap_err();
    assert_eq!(error.code, ToolErrorCode::NoWorkspace);
    let error = host.tools().workspace_create(host.caller(chat), args("none")).await.unwrap_err();
    assert_eq!(error.code, ToolErrorCode::TemplateNotFound);
    let error = host.tools().workspace_create(host.caller(chat), args("strict")).await.unwrap_err();
    assert_eq!(error.code, ToolErrorCode::InvalidParameters);
    assert_eq!(error.details["validations"][0]["field"], "parameters.size");
    assert_eq!(host.store.workspaces_of(host.ada).await.unwrap().len(), 0);
}

async fn w60_and_w66_one_build_at_a_time_and_a_lost_tree_is_a_stop(engine: Engine) {
    let host = Host::without_agent(engine).await;
    let id = host.workspace("box", json!({})).await;
    let build = |transition| BuildCreate {
        workspace_id: id,
        initiator_id: host.ada,
        transition,
        template_version_id: None,
        parameters: Vec::new(),
    };
    // The program ends only once the file is away, so until then the first build cannot end either.
    let hold = host.folder(id).join("home/hold");
    std::fs::write(&hold, "").unwrap();
    let stop = host.service.build_create(build(Transition::Stop)).await.unwrap();
    match host.service.build_create(build(Transition::Start)).await {
        Err(atelier_workspaces::OperationError::BuildInProgress(unfinished)) => assert_eq!(unfinished, stop.id),
        other => panic!("{other:?}"),
    }
    std::fs::remove_file(&hold).unwrap();
    host.wait_for_status(id, "stopped").await;
    host.service.build_create(build(Transition::Start)).await.unwrap();
    host.wait_for_status(id, "running").await;

    atelier_test_support::kill_processes_of(&host.folder(id));
    let view = host.wait_for_status(id, "stopped").await;
    assert_eq!((view.build.reason.as_str(), view.build.state), ("lost", BuildState::Succeeded));
    let error = host.tools().connect(id, host.ada, std::time::Duration::ZERO).await.err().unwrap();
    assert!(error.message.contains("ended unexpectedly"), "{error}");

    host.service.build_create(build(Transition::Delete)).await.unwrap();
    let deadline = tokio::time::Instant::now() + crate::host::PATIENCE;
    while host.service.workspace_view(id).await.unwrap().is_some() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::timeout(std::time::Duration::from_millis(50), host.service.changed(id)).await.ok();
    }
    assert!(!host.folder(id).exists());
    let error = host.tools().connect(id, host.ada, std::time::Duration::ZERO).await.err().unwrap();
    assert_eq!(error.code, ToolErrorCode::WorkspaceDeleted);
}

async fn a_build_that_cannot_work_fails_with_its_reason(engine: Engine) {
    let host = Host::without_agent(engine).await;
    host.template(
        "broken",
        json!({ "repository": { "url": "https://${param.host}/x" }, "parameters": [{ "name": "host" }] }),
    )
    .await;
    let chat = host.chat().await;
    let mut wrong = args("broken");
    wrong.parameters = vec![("host".into(), "-x".into())];
    let error = host.tools().workspace_create(host.caller(chat), wrong.clone()).await.unwrap_err();
    assert_eq!(error.code, ToolErrorCode::BuildFailed);
    assert!(error.message.contains("spec.repository.url"), "{error}");
    let failed = host.store.chat_get_for_system(chat).await.unwrap().unwrap().workspace_id.unwrap();
    let error = host.tools().connect(failed, host.ada, std::time::Duration::ZERO).await.err().unwrap();
    assert_eq!(error.code, ToolErrorCode::WorkspaceFailed);

    // Creating again makes a new one and deletes the failed one of this chat.
    let error = host.tools().workspace_create(host.caller(chat), wrong).await.unwrap_err();
    assert_eq!(error.code, ToolErrorCode::BuildFailed);
    let second = host.store.chat_get_for_system(chat).await.unwrap().unwrap().workspace_id.unwrap();
    assert_ne!(failed, second);
    let deadline = tokio::time::Instant::now() + crate::host::PATIENCE;
    while host.store.workspaces_of(host.ada).await.unwrap().len() > 1 {
        assert!(tokio::time::Instant::now() < deadline, "the failed workspace is not deleted");
        tokio::time::timeout(std::time::Duration::from_millis(50), host.service.changed(failed)).await.ok();
    }
}

on_both_databases!(
    templates_are_listed_in_pages_and_read_by_id_or_name,
    w32_and_w34_a_chat_gets_one_workspace_however_often_it_asks,
    wrong_arguments_and_missing_workspaces_say_what_to_do,
    w60_and_w66_one_build_at_a_time_and_a_lost_tree_is_a_stop,
    a_build_that_cannot_work_fails_with_its_reason,
);
