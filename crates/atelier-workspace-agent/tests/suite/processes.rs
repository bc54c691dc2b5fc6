//! Beginning, finding, signalling and losing commands.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use atelier_workspace_protocol::{EventKind, access, header};
use axum::http::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Client, DEADLINE, Workspace, is_alive, kill, until};

#[tokio::test]
async fn w5_a_failing_command_is_a_result() {
    let workspace = Workspace::new();
    let result = workspace.client().execute("echo out; echo err >&2; exit 3").await;
    assert_eq!(result["success"], false);
    assert_eq!(result["exit_code"], 3);
    assert_eq!(result["output"], "out\nerr\n");
    assert_eq!(result["output_bytes"], 8);
    assert_eq!(result["next_offset"], 8);
    assert!(result.get("truncated").is_none() && result.get("signal").is_none());
    let result = workspace.client().execute("kill -SEGV $$").await;
    assert_eq!((&result["exit_code"], &result["signal"]), (&Value::Null, &json!("SIGSEGV")));
}

#[tokio::test]
async fn w6_and_w7_a_command_outlives_the_wait() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let process = client.start("echo begun; while [ ! -e go ]; do sleep 0.01; done; echo done; exit 4").await;
    let page = client.get(&format!("/v1/processes/{process}/output?offset=0&wait_ms=60000")).await;
    assert_eq!((&page["output"], &page["running"], &page["eof"]), (&json!("begun\n"), &json!(true), &json!(false)));
    let result = client.get(&format!("/v1/processes/{process}/output?wait_ms=50")).await;
    assert_eq!(result["running"], true);
    assert_eq!((&result["success"], &result["exit_code"]), (&Value::Null, &Value::Null));
    std::fs::write(workspace.path("go"), "").unwrap();
    let result = client.result(&process).await;
    assert_eq!((&result["exit_code"], &result["output"]), (&json!(4), &json!("begun\ndone\n")));
    let listed = client.get("/v1/processes").await;
    assert_eq!(listed["processes"][0]["state"], "exited");
    assert_eq!(listed["processes"][0]["output_bytes"], 11);
}

#[tokio::test]
async fn commands_see_the_folder_and_an_environment_made_from_nothing() {
    let workspace = Workspace::new();
    std::fs::create_dir(workspace.path("sub")).unwrap();
    let client = workspace.client();
    let body = json!({"command": "pwd; env; ps -o sid= -p $$; ps -o pgid= -p $$; echo $$", "workdir": "sub", "env": {"A": "b c"}});
    let (status, started) = client.send("POST", "/v1/processes", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED);
    let output = client.result(started["process_id"].as_str().unwrap()).await["output"].as_str().unwrap().to_owned();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], workspace.path("sub").to_str().unwrap());
    for expected in ["A=b c", "ATELIER_CHAT_ID=chat-1", "EDITOR=true", "TERM=dumb", "ATELIER_WORKSPACE_NAME=box"] {
        assert!(lines.contains(&expected), "{expected} is missing in {output}");
    }
    assert!(!output.contains("SECRET"));
    let (session, group, own) = (lines[lines.len() - 3].trim(), lines[lines.len() - 2].trim(), lines[lines.len() - 1]);
    assert_eq!(group, own);
    assert_ne!(session, own_session());
}

/// The session of this process; "0" where its leader lives outside of this process's PID namespace.
fn own_session() -> String {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // pid (name) state ppid pgrp session ...; a name may have blanks and brackets
    let fields = stat.rsplit_once(')').unwrap().1;
    fields.split_ascii_whitespace().nth(3).unwrap().to_owned()
}

