//! The whole way with the real workspace agent in bubblewrap.

use atelier_daemon::workspace::{Method, WorkspaceCreateArgs};
use atelier_domain::CallToken;
use atelier_store::Transition;
use atelier_workspaces::drivers::local::SandboxChoice;
use serde_json::json;

use crate::host::{Engine, Host, json_of, request, run};

async fn w61_start_connect_stop_start_delete_on_a_restarted_server(engine: Engine) {
    let mut host = Host::with_agent(engine, SandboxChoice::Bubblewrap).await;
    let spec = json!({ "startup_script": "echo begun >> ~/starts", "shutdown_script": "echo ended >> ~/starts", "parameters": [{ "name": "word", "default": "\"; rm -rf ~ #" }] });
    let id = host.workspace("box", spec).await;
    let connection = host.connect(id).await;
    host.wait_for(id, "ready", |view| view.agent.as_ref().is_some_and(|agent| agent.lifecycle.as_str() == "ready"))
        .await;
    assert_eq!(run(&*connection, "echo hello; cat ~/starts").await, "hello\nbegun\n");
    assert_eq!(run(&*connection, "printf %s \"$ATELIER_PARAM_WORD\"").await, "\"; rm -rf ~ #");

    // W65, and W47: the token is in no environment.
    let status = run(&*connection, "id -u; grep CapEff /proc/self/status; env").await;
    if rustix::process::geteuid().is_root() {
        assert!(status.starts_with(&format!("{}\n", host.first_user + 1)), "{status}");
    }
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    assert!(!status.contains("atag_") && !status.contains("CARGO"), "{status}");

    // A command goes on while the server is away, and the restarted one sees its end.
    let mut start = request(
        Method::Post,
        "/v1/processes",
        Some(json!({ "command": "while [ ! -e ~/go ]; do sleep 0.05; done; echo done", "background": true })),
    );
    start.context.call = Some((CallToken::new(), "1".repeat(64)));
    let process = json_of(&connection.request(start).await.unwrap())["process_id"].as_str().unwrap().to_owned();
    let ledger = connection.ledger_id();
    drop(connection);
    host.restart().await;
    let connection = host.connect(id).await;
    assert_eq!(connection.ledger_id(), ledger);
    run(&*connection, "touch ~/go").await;
    let path = format!("/v1/processes/{process}/output?wait_ms=60000");
    let answer = json_of(&connection.request(request(Method::Get, &path, None)).await.unwrap());
    assert_eq!((&answer["exit_code"], &answer["output"]), (&json!(0), &json!("done\n")), "{answer}");

    host.build(id, Transition::Stop).await;
    host.build(id, Transition::Start).await;
    let connection = host.connect(id).await;
    host.wait_for(id, "ready", |view| view.agent.as_ref().is_some_and(|agent| agent.lifecycle.as_str() == "ready"))
        .await;
    assert_eq!(
        run(&*connection, "cat ~/starts").await,
        "begun\nended\nbegun\n",
        "home is kept, the script runs at each start"
    );

    host.build(id, Transition::Delete).await;
}

async fn the_demo_repository_is_cloned_for_a_chat(engine: Engine) {
    let host = Host::with_agent(engine, SandboxChoice::Bubblewrap).await;
    let template = host.service.demo_template_ensure(host.organization, host.ada).await.unwrap();
    let again = host.service.demo_template_ensure(host.organization, host.ada).await.unwrap();
    assert_eq!((template.id, template.active_version_id), (again.id, again.active_version_id));
    let chat = host.chat().await;
    let args = WorkspaceCreateArgs { template: "demo".into(), name: None, parameters: Vec::new(), ttl_ms: 0 };
    let report = host.tools().workspace_create(host.caller(chat), args).await.unwrap();
    assert_eq!(report.fields["agent_status"], "connected", "{:?}", report.fields);
    assert_eq!(report.fields["lifecycle_state"], "ready", "{:?}", report.fields);
    let connection = host.connect(report.workspace_id).await;
    let output = run(&*connection, "pwd; ls; git status --short; git remote; sh test.sh").await;
    assert!(
        output.starts_with("/home/atelier/calc\nAGENTS.md\nREADME.md\ncalc.sh\ntest.sh\nFAILED  calc.sh add"),
        "{output}"
    );
    assert!(output.contains("2 passed, 1 failed"), "{output}");
}

async fn without_bubblewrap_landlock_shuts_in(engine: Engine) {
    let mut host = Host::with_agent(engine, SandboxChoice::Landlock).await;
    let other = host.workspace("other", json!({})).await;
    run(&*host.connect(other).await, "echo secret > ~/secret").await;
    let id = host.workspace("box", json!({})).await;
    let connection = host.connect(id).await;
    let data = host.data.path().display();
    let command = format!(
        "id -u; touch ~/mine && echo wrote; for path in {data}/atelier.db {data}/workspaces/{other}/home/secret \
         {data}/workspaces/{other}/run/token /etc/shadow /proc/{}/environ; do \
         cat $path >/dev/null 2>&1 && echo saw $path; done; ls {data}/workspaces/{other} /tmp 2>/dev/null; echo x > $TMPDIR/x && echo tmp; ls /dev/shm 2>/dev/null; touch /dev/shm/x 2>/dev/null && echo shm; kill -0 {} 2>/dev/null && echo signal; true",
        std::process::id(),
        std::process::id(),
    );
    let output = run(&*connection, &command).await;
    if rustix::process::geteuid().is_root() {
        // Each workspace has a user of its own, so it does not get at the sockets of others either.
        let ask = |workspace| {
            format!(
                "perl -MIO::Socket::UNIX -e 'print IO::Socket::UNIX->new($ARGV[0]) ? \"there\\n\" : \"$!\\n\"' \
                 {data}/workspaces/{workspace}/run/agent.sock"
            )
        };
        assert_eq!(run(&*connection, &ask(id)).await, "there\n");
        assert_eq!(run(&*connection, &ask(other)).await, "Permission denied\n");
    }
    let user = if rustix::process::geteuid().is_root() {
        (host.first_user + 2).to_string()
    } else {
        rustix::process::geteuid().as_raw().to_string()
    };
    assert_eq!(output, format!("{user}\nwrote\ntmp\n"));

    // A background command is left over when init ends; stopping still ends everything.
    let mut start = request(
        Method::Post,
        "/v1/processes",
        Some(json!({ "command": "while :; do sleep 1; done", "background": true })),
    );
    start.context.call = Some((CallToken::new(), "1".repeat(64)));
    json_of(&connection.request(start).await.unwrap());
    host.restart().await;
    host.connect(id).await;
    host.build(id, Transition::Stop).await;
    let folder = host.folder(id).display().to_string();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let is_inside = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|place| place.starts_with(&folder));
        assert!(!is_inside && !line.contains(&folder), "left over: {line}");
    }
}

on_both_databases!(
    w61_start_connect_stop_start_delete_on_a_restarted_server,
    the_demo_repository_is_cloned_for_a_chat,
    without_bubblewrap_landlock_shuts_in,
);
