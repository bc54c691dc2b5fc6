//! What is kept of output and how it is shown.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Workspace, is_alive};

#[tokio::test]
async fn w8_head_tail_and_pages_give_the_exact_bytes() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let expected: String = (1..=3600).map(|number| format!("line {number} äöü 日本 😀 \n")).collect();
    std::fs::write(workspace.path("text"), &expected).unwrap();
    assert!(expected.len() > 100 * 1024);
    let process = client.start("cat text").await;
    let result = client.result(&process).await;
    let output = result["output"].as_str().unwrap();
    assert!(output.len() <= 32_768 && output.len() > 30_000, "{}", output.len());
    let truncated = &result["truncated"];
    let number = |name: &str| usize::try_from(truncated[name].as_u64().unwrap()).unwrap();
    assert_eq!(number("original_bytes"), expected.len());
    assert_eq!(number("retained_bytes") + number("omitted_bytes"), expected.len());
    assert_eq!((&truncated["strategy"], &result["output_bytes"]), (&json!("head_tail"), &json!(expected.len())));
    let next = usize::try_from(result["next_offset"].as_u64().unwrap()).unwrap();
    let (head, rest) = output.split_at(next);
    assert_eq!(head, &expected[..next]);
    assert!(head.ends_with('\n') && next > 15 * 1024);
    let (marker, tail) = rest.split_once("\n").unwrap();
    assert!(marker.contains(&number("omitted_bytes").to_string()) && expected.ends_with(tail));
    assert_eq!(tail.len() + next, number("retained_bytes"));
    assert!(tail.starts_with("line "));

    for limit in [777, 32_768] {
        let (missing, gaps) = client.pages(&process, next as u64, limit).await;
        assert_eq!(missing, expected[next..]);
        assert_eq!(gaps, Vec::<Value>::new());
    }
    let end = client.get(&format!("/v1/processes/{process}/output?offset=-7")).await;
    assert!(expected.ends_with(end["output"].as_str().unwrap()) && end["eof"] == true);
    let beyond = client.get(&format!("/v1/processes/{process}/output?offset=99999999")).await;
    assert_eq!((&beyond["output"], &beyond["eof"]), (&json!(""), &json!(true)));
}

#[tokio::test]
async fn w9_what_is_too_much_is_lost_in_the_middle_and_the_gap_is_named() {
    let workspace = Workspace::with_limits(|limits| {
        limits.spill_head_bytes = 10_000;
        limits.spill_tail_bytes = 3000;
    });
    let client = workspace.client();
    let expected: String = (0..20_000).map(|number| format!("{number:09}\n")).collect();
    std::fs::write(workspace.path("text"), &expected).unwrap();
    let process = client.start("cat text").await;
    assert_eq!(client.result(&process).await["output_bytes"], 200_000);
    let (text, gaps) = client.pages(&process, 0, 4096).await;
    assert_eq!(gaps.len(), 1);
    let lost = gaps[0]["from"].as_u64().unwrap()..gaps[0]["to"].as_u64().unwrap();
    assert_eq!(lost.start, 10_000);
    assert!(lost.end >= 194_000 && lost.end < 200_000, "{lost:?}");
    let kept = usize::try_from(lost.end).unwrap();
    assert_eq!(text, format!("{}{}", &expected[..10_000], &expected[kept..]));
    let folder = workspace.path("state/processes").join(&process);
    let spilled: u64 = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap())
        .filter(|file| file.file_name().to_str().unwrap().starts_with("out."))
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert!(spilled <= 16_016, "{spilled}");
    let inside = client.get(&format!("/v1/processes/{process}/output?offset=50000&limit=10")).await;
    assert_eq!(inside["gap"], json!({"from": 50_000, "to": lost.end}));
    assert_eq!(inside["output"], expected[kept..kept + 10]);
}

