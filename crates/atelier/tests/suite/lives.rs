//! A replica that was taken for dead, and rows that run without a run: the program finds its way back.

use atelier_test_support::{Engine, TestServer, eventually};

use crate::server;

const SCRIPT: &str = r#"
rules:
  - when: {user_contains: "hang", attempt: 1}
    steps:
      - text: "Working"
      - hang: true
  - steps:
      - text: "An answer."
"#;

fn sql(server: &TestServer, statement: &str) -> String {
    server.database().unwrap().query(statement)
}

#[tokio::test]
async fn a_replica_that_was_taken_for_dead_lives_again() {
    let server = server().engine(Engine::Postgres).script("lives", SCRIPT).start().await;
    let admin = server.admin().await;
    let hanging = admin.chat_create("hang").await;
    hanging.wait_for_status("running").await;
    let first = sql(&server, "SELECT incarnation FROM replicas");
    // a pause that is longer than the lease looks like this to the others
    let _ = sql(&server, "UPDATE replicas SET dead = true");
    // its turn is taken over, and a new chat gets its answer: both by the new life
    hanging.wait_for_status("waiting").await;
    let chat = admin.chat_create("hello").await;
    chat.wait_for_status("waiting").await;
    assert_eq!(chat.messages().await.len(), 2);
    let answers = hanging.messages().await;
    assert_eq!(answers.len(), 2, "the message and one answer: {answers:?}");
    let lives = sql(&server, "SELECT incarnation FROM replicas WHERE NOT dead");
    assert_ne!(lives, first);
}

#[tokio::test]
async fn a_row_that_runs_without_a_run_starts_again() {
    let server = server().engine(Engine::Postgres).script("lives", SCRIPT).start().await;
    let chat = server.admin().await.chat_create("hello").await;
    chat.wait_for_status("waiting").await;
    // a claim that was committed without its process hearing of it
    let orphan = format!(
        "UPDATE chats SET status = 'running', epoch = epoch + 1, version = version + 1, parked = false,
         owner_incarnation = (SELECT incarnation FROM replicas WHERE NOT dead), started_at = now(), turn_no = turn_no + 1
         WHERE id = '{}'",
        chat.id
    );
    let _ = sql(&server, &orphan);
    chat.wait_for_status("running").await;
    // the run that takes it up finds nothing to answer and ends one way or the other; the chat can be used again
    eventually("the row to have had a run", || async {
        let status = chat.get().await["status"].as_str().unwrap().to_owned();
        (status == "waiting" || status == "error").then_some(())
    })
    .await;
    chat.send("and now?").await;
    chat.wait_for_status("waiting").await;
    assert_eq!(chat.messages().await.len(), 4);
}