#[tokio::test]
async fn every_bad_field_is_named() {
    let client = Workspace::new().client();
    let body = json!({"command": "", "workdir": "/nowhere", "env": {"1A": "x", "B": "\0"}});
    let (status, error) = client.send("POST", "/v1/processes", Some(body)).await;
    assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_arguments")));
    let fields: Vec<&str> = error["detail"]["validations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["command", "env.1A", "env.B", "workdir"]);
    for (method, path) in [("GET", "/v1/processes/x/output?offset=a"), ("GET", "/v1/events?before=1")] {
        assert_eq!(client.send(method, path, None).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(client.send("GET", "/v1/nothing", None).await.1["code"], "route_not_found");
    assert_eq!(client.send("POST", "/v1/processes", Some(json!([1]))).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn w12_a_lone_ampersand_starts_in_the_background_and_nothing_asks_a_person() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let (_, started) = client.send("POST", "/v1/processes", Some(json!({"command": "sleep 60 &"}))).await;
    assert_eq!(started["background"], true);
    let process = started["process_id"].as_str().unwrap();
    let result = client.get(&format!("/v1/processes/{process}/output")).await;
    assert_eq!(result["running"], true);
    assert!(result["notes"][0].as_str().unwrap().contains("background"));
    assert_eq!(client.signal(process, json!({"signal": "kill"})).await.0, StatusCode::OK);

    let result =
        client.execute("read line; echo \"got $?\"; cat; [ -t 0 ] || echo no terminal; $EDITOR x; ls | $PAGER").await;
    assert!(result["output"].as_str().unwrap().starts_with("got 1\nno terminal\n"), "{result}");
    assert_eq!(result["exit_code"], 0);
}

#[tokio::test]
async fn w13_the_next_process_of_a_full_chat_is_refused() {
    let workspace = Workspace::with_limits(|limits| {
        limits.processes_per_chat = 2;
        limits.processes = 3;
    });
    let client = workspace.client();
    let first = client.start("sleep 60").await;
    client.start("sleep 60").await;
    let body = || Some(json!({"command": "sleep 60"}));
    let (status, error) = client.send("POST", "/v1/processes", body()).await;
    assert_eq!((status, &error["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("too_many_processes")));
    let other = client.chat("chat-2", "");
    other.start("sleep 60").await;
    let (_, error) = other.send("POST", "/v1/processes", body()).await;
    assert!(error["message"].as_str().unwrap().contains("workspace"), "{error}");
    client.signal(&first, json!({"signal": "kill"})).await;
    client.result(&first).await;
    client.start("sleep 60").await;
    assert_eq!(
        std::fs::read_dir(workspace.path("state/processes")).unwrap().count(),
        4,
        "a refused one leaves nothing"
    );
}

#[tokio::test]
async fn w14_a_process_is_its_chats_and_that_chats_ancestors() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let child = client.chat("child", "root");
    let process = child.start("echo hi; sleep 60").await;
    let path = format!("/v1/processes/{process}/output");
    for (reader, status) in [
        (child.clone(), StatusCode::OK),
        (client.chat("root", ""), StatusCode::OK),
        (client.chat("other", "root"), StatusCode::NOT_FOUND),
        (client.chat("grandchild", "child,root"), StatusCode::NOT_FOUND),
    ] {
        let (got, body) = reader.send("GET", &path, None).await;
        assert_eq!(got, status, "{body}");
        assert_eq!(
            reader.get("/v1/processes").await["processes"].as_array().unwrap().len(),
            usize::from(status == StatusCode::OK)
        );
        if status != StatusCode::OK {
            assert_eq!(body["code"], "unknown_process");
            let (got, _) = reader.signal(&process, json!({"signal": "kill"})).await;
            assert_eq!(got, StatusCode::NOT_FOUND);
        }
    }
    assert_eq!(client.chat("root", "").signal(&process, json!({"signal": "kill"})).await.0, StatusCode::OK);
}

#[tokio::test]
async fn w15_a_token_is_begun_once_also_by_many_at_a_time() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let keyed = client.keyed("token-1", "digest-1");
    let body = || Some(json!({"command": "echo x >> counter"}));
    let asked = futures::future::join_all((0..8).map(|_| keyed.send("POST", "/v1/processes", body()))).await;
    let ids: std::collections::BTreeSet<String> =
        asked.iter().map(|(_, body)| body["process_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(asked.iter().filter(|(status, _)| *status == StatusCode::CREATED).count(), 1);
    assert!(asked.iter().all(|(status, body)| (*status == StatusCode::OK) == (body["attached"] == true)));
    let process = ids.first().unwrap();
    client.result(process).await;

    let (status, error) = client.keyed("token-1", "digest-2").send("POST", "/v1/processes", body()).await;
    assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &json!("token_conflict")));

    let again = workspace.client();
    let (status, attached) = again.keyed("token-1", "digest-1").send("POST", "/v1/processes", body()).await;
    assert_eq!((status, &attached["process_id"]), (StatusCode::OK, &json!(process)));
    assert_eq!(std::fs::read_to_string(workspace.path("counter")).unwrap(), "x\n");
    let token = again.get("/v1/tokens/token-1").await;
    assert_eq!(
        (&token["state"], &token["process_id"], &token["digest"]),
        (&json!("known"), &json!(process), &json!("digest-1"))
    );
    assert_eq!(again.get("/v1/tokens/token-2").await["state"], "none");
    assert_eq!(token["ledger_id"], again.get("/v1/hello").await["ledger_id"]);
}

#[tokio::test]
async fn w50_a_new_agent_goes_on_with_what_runs() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let process = client.start("echo one; while [ ! -e go ]; do sleep 0.01; done; echo two; exit 7").await;
    let ended = client.start("echo ended").await;
    client.result(&ended).await;
    client.get(&format!("/v1/processes/{process}/output?offset=0&wait_ms=60000")).await;
    let (_, pid) = workspace.pids(&process);
    drop(client);

    let agent = workspace.agent();
    let client = Client::of(&agent);
    let result = client.get(&format!("/v1/processes/{process}/output")).await;
    assert_eq!((&result["running"], &result["output"]), (&json!(true), &json!("one\n")));
    assert_eq!(workspace.pids(&process).1, pid);
    assert_eq!(client.result(&ended).await["output"], "ended\n");
    std::fs::write(workspace.path("go"), "").unwrap();
    let result = client.result(&process).await;
    assert_eq!((&result["exit_code"], &result["output"]), (&json!(7), &json!("one\ntwo\n")));
    let events = client.events_until(0, |event| matches!(event.kind, EventKind::ProcessExit { .. })).await;
    assert!(
        matches!(&events[0].kind, EventKind::ProcessExit { process_id, exit_code: Some(7), .. } if *process_id == process)
    );

    drop(client);
    drop(agent);
    let result = workspace.client().result(&process).await;
    assert_eq!(result["exit_code"], 7);
    assert_eq!(Client::of(&workspace.agent()).get("/v1/processes").await["processes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn w51_a_killed_shim_is_lost_and_reported_and_its_command_ends() {
    let workspace = Workspace::new();
    let agent = workspace.agent();
    let client = Client::of(&agent);
    let process = client.keyed("token-1", "d").start("echo before; sleep 60").await;
    client.get(&format!("/v1/processes/{process}/output?offset=0&wait_ms=60000")).await;
    let (shim, command) = workspace.pids(&process);
    kill(shim, Signal::KILL);
    let result = client.result(&process).await;
    assert_eq!(
        (&result["success"], &result["exit_code"], &result["state"]),
        (&json!(false), &Value::Null, &json!("lost"))
    );
    assert_eq!(result["output"], "before\n");
    assert!(result["notes"][0].as_str().unwrap().contains("ended with the workspace"));
    until("the command is gone", || !is_alive(command)).await;
    let events = client.events_until(0, |event| matches!(event.kind, EventKind::ProcessExit { .. })).await;
    assert!(serde_json::to_value(&events[0]).unwrap()["state"] == "lost");
    assert_eq!(client.signal(&process, json!({"signal": "kill"})).await.0, StatusCode::CONFLICT);
    // It may have had effects, so its token stays used.
    let again = workspace.client().keyed("token-1", "d");
    let (status, body) = again.send("POST", "/v1/processes", Some(json!({"command": "echo before; sleep 60"}))).await;
    assert_eq!((status, &body["attached"]), (StatusCode::OK, &json!(true)));
}

#[tokio::test]
async fn a_command_that_never_began_is_forgotten_and_may_be_begun() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let process = client.keyed("token-1", "d").start("true").await;
    client.result(&process).await;
    drop(client);
    // As if the agent was killed between writing the folder and starting the shim.
    let folder = workspace.path("state/processes").join(&process);
    let is_free = || std::fs::File::open(folder.join("lock")).unwrap().try_lock_shared().is_ok();
    until("the shim has ended", is_free).await;
    for file in ["begun.json", "exit.json", "out.head"] {
        std::fs::remove_file(folder.join(file)).unwrap();
    }
    let client = workspace.client();
    assert!(!folder.exists());
    assert_eq!(client.get("/v1/tokens/token-1").await["state"], "none");
    client.keyed("token-1", "d").start("true").await;
}

#[tokio::test]
async fn w11_a_kill_reaches_what_left_the_session() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let process = client
        .start("setsid sh -c 'echo $$ > far; trap \"\" TERM; while :; do sleep 1; done' & echo $$ > near; wait")
        .await;
    let pid = |name: &str| -> i32 { std::fs::read_to_string(workspace.path(name)).unwrap().trim().parse().unwrap() };
    until("both run", || {
        ["far", "near"]
            .iter()
            .all(|name| std::fs::read_to_string(workspace.path(name)).is_ok_and(|text| text.ends_with('\n')))
    })
    .await;
    assert_eq!(client.signal(&process, json!({"signal": "kill"})).await.0, StatusCode::OK);
    let result = client.result(&process).await;
    assert_eq!((&result["signal"], &result["exit_code"]), (&json!("SIGKILL"), &Value::Null));
    until("both are gone", || !is_alive(pid("far")) && !is_alive(pid("near"))).await;
    let (status, error) = client.signal(&process, json!({"signal": "kill"})).await;
    assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &json!("process_ended")));
}

#[tokio::test]
async fn w18_a_command_that_ignores_the_request_is_killed_and_keeps_its_output() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let polite = client.start("trap 'echo bye; exit 9' TERM; echo hello; while :; do sleep 0.05; done").await;
    let stubborn = client.start("trap '' TERM; echo hello; while :; do sleep 0.05; done").await;
    for process in [&polite, &stubborn] {
        client.get(&format!("/v1/processes/{process}/output?offset=0&wait_ms=60000")).await;
    }
    let begun = Instant::now();
    for (process, kill_after_ms) in [(&polite, 600_000), (&stubborn, 600)] {
        client.signal(process, json!({"signal": "terminate", "kill_after_ms": kill_after_ms})).await;
    }
    let result = client.result(&polite).await;
    assert_eq!(result["exit_code"], 9);
    // The shell may add a word about its child.
    let output = result["output"].as_str().unwrap();
    assert!(output.starts_with("hello\n") && output.ends_with("bye\n"), "{output}");
    let result = client.result(&stubborn).await;
    assert_eq!((&result["signal"], &result["output"]), (&json!("SIGKILL"), &json!("hello\n")));
    assert!(begun.elapsed() >= Duration::from_millis(600));
    let interrupted = client.start("sleep 60").await;
    client.signal(&interrupted, json!({"signal": "interrupt"})).await;
    assert_eq!(client.result(&interrupted).await["signal"], "SIGINT");
}

#[tokio::test]
async fn a_shim_obeys_only_who_can_read_its_folder() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let process = client.start("sleep 300").await;
    let folder = workspace.path("state/processes").join(&process);
    for words in ["signal kill\n", "0123456789abcdef0123456789abcdef signal kill\n"] {
        let mut control = UnixStream::connect(folder.join("ctl.sock")).unwrap();
        control.write_all(words.as_bytes()).unwrap();
        let mut answer = String::new();
        control.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "");
    }
    let (shim, pid) = workspace.pids(&process);
    assert!(is_alive(pid));
    let line = std::fs::read(format!("/proc/{shim}/cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&line).contains(&process));
    let (_, answer) = client.signal(&process, json!({"signal": "kill"})).await;
    assert_eq!(answer["success"], true);
    assert_eq!(client.result(&process).await["signal"], "SIGKILL");
}

#[tokio::test]
async fn read_only_chats_run_nothing() {
    let workspace = Workspace::new();
    let client = workspace.client().with(header::ACCESS, access::READ_ONLY);
    let (status, error) = client.send("POST", "/v1/processes", Some(json!({"command": "touch ran"}))).await;
    assert_eq!((status, &error["code"]), (StatusCode::FORBIDDEN, &json!("read_only_unavailable")));
    assert!(!workspace.path("ran").exists());
    client.get("/v1/processes").await;
}

/// Numbers and names of what an ended command left running, once they are as wanted.
async fn left_running(client: &Client, process: &str, wanted: impl Fn(&[(i32, String)]) -> bool) -> Vec<(i32, String)> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let result = client.get(&format!("/v1/processes/{process}/output?wait_ms=60000")).await;
        assert_eq!(result["running"], false, "{result}");
        let left = result["left_running"].as_array().cloned().unwrap_or_default();
        let pid = |left: &Value| i32::try_from(left["pid"].as_i64().unwrap()).unwrap();
        let left: Vec<_> = left.iter().map(|one| (pid(one), one["command"].as_str().unwrap().to_owned())).collect();
        if wanted(&left) {
            return left;
        }
        assert!(Instant::now() < deadline, "not as wanted: {result}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_an_ended_command_left_running_is_named_and_signals_reach_it() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let far = "setsid sh -c 'trap \"\" TERM; echo $$ > far; while :; do sleep 60; done' >/dev/null 2>&1 &";
    let near = "sleep 61 >/dev/null 2>&1 &";
    let command = format!("{far} {near} while [ ! -s far ]; do sleep 0.01; done; echo done");
    let process = client.start(&command).await;
    // A shell, and what it runs; a process that was just made has its parent's name for a moment.
    let has = |left: &[(i32, String)], name: &str| left.iter().any(|(_, command)| command == name);
    let left = left_running(&client, &process, |left| has(left, "sleep 60") && has(left, "sleep 61")).await;
    assert_eq!(left.len(), 3, "{left:?}");
    let listed = client.get("/v1/processes").await;
    assert_eq!(listed["processes"][0]["left_running"].as_array().unwrap().len(), 3, "{listed}");

    // The next agent knows it too.
    let client = workspace.client();
    let (status, answer) = client.signal(&process, json!({"signal": "terminate"})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("left running"), "{answer}");
    let stubborn = left_running(&client, &process, |left| !has(left, "sleep 61")).await;
    assert_eq!(stubborn.len(), 2, "{stubborn:?}");
    let (status, _) = client.signal(&process, json!({"signal": "kill"})).await;
    assert_eq!(status, StatusCode::OK);
    left_running(&client, &process, <[_]>::is_empty).await;
    for (pid, command) in &left {
        assert!(!is_alive(*pid), "{command}");
    }
    assert!(client.get("/v1/processes").await["processes"][0].get("left_running").is_none());
    let deadline = Instant::now() + DEADLINE;
    while client.signal(&process, json!({"signal": "kill"})).await.0 != StatusCode::CONFLICT {
        assert!(Instant::now() < deadline, "nobody is left to be signalled");
    }
}

#[tokio::test]
async fn a_comment_that_ends_in_an_ampersand_does_not_send_a_command_to_the_background() {
    let client = Workspace::new().client();
    let (_, started) = client.send("POST", "/v1/processes", Some(json!({"command": "echo a # note &"}))).await;
    assert_eq!(started["background"], false);
    assert_eq!(client.result(started["process_id"].as_str().unwrap()).await["output"], "a\n");
}

#[tokio::test]
async fn a_command_that_removes_the_agents_folders_is_lost_and_the_next_one_works() {
    let workspace = Workspace::new();
    let agent = workspace.agent();
    let client = Client::of(&agent);
    for (token, folder) in [("token-1", "state"), ("token-2", "state/processes")] {
        let command = format!("echo $$ > {token}; rm -rf {folder}; echo gone");
        let process = client.keyed(token, "d").start(&command).await;
        let result = client.result(&process).await;
        assert_eq!(result["state"], "lost", "{result}");
        assert!(result["notes"][0].as_str().unwrap().contains("folder was removed"), "{result}");
        let pid = || std::fs::read_to_string(workspace.path(token)).ok()?.trim().parse().ok();
        until("nothing is removed any more", || pid().is_some_and(|pid| !is_alive(pid))).await;
        assert_eq!(client.execute("echo again").await["output"], "again\n");
    }
    let exits = std::cell::Cell::new(0);
    let is_fourth_exit = |event: &atelier_workspace_protocol::Event| {
        exits.set(exits.get() + usize::from(matches!(event.kind, EventKind::ProcessExit { .. })));
        exits.get() == 4
    };
    client.events_until(0, is_fourth_exit).await;
    let write = json!({"path": "file", "content": "text"});
    let (status, answer) = client.keyed("token-3", "d").send("POST", "/v1/files/write", Some(write)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    // A lost command has had effects, so its token stays used where the rest of the ledger is still there.
    drop((agent, client));
    let client = workspace.client();
    assert_eq!(client.get("/v1/tokens/token-2").await["state"], "known");
    assert_eq!(client.get("/v1/tokens/token-3").await["state"], "known");
}

#[tokio::test]
async fn an_agent_that_cannot_use_its_folder_says_that_it_is_broken_and_when_it_works_again() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let state = workspace.path("state");
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::write(&state, "in the way").unwrap();
    let (status, answer) = client.send("POST", "/v1/processes", Some(json!({"command": "true"}))).await;
    assert_eq!((status, &answer["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("internal")));
    assert!(answer["message"].as_str().unwrap().contains("stop and start the workspace"), "{answer}");
    std::fs::remove_file(&state).unwrap();
    assert_eq!(client.execute("echo again").await["output"], "again\n");
    let is_well = |event: &atelier_workspace_protocol::Event| event.kind == EventKind::Health { broken: None };
    let events = client.events_until(0, is_well).await;
    let EventKind::Health { broken: Some(reason) } = &events[0].kind else { panic!("{events:?}") };
    assert!(reason.contains("its own folder"), "{reason}");
}