#[tokio::test]
async fn w9_200_mib_cost_the_shim_little_memory_and_64_mib_of_disk() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let process = client.start("head -c 209715200 /dev/zero; echo end; while [ ! -e go ]; do sleep 0.01; done").await;
    let mut offset = 209_715_200;
    while offset < 209_715_204 {
        let page = client.get(&format!("/v1/processes/{process}/output?offset={offset}&wait_ms=60000")).await;
        offset = page["next_offset"].as_u64().unwrap().max(209_715_200);
    }
    let (shim, _) = workspace.pids(&process);
    let status = std::fs::read_to_string(format!("/proc/{shim}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < 16 * 1024, "{peak_kib} KiB");
    let folder = workspace.path("state/processes").join(&process);
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    let spilled: u64 = files.sum();
    assert!(spilled <= 64 * 1024 * 1024 + 8192, "{spilled}");
    std::fs::write(workspace.path("go"), "").unwrap();
    let result = client.result(&process).await;
    assert_eq!((&result["output_bytes"], &result["exit_code"]), (&json!(209_715_204), &json!(0)));
    assert!(result["output"].as_str().unwrap().ends_with("end\n"));
}

#[tokio::test]
async fn w10_nothing_follows_the_end_and_who_writes_on_is_not_killed() {
    let workspace = Workspace::with_limits(|limits| limits.pipe_after_exit_ms = 50);
    let client = workspace.client();
    let process = client
        .start("(while [ ! -e go ]; do sleep 0.01; done; echo late; echo late >> alive; sleep 60) & echo $! > pid; echo first")
        .await;
    let result = client.result(&process).await;
    assert_eq!((&result["output"], &result["exit_code"]), (&json!("first\n"), &json!(0)));
    std::fs::write(workspace.path("go"), "").unwrap();
    crate::support::until("it wrote on", || workspace.path("alive").exists()).await;
    let pid = std::fs::read_to_string(workspace.path("pid")).unwrap().trim().parse().unwrap();
    assert!(is_alive(pid));
    assert_eq!(client.result(&process).await["output_bytes"], 6);
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn w4_binary_output_stays_within_bounds_as_json() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let result = client.execute("printf 'a\\0b\\377c\\033[31md\\n10%%\\r100%%\\n'").await;
    assert_eq!(result["output"], "a\u{fffd}b\u{fffd}cd\n100%\n");
    for command in ["head -c 100000 /dev/urandom", "head -c 30000 /dev/zero", "yes '\"\\' | head -c 30000"] {
        let process = client.start(command).await;
        let result = client.result(&process).await;
        assert!(result["output"].as_str().unwrap().len() <= 32_768, "{command}");
        assert!(result.to_string().len() <= 48 * 1024, "{command}: {}", result.to_string().len());
        let truncated = &result["truncated"];
        let sum = truncated["retained_bytes"].as_u64().unwrap() + truncated["omitted_bytes"].as_u64().unwrap();
        assert_eq!(sum, result["output_bytes"].as_u64().unwrap());
        let page = client.get(&format!("/v1/processes/{process}/output?offset=0&limit=32768")).await;
        assert!(page.to_string().len() <= 48 * 1024, "{command}");
        assert!(page["next_offset"].as_u64().unwrap() > 0);
    }
}

#[tokio::test]
async fn a_page_waits_for_output_and_half_a_character_is_held_back() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let process = client.start("printf 'x\\346\\227'; while [ ! -e go ]; do sleep 0.01; done; printf '\\245y'").await;
    let page = client.get(&format!("/v1/processes/{process}/output?offset=0&wait_ms=60000")).await;
    assert_eq!((&page["output"], &page["next_offset"]), (&json!("x"), &json!(1)));
    let begun = Instant::now();
    let page = client.get(&format!("/v1/processes/{process}/output?offset=1&wait_ms=100")).await;
    assert_eq!((&page["output"], &page["next_offset"]), (&json!(""), &json!(1)));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let waiting = {
        let (client, process) = (client.clone(), process.clone());
        tokio::spawn(async move { client.pages(&process, 1, 100).await.0 })
    };
    std::fs::write(workspace.path("go"), "").unwrap();
    assert_eq!(waiting.await.unwrap(), "日y");
}
