//! What becomes of a provider's answer: its bill, and the calls it asks for.

use atelier_domain::error::ErrorKind;
use atelier_test_support::{Actor, Chat, Engine, eventually};
use serde_json::{Value, json};

use crate::host::{CHATS, Host, text};
use crate::provider::{ModelServer, Reply, answer};

/// A chat with the default model whose turn is over.
async fn ended(actor: &Actor, status: &str) -> Chat {
    let chat = actor.chat_create_with(json!({"content": text("hello")})).await;
    let over = eventually("the end of the turn", async || {
        let chat = chat.get().await;
        ["waiting", "error"].iter().any(|status| chat["status"] == *status).then_some(chat)
    })
    .await;
    assert_eq!(over["status"], status, "{over}");
    chat
}

fn usage(counts: &Value) -> String {
    let chunk = json!({"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}], "usage": counts});
    format!("data: {chunk}\n\ndata: [DONE]\n\n")
}

#[tokio::test]
async fn a_later_report_of_zeros_or_of_an_absurd_count_does_not_change_the_bill() {
    let report = |prompt: u64, completion: u64| json!({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}});
    let whole = json!({"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]});
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).without_model().start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        for (at, last) in [report(0, 0), report(50, u64::MAX)].into_iter().enumerate() {
            let events = [whole.clone(), report(50, 10), last.clone()].map(|event| format!("data: {event}\n\n"));
            let server = ModelServer::start(format!("{}data: [DONE]\n\n", events.concat())).await;
            let model = server.add(&admin, "openai-compat", &format!("local-{at}")).await;
            let prices = json!({"input_price_per_million_tokens": "3", "output_price_per_million_tokens": "15"});
            let path = format!("{CHATS}/model-configs/{model}");
            admin.patch(&path, json!({"is_default": true, "model_config": {"cost": prices}})).await.expect(200);
            let answer = ended(&ada, "waiting").await.messages().await[1].clone();
            assert_eq!(answer["cost_micros"], 50 * 3 + 10 * 15, "{last}: {answer}");
        }
        host.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_behind_an_empty_reason_is_asked_for_again() {
    let half = json!({"choices": [{"delta": {"content": "half "}, "finish_reason": ""}]});
    let half = Reply::events(format!("data: {half}\n\n"));
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).without_model().start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let server = ModelServer::replying(vec![half.clone(), Reply::events(answer("Hello", "stop"))]).await;
        server.add(&admin, "openai-compat", "local").await;
        let messages = ended(&ada, "waiting").await.messages().await;
        assert_eq!(
            (messages[1]["content"][0]["text"].as_str(), server.seen().len()),
            (Some("Hello"), 2),
            "{messages:?}"
        );
        host.stop().await;
    }
}

#[tokio::test]
async fn a_count_that_the_provider_leaves_out_costs_nothing() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).without_model().start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        for (at, (counts, cost, estimated)) in [
            (json!({"completion_tokens": 10}), 150, false),
            (json!({"prompt_tokens": -5, "completion_tokens": 10}), 150, false),
            (json!({"prompt_tokens": 10}), 30, false),
            // nothing reported, or zeros beside an answer: the output is estimated from what came
            (json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}), 15, true),
            (json!(null), 15, true),
        ]
        .into_iter()
        .enumerate()
        {
            let server = ModelServer::start(usage(&counts)).await;
            let model = server.add(&admin, "openai-compat", &format!("local-{at}")).await;
            let prices = json!({"input_price_per_million_tokens": "3", "output_price_per_million_tokens": "15"});
            let path = format!("{CHATS}/model-configs/{model}");
            admin.patch(&path, json!({"is_default": true, "model_config": {"cost": prices}})).await.expect(200);
            let answer = ended(&ada, "waiting").await.messages().await[1].clone();
            let billed = answer["cost_micros"].as_i64().unwrap();
            if estimated {
                assert!(billed >= cost, "{counts}: {answer}");
            } else {
                assert_eq!(billed, cost, "{counts}: {answer}");
            }
            assert_eq!(answer["usage"]["estimated"].as_bool().unwrap_or(false), estimated, "{counts}: {answer}");
        }
        host.stop().await;
    }
}

/// An answer that asks for `calls` calls of a tool, each in an event of its own.
fn calling(tool: &str, calls: usize) -> Reply {
    let mut body = String::new();
    for at in 0..calls {
        let call = json!({"index": at, "id": format!("call-{at}"), "function": {"name": tool, "arguments": "{}"}});
        body.push_str(&format!("data: {}\n\n", json!({"choices": [{"delta": {"tool_calls": [call]}}]})));
    }
    let end = json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]});
    Reply::events(format!("{body}data: {end}\n\ndata: [DONE]\n\n"))
}

