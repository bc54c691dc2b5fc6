//! What is measured.

use std::time::{Duration, Instant};

use futures::future::{BoxFuture, join_all, try_join_all};
use serde_json::{Value, json};

use crate::client::{Chat, Seen};
use crate::data::{Plan, data};
use crate::server::{Server, Setup};
use crate::stats::{Row, Target};

type Measure = for<'a> fn(&'a Setup) -> BoxFuture<'a, anyhow::Result<Vec<Row>>>;

/// Every row by its short name, in the order of the table.
pub(crate) const ALL: [(&str, Measure); 13] = [
    ("start", |setup| Box::pin(start(setup))),
    ("idle", |setup| Box::pin(idle(setup))),
    ("first-token", |setup| Box::pin(first_token(setup))),
    ("parts", |setup| Box::pin(parts(setup))),
    ("tool", |setup| Box::pin(tool(setup))),
    ("turns", |setup| Box::pin(turns(setup))),
    ("viewers", |setup| Box::pin(viewers(setup))),
    ("list", |setup| Box::pin(list(setup))),
    ("send", |setup| Box::pin(send(setup))),
    ("idle-viewers", |setup| Box::pin(idle_viewers(setup))),
    ("long-chat", |setup| Box::pin(long_chat(setup))),
    ("interrupt", |setup| Box::pin(interrupt(setup))),
    ("data", |setup| Box::pin(data(Plan::of(setup)))),
];

async fn start(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let server = setup.server().await?;
    server.client().warm_chat(None).await?;
    let data = server.stop().await?.expect("a server made by Setup::server has a data folder");
    let mut values = Vec::new();
    for _ in 0..setup.times(10) {
        let server = Server::start(setup, data.path()).await?;
        values.push(millis(server.healthy_after));
        server.stop().await?;
    }
    Ok(vec![Row::new("start to healthy, existing database", values, "ms", Target::Median(100.0))])
}

async fn idle(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let (mut memory, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let server = setup.server().await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        memory.push(server.resident_mib()?);
        let before = server.cpu_seconds()?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        cpu.push((server.cpu_seconds()? - before) * 10.0);
        server.stop().await?;
    }
    Ok(vec![
        Row::new("resident memory, idle", memory, "MiB", Target::Median(40.0)),
        Row::new("CPU, idle", cpu, "% of a core", Target::Median(0.2)),
    ])
}

