//! Agents that are killed while they change files.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::link::{Host, agent_of};
use crate::support::{DEADLINE, kill};

const FILES: usize = 40;

fn name(number: usize) -> String {
    format!("file-{number}")
}

fn contents(folder: &Path) -> Vec<String> {
    (0..FILES).map(|number| std::fs::read_to_string(folder.join(name(number))).unwrap()).collect()
}

/// New and old contents that lie beside the files.
fn beside(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().contains(".atelier-")).count()
}

/// Sends the request, kills the agent as soon as `is_time`, and waits for the next agent.
async fn kill_during(host: &Host, route: &'static str, body: Value, is_time: impl Fn() -> bool) {
    let link = Arc::new(host.link().await);
    let request = {
        let link = Arc::clone(&link);
        tokio::spawn(async move { link.send("POST", route, Some(body)).await })
    };
    let deadline = Instant::now() + DEADLINE;
    while !is_time() && !request.is_finished() {
        assert!(Instant::now() < deadline, "the time never comes");
        tokio::task::yield_now().await;
    }
    kill(agent_of(host.init.id()), Signal::KILL);
    request.abort();
    let _ = request.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w29_after_a_kill_all_files_are_old_or_all_are_new() {
    // How much lies beside the files, or how many are renamed, when the agent is killed.
    for (round, (laid, renamed)) in [(1, 0), (FILES, 0), (2 * FILES, 0), (0, 1), (0, FILES)].into_iter().enumerate() {
        let host = Host::start();
        let folder = host.home().join("edited");
        std::fs::create_dir(&folder).unwrap();
        let (old, new) = ("old\n", "new\n");
        for number in 0..FILES {
            std::fs::write(folder.join(name(number)), old).unwrap();
        }
        let edits: Vec<Value> = (0..FILES)
            .map(|number| json!({"path": folder.join(name(number)), "old_text": old, "new_text": new}))
            .collect();
        kill_during(&host, "/v1/files/edit", json!({ "edits": edits }), || {
            let are_new = || contents(&folder).iter().filter(|content| content.as_str() == new).count();
            if renamed == 0 { beside(&folder) >= laid } else { are_new() >= renamed }
        })
        .await;
        let _link = host.link().await;
        let found = contents(&folder);
        assert!(found.iter().all(|content| *content == found[0]), "round {round}: {found:?}");
        assert!(found[0] == old || found[0] == new, "round {round}: {found:?}");
        assert_eq!(beside(&folder), 0, "round {round}");
        let journal = host.state().join("files/journal");
        assert_eq!(std::fs::read_dir(journal).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w23_a_kill_never_leaves_half_a_file() {
    let host = Host::start();
    let folder = host.home().join("written");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("a");
    let (old, new) = ("old\n".repeat(200_000), "new\n".repeat(200_000));
    std::fs::write(&file, &old).unwrap();
    let body = json!({"path": file, "content": new});
    kill_during(&host, "/v1/files/write", body, || beside(&folder) > 0).await;
    let _link = host.link().await;
    let found = std::fs::read_to_string(&file).unwrap();
    assert!(found == old || found == new);
    assert_eq!(beside(&folder), 0);
}