fn of_role<'a>(messages: &'a [Value], role: &str) -> Vec<&'a Value> {
    messages.iter().filter(|message| message["role"] == role).collect()
}

#[tokio::test]
async fn an_answer_is_not_read_on_behind_128_calls() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).without_model().start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let server = ModelServer::replying(vec![calling("execute", 5_000)]).await;
        server.add(&admin, "openai-compat", "local").await;
        let chat = ended(&ada, "waiting").await;
        let messages = chat.messages().await;
        // each of them is an answer that was cut, and the third in a row ends the turn
        assert_eq!(server.seen().len(), 3);
        let answers = of_role(&messages, "assistant");
        assert_eq!(answers.len(), 3);
        for answer in answers {
            assert_eq!(
                (answer["finish_reason"].as_str(), answer["content"].as_array().unwrap().len()),
                (Some("length"), 128)
            );
        }
        let results = of_role(&messages, "tool");
        assert_eq!(results.len(), 3 * 128);
        assert!(results.iter().all(|result| result["content"][0]["is_error"] == true));
        // results that need no work are written together
        let row = host.store.chat_get_for_system(chat.id.parse().unwrap()).await.unwrap().unwrap();
        assert!(row.state.version <= 20, "{} changes", row.state.version);
        host.stop().await;
    }
}

#[tokio::test]
async fn sixty_four_calls_of_an_answer_run_and_the_others_are_refused_together() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).without_model().start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let server =
            ModelServer::replying(vec![calling("list_templates", 128), Reply::events(answer("Done", "stop"))]).await;
        server.add(&admin, "openai-compat", "local").await;
        let chat = ended(&ada, "waiting").await;
        let messages = chat.messages().await;
        assert_eq!((server.seen().len(), of_role(&messages, "assistant").len()), (2, 2));
        let results = of_role(&messages, "tool");
        let failed = |result: &&&Value| result["content"][0]["is_error"] == true;
        assert_eq!((results.len(), results.iter().filter(failed).count()), (128, 64));
        let row = host.store.chat_get_for_system(chat.id.parse().unwrap()).await.unwrap().unwrap();
        // an end for each call that runs, and one change for all that do not
        assert!(row.state.version <= 64 + 20, "{} changes", row.state.version);
        host.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_no_stream_of_events_is_tried_three_times_and_shown() {
    let host = Host::builder().without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let page = "<!doctype html><title>Welcome</title>";
    let reply = Reply { content_type: "text/html; charset=utf-8", ..Reply::events(page.to_owned()) };
    let server = ModelServer::replying(vec![reply]).await;
    server.add(&admin, "openai-compat", "local").await;
    let error = ended(&ada, "error").await.get().await["last_error_info"].clone();
    assert_eq!((error["kind"].as_str(), server.seen().len()), (Some(ErrorKind::Malformed.as_str()), 3), "{error}");
    let detail = error["detail"].as_str().unwrap();
    assert!(detail.contains("text/html") && detail.contains("Welcome"), "{detail}");
    host.stop().await;
}

#[tokio::test]
async fn errors_name_the_provider_as_it_is_shown() {
    let host = Host::builder().without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let server = ModelServer::replying(vec![Reply::events(
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n".to_owned(),
    )])
    .await;
    server.add(&admin, "openai-compat", "f").await;
    let error = ended(&ada, "error").await.get().await["last_error_info"].clone();
    assert_eq!(error["kind"], ErrorKind::Malformed.as_str(), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("f sent"), "{message}");
    host.stop().await;
}

mod faults {
    use super::*;

    /// Processor time that this process has used, ended threads included; the kernel counts in hundredths.
    fn processor_seconds() -> f64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
    }

    #[tokio::test]
    async fn the_work_of_an_answer_does_not_grow_with_the_calls_that_are_not_read() {
        let host = Host::builder().without_model().start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let mut used = Vec::new();
        for calls in [200, 5_000, 100_000] {
            let server = ModelServer::replying(vec![calling("execute", calls)]).await;
            let model = server.add(&admin, "openai-compat", &format!("calls-{calls}")).await;
            let path = format!("{CHATS}/model-configs/{model}");
            admin.patch(&path, json!({"is_default": true})).await.expect(200);
            let before = processor_seconds();
            ended(&ada, "waiting").await;
            let seconds = processor_seconds() - before;
            println!("{calls} calls: {seconds:.2} s of processor time");
            used.push(seconds);
        }
        // the stand-in provider writes what the server does not read, so some of the time is its own
        assert!(used.iter().all(|seconds| *seconds < 10.0), "{used:?} s for three answers each");
        host.stop().await;
    }
}