async fn first_token(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let server = setup.server().await?;
    let mut chat = server.client().warm_chat(None).await?;
    let (mut overhead, mut bytes) = (Vec::new(), Vec::new());
    for at in 0..setup.times(200) {
        let id = format!("first-{at}");
        let seen = chat.turn(&setup.model, &json!({"id": id, "n": 10, "delay_us": 2000})).await?;
        let times = setup.model.times(&id).expect("the model keeps the times of a request with an id");
        overhead.push(micros(seen.first_part - seen.sent) - micros(times.first - times.received));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for at in 0..3 {
        let mut fresh = server.client().warm_chat(None).await?;
        let id = format!("fresh-{at}");
        fresh.turn(&setup.model, &json!({"id": id, "n": 1})).await?;
        #[allow(clippy::cast_precision_loss)]
        bytes.push(setup.model.times(&id).map_or(f64::NAN, |times| times.bytes as f64 / 1000.0));
    }
    server.stop().await?;
    Ok(vec![
        Row::new("first-token overhead, warm chat", overhead, "ms", Target::Both(3.0, 10.0)),
        Row::new("fixed prompt and tools of a request", bytes, "kB", Target::Median(8.0)),
    ])
}

async fn parts(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let server = setup.server().await?;
    let mut chats = warm_chats(&server, 32, None).await?;
    let (mut latencies, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let before = server.cpu_seconds()?;
        let plan = json!({"n": setup.times(400), "delay_us": 20_000});
        let seen = all_turns(setup, &mut chats, &plan).await?;
        let count: usize = seen.iter().map(|seen| seen.latencies.len()).sum();
        #[allow(clippy::cast_precision_loss)]
        cpu.push((server.cpu_seconds()? - before) / count as f64 * 1000.0);
        latencies.extend(seen.iter().flat_map(|seen| &seen.latencies).map(|latency| micros(*latency)));
    }
    server.stop().await?;
    Ok(vec![
        Row::new("added latency of a part, 32 streams x 50/s", latencies, "ms", Target::Both(0.5, 4.0)),
        Row::new("server CPU for 1,000 parts", cpu, "s", Target::Median(0.03)),
    ])
}

async fn tool(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let server = setup.server().await?;
    let workspace = server.client().workspace().await?;
    let mut values = Vec::new();
    for _ in 0..setup.times(10) {
        let mut chat = server.client().warm_chat(Some(&workspace)).await?;
        let seen = chat.turn(&setup.model, &json!({"n": 5, "tools": 10})).await?;
        values.push(micros(seen.idle - seen.sent) / 11.0);
    }
    server.stop().await?;
    Ok(vec![Row::new("one tool step (echo)", values, "ms", Target::Median(15.0))])
}

async fn turns(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let server = setup.server().await?;
    let mut rows = Vec::new();
    for (chats, each, target) in [(1, 40, 80.0), (8, 20, 250.0), (32, 10, 300.0)] {
        let mut open = warm_chats(&server, chats, None).await?;
        let mut rates = Vec::new();
        for _ in 0..setup.times(5) {
            let begun = Instant::now();
            for seen in join_all(open.iter_mut().map(|chat| async {
                let mut parts = 0;
                for _ in 0..each {
                    parts = chat.turn(&setup.model, &json!({"n": 200})).await?.latencies.len();
                }
                anyhow::Ok(parts)
            }))
            .await
            {
                anyhow::ensure!(seen? == 200, "a turn did not show all of its parts");
            }
            #[allow(clippy::cast_precision_loss)]
            rates.push((chats * each) as f64 / begun.elapsed().as_secs_f64());
        }
        rows.push(Row::new(
            format!("turns of 200 parts, no delay, {chats} chats"),
            rates,
            "turns/s",
            Target::AtLeast(target),
        ));
    }
    server.stop().await?;
    Ok(rows)
}

async fn viewers(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let mut values = Vec::new();
    for _ in 0..3 {
        let server = setup.server().await?;
        server.client().warm_chat(None).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = server.resident_mib()?;
        let chats = warm_chats(&server, 200, None).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        values.push(server.resident_mib()? - before);
        drop(chats);
        server.stop().await?;
    }
    Ok(vec![Row::new("growth for 200 chats with a viewer each", values, "MiB", Target::Median(10.0))])
}

async fn list(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let server = setup.server().await?;
    warm_chats(&server, 500, None).await?;
    let mut values = Vec::new();
    for _ in 0..setup.times(100) {
        let begun = Instant::now();
        let page = server.client().get("/api/experimental/chats/?limit=50").await?;
        values.push(millis(begun.elapsed()));
        anyhow::ensure!(page.as_array().is_some_and(|page| page.len() == 50), "the page does not hold 50 chats");
    }
    server.stop().await?;
    Ok(vec![Row::new("list 50 of 500 chats", values, "ms", Target::Median(2.0))])
}

/// P2: from a send to the request at the model, at 50 sends a second.
async fn send(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let server = setup.server().await?;
    let mut chats = warm_chats(&server, 50, None).await?;
    let mut values = Vec::new();
    let rounds = setup.times(10);
    for round in 0..rounds {
        let turns = chats.iter_mut().enumerate().map(|(at, chat)| async move {
            tokio::time::sleep(Duration::from_millis(20 * at as u64)).await;
            let id = format!("send-{round}-{at}");
            let seen = chat.turn(&setup.model, &json!({"id": id, "n": 1})).await?;
            let times = setup.model.times(&id).expect("the model keeps the times of a request with an id");
            anyhow::Ok(micros(times.received - seen.sent))
        });
        values.extend(try_join_all(turns).await?);
    }
    server.stop().await?;
    let target = Target::P99(if setup.postgres.is_some() { 15.0 } else { 10.0 });
    Ok(vec![Row::new("P2: send to model request, 50/s", values, "ms", target)])
}

/// P3: resident growth of idle chats with a viewer each.
async fn idle_viewers(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let count = if setup.quick { 1000 } else { 10_000 };
    let server = setup.server().await?;
    let chat = server.client().warm_chat(None).await?;
    // chats first, viewers after: what is measured is a viewer and its hub
    let chats: Vec<String> = warm_chats(&server, 200, None).await?.into_iter().map(|chat| chat.id).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = server.resident_mib()?;
    let mut open = Vec::with_capacity(count);
    for at in 0..count {
        open.push(server.client().stream(&chats[at % chats.len()]).await?);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    #[allow(clippy::cast_precision_loss)]
    let each = (server.resident_mib()? - before) * 1024.0 / count as f64;
    drop((open, chat));
    server.stop().await?;
    Ok(vec![Row::new(format!("P3: an idle viewer, of {count} on 200 chats"), vec![each], "KiB", Target::Median(24.0))])
}

/// P6: a turn's start in a chat of 10,000 messages against one in an empty chat.
async fn long_chat(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let turns = if setup.quick { 500 } else { 5000 };
    let server = setup.server().await?;
    let mut long = server.client().warm_chat(None).await?;
    for _ in 1..turns {
        long.turn(&setup.model, &json!({"n": 1})).await?;
    }
    let mut short = server.client().warm_chat(None).await?;
    let mut rows = Vec::new();
    for (what, chat) in [("an empty chat", &mut short), ("a long chat", &mut long)] {
        let mut values = Vec::new();
        for at in 0..setup.times(100) {
            let id = format!("{what}-{at}");
            let seen = chat.turn(&setup.model, &json!({"id": id, "n": 1})).await?;
            let times = setup.model.times(&id).expect("the model keeps the times of a request with an id");
            values.push(micros(times.received - seen.sent));
        }
        rows.push((what, values));
    }
    let ratio = median(&rows[1].1) / median(&rows[0].1);
    server.stop().await?;
    let mut result: Vec<Row> = rows
        .into_iter()
        .map(|(what, values)| Row::new(format!("P6: send to model request, {what}"), values, "ms", Target::None))
        .collect();
    result.push(Row::new(
        format!("P6: long ({} messages) over empty", turns * 2),
        vec![ratio],
        "times",
        Target::Median(2.0),
    ));
    Ok(result)
}

/// P10: from an interrupt in mid-stream to the settled chat.
async fn interrupt(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let server = setup.server().await?;
    let mut chat = server.client().warm_chat(None).await?;
    let mut values = Vec::new();
    for _ in 0..setup.times(100) {
        chat.send(&json!({"n": 2000, "delay_us": 5000})).await?;
        chat.read_parts(5).await?;
        let begun = Instant::now();
        let answer = chat.interrupt().await?;
        values.push(millis(begun.elapsed()));
        anyhow::ensure!(answer["status"] == "waiting", "the interrupt ended in {}", answer["status"]);
        chat.read_until_idle(None, true).await?;
    }
    server.stop().await?;
    Ok(vec![Row::new("P10: interrupt to settled, in mid-stream", values, "ms", Target::P99(100.0))])
}

async fn warm_chats(server: &Server, count: usize, workspace: Option<&str>) -> anyhow::Result<Vec<Chat>> {
    let mut chats = Vec::with_capacity(count);
    while chats.len() < count {
        let wave = (count - chats.len()).min(16);
        chats.extend(try_join_all((0..wave).map(|_| server.client().warm_chat(workspace))).await?);
    }
    Ok(chats)
}

async fn all_turns(setup: &Setup, chats: &mut [Chat], plan: &Value) -> anyhow::Result<Vec<Seen>> {
    try_join_all(chats.iter_mut().map(|chat| chat.turn(&setup.model, plan))).await
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[allow(clippy::cast_precision_loss)]
fn micros(value: u64) -> f64 {
    value as f64 / 1000.0
}
