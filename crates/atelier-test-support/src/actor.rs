//! Somebody who talks to the server.

use serde_json::{Value, json};

use crate::server::HELD;
use crate::stream::{EventStream, Form};

const CHATS: &str = "/api/experimental/chats";

/// A user (or nobody) with their credential.
#[derive(Clone)]
pub struct Actor {
    port: u16,
    token: Option<String>,
    http: reqwest::Client,
}

/// An answer that a test looks at.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    /// The body, when the status is the expected one.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    #[must_use]
    pub fn body(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }

    /// Checks the status.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn expect(self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text);
    }

    /// Checks the status and the error's code.
    ///
    /// # Panics
    /// When either differs.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.text);
    }
}

impl Actor {
    /// Somebody without a credential, who talks to a server on this port.
    ///
    /// # Panics
    /// When no client can be made.
    #[must_use]
    pub fn anonymous(port: u16) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // answers as they come
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .build()
            .expect("a client without options");
        Self { port, token: None, http }
    }

    pub(crate) async fn login(port: u16, email: &str, password: &str) -> Self {
        let mut actor = Self::anonymous(port);
        let session = actor.post("/api/v2/users/login", json!({"email": email, "password": password})).await.body(201);
        actor.token = Some(session["session_token"].as_str().expect("a login gives a token").to_owned());
        actor
    }

    /// The same person with another credential.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// # Panics
    /// For nobody.
    #[must_use]
    pub fn token(&self) -> &str {
        self.token.as_deref().expect("an anonymous actor has no token")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(reqwest::Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(reqwest::Method::POST, path).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(reqwest::Method::PUT, path).json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(reqwest::Method::PATCH, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(reqwest::Method::DELETE, path)).await
    }

    /// A request to be completed by the test.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("http://127.0.0.1:{}{path}", self.port));
        match &self.token {
            Some(token) => request.header("Coder-Session-Token", token),
            None => request,
        }
    }

    /// # Panics
    /// When no answer comes.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("the server answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("the answer is text");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, body, text }
    }

    /// Creates a chat with one text.
    pub async fn chat_create(&self, text: &str) -> Chat {
        self.chat_create_with(json!({"content": [{"type": "text", "text": text}]})).await
    }

    /// # Panics
    /// When the server refuses.
    pub async fn chat_create_with(&self, body: Value) -> Chat {
        let chat = self.post(&format!("{CHATS}/"), body).await.body(201);
        self.chat(chat["id"].as_str().expect("a chat has an id"))
    }

    /// Takes this user's only place for a turn ([`crate::Builder::one_turn_at_a_time`]): the turn of a chat that is
    /// created next begins when this one is interrupted, so that a viewer can be there before.
    ///
    /// # Panics
    /// When the server has not been started for this.
    pub async fn hold_turns(&self) -> Chat {
        let models = self.get(&format!("{CHATS}/model-configs")).await.body(200);
        let mut models = models.as_array().into_iter().flatten();
        let model = models.find(|model| model["model"] == HELD).expect("the server has the model that holds turns");
        let content = json!([{"type": "text", "text": "hold"}]);
        let chat = self.chat_create_with(json!({"content": content, "model_config_id": model["id"]})).await;
        chat.wait_for_status("running").await;
        chat
    }

    /// Opens the watch stream of this actor's chats; changes from here on come.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn watch(&self) -> EventStream {
        let mut stream =
            EventStream::open(self.port, self.token(), &format!("{CHATS}/watch"), Form::WebSocket, None).await;
        // its first frame is a heartbeat: the server listens
        stream.next().await.expect("a first frame");
        stream
    }

    /// The chat with this id, as this actor sees it.
    #[must_use]
    pub fn chat(&self, id: &str) -> Chat {
        Chat { id: id.to_owned(), actor: self.clone() }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

/// A chat as one actor sees it.
#[derive(Clone)]
pub struct Chat {
    pub id: String,
    actor: Actor,
}

impl Chat {
    /// The same chat through another port or credential, for instance after a restart.
    #[must_use]
    pub fn seen_by(&self, actor: &Actor) -> Self {
        actor.chat(&self.id)
    }

    #[must_use]
    pub fn path(&self, rest: &str) -> String {
        format!("{CHATS}/{}{rest}", self.id)
    }

    pub async fn get(&self) -> Value {
        self.actor.get(&self.path("")).await.body(200)
    }

    pub async fn send(&self, text: &str) -> Value {
        self.send_with(json!({"content": [{"type": "text", "text": text}]})).await.body(200)
    }

    pub async fn send_with(&self, body: Value) -> Answer {
        self.actor.post(&self.path("/messages"), body).await
    }

    pub async fn interrupt(&self) -> Answer {
        self.actor.post(&self.path("/interrupt"), json!({})).await
    }

    /// All messages, oldest first.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn messages(&self) -> Vec<Value> {
        let mut messages = Vec::new();
        let mut before = String::new();
        loop {
            let mut page = self.actor.get(&self.path(&format!("/messages?limit=200{before}"))).await.body(200);
            let Value::Array(rows) = page["messages"].take() else { panic!("messages is a list") };
            messages.extend(rows);
            if page["has_more"] != true {
                messages.reverse();
                return messages;
            }
            before = format!("&before_id={}", messages.last().expect("a page with more has rows")["id"]);
        }
    }

    /// Waits until the chat has this status and gives it back.
    pub async fn wait_for_status(&self, status: &str) -> Value {
        crate::eventually(&format!("chat {} to be {status}", self.id), || async {
            let chat = self.get().await;
            (chat["status"] == status).then_some(chat)
        })
        .await
    }

    /// Opens its stream.
    pub async fn stream(&self, form: Form, cursor: Option<&str>) -> EventStream {
        EventStream::open(self.actor.port(), self.actor.token(), &self.path("/stream"), form, cursor).await
    }
}
