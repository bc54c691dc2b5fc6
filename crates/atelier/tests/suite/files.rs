//! Files in a bucket, as the settings of a server name it.

use std::process::Stdio;

use atelier_test_support::{Actor, Answer, Bucket, Builder, Engine, eventually};
use reqwest::Method;
use tokio::process::Command;

use crate::{PROGRAM, server};

pub(crate) async fn upload(actor: &Actor, data: &'static [u8]) -> Answer {
    let me = actor.get("/api/v2/users/me").await.body(200);
    let path = format!("/api/experimental/chats/files?organization={}", me["organization_ids"][0].as_str().unwrap());
    actor.send(actor.request(Method::POST, &path).header("content-type", "text/plain").body(data)).await
}

/// What a server needs to keep files in a bucket.
fn settings(bucket: &Bucket, prefix: &str) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("ATELIER_FILE_STORE", "s3".to_owned()),
        ("ATELIER_FILE_S3_URL", format!("s3://{}{prefix}", bucket.name())),
        ("ATELIER_FILE_S3_ENDPOINT", bucket.endpoint()),
    ];
    settings.extend(bucket.environment());
    settings
}

fn with(builder: Builder, settings: &[(&str, String)]) -> Builder {
    settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value))
}

#[tokio::test]
async fn files_lie_in_the_bucket_and_outlive_a_kill() {
    for engine in Engine::ALL {
        let bucket = Bucket::start().await;
        let mut server = with(server().engine(engine), &settings(&bucket, "/of/people/")).start().await;
        let file = upload(&server.admin().await, b"what was said").await.body(201);
        let twin = upload(&server.admin().await, b"what was said").await.body(201);
        server.kill().await;
        server.restart().await;
        let admin = server.admin().await;
        for file in [file, twin] {
            let path = format!("/api/experimental/chats/files/{}", file["id"].as_str().unwrap());
            let answer = admin.get(&path).await;
            assert_eq!((answer.status, answer.text.as_str()), (200, "what was said"));
        }
        let objects = bucket.objects();
        assert!(objects.iter().all(|key| key.starts_with("of/people/")), "{objects:?}");
        assert!(!server.log().contains(Bucket::SECRET_KEY), "{}", server.log());
    }
}

#[tokio::test]
async fn a_bucket_that_refuses_is_told_and_the_upload_fails() {
    let bucket = Bucket::start().await;
    let settings = settings(&bucket, "");
    let server = with(server(), &settings).env("AWS_SECRET_ACCESS_KEY", "not the secret").start().await;
    eventually("the warning", async || server.log().contains("files cannot be stored now").then_some(())).await;
    upload(&server.admin().await, b"lost").await.expect_error(500, "internal");
    assert!(bucket.objects().is_empty());
    for (secret, line) in [("not the secret", "FAIL  files: "), (Bucket::SECRET_KEY, "ok    files: s3")] {
        let folder = tempfile::tempdir().unwrap();
        let mut doctor = Command::new(PROGRAM);
        doctor.arg("doctor").env("ATELIER_DATA_DIR", folder.path()).env_remove("ATELIER_DATABASE_URL");
        let output = doctor.envs(settings.clone()).env("AWS_SECRET_ACCESS_KEY", secret).output().await.unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains(line), "{printed}");
    }
    assert!(bucket.objects().is_empty());
}

#[tokio::test]
async fn settings_that_name_no_bucket_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (variables, told) in [
        (&[("ATELIER_FILE_STORE", "s3")][..], "set ATELIER_FILE_S3_URL=s3://BUCKET"),
        (&[("ATELIER_FILE_S3_URL", "https://bucket")], "must be s3://BUCKET or s3://BUCKET/PREFIX"),
        (&[("ATELIER_FILE_S3_URL", "s3:///prefix")], "must be s3://BUCKET or s3://BUCKET/PREFIX"),
        (&[("ATELIER_FILE_S3_URL", "s3://b"), ("ATELIER_FILE_S3_ENDPOINT", "b:9000")], "begin with http"),
        (&[("ATELIER_FILE_STORE", "tape")], "database, directory, s3"),
    ] {
        let output = Command::new(PROGRAM)
            .arg("server")
            .env_clear()
            .env("ATELIER_DATA_DIR", folder.path().join("data"))
            .env("ATELIER_HTTP_ADDRESS", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(told), "{variables:?}: {error}");
    }
}
