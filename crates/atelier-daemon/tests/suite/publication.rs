//! What a viewer sees of a commit, and in which order.

use std::time::Duration;

use atelier_domain::chat::{BusyBehavior, CallClass, CallState};
use atelier_domain::error::{ErrorKind, TurnError};
use atelier_stream::{Viewer, ViewerRequest};
use serde_json::Value;

use crate::fixture::{Fixture, call, on_both};

/// Reads events until one of this type, as `type` or `type role`.
async fn until(viewer: &mut Viewer, last: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let frame = tokio::time::timeout(Duration::from_secs(60), viewer.next()).await.unwrap().unwrap();
        let events: Vec<Value> = serde_json::from_slice(&frame.data).unwrap();
        seen.extend(events.iter().map(|event| {
            let detail = match event["type"].as_str().unwrap() {
                "message" => event["message"]["role"].as_str().unwrap(),
                "status" => event["status"]["status"].as_str().unwrap(),
                _ => "",
            };
            format!("{} {detail}", event["type"].as_str().unwrap()).trim_end().to_owned()
        }));
        if seen.iter().any(|event| event.starts_with(last)) {
            return seen;
        }
    }
}

#[tokio::test]
async fn messages_come_before_the_queue_and_the_status_last() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let (chat, fence) = (claimed.chat.id, claimed.fence);
        let request = ViewerRequest::Resume { cursor: String::new() };
        let mut viewer = fixture.hubs.open_viewer(chat, &request).unwrap();
        let snapshot = until(&mut viewer, "ready").await;
        assert!(snapshot.contains(&"message user".to_owned()) && snapshot.contains(&"status running".to_owned()));

        fixture.queue(chat, "two").await.unwrap();
        assert_eq!(until(&mut viewer, "queue_update").await, ["queue_update"]);

        let calls = vec![call(0, "c0", CallClass::Keyed, CallState::Started)];
        fixture.answered(&claimed, 1, "working", calls).await;
        assert_eq!(until(&mut viewer, "message").await, ["message assistant"]);

        fixture.send(chat, "now", BusyBehavior::Interrupt).await.unwrap();
        fixture.commits.release(&fence, None).await.unwrap();
        let settled = until(&mut viewer, "status").await;
        assert_eq!(settled, ["queue_update", "message tool", "message user", "queue_update", "status pending"]);

        let claimed = fixture.commits.claim(chat).await.unwrap().unwrap();
        assert_eq!(until(&mut viewer, "status").await, ["status running"]);
        let error = TurnError::new(ErrorKind::Quota, "no credit");
        let fail = atelier_daemon::commit::Fail { error, answer: None, metering: None };
        fixture.commits.fail(&claimed.fence, fail).await.unwrap();
        assert_eq!(until(&mut viewer, "status").await, ["error", "status error"]);
    })
    .await;
}
