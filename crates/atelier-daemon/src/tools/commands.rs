//! `execute` and the tools that follow its processes.
//!
//! A command is begun by its call token, so repeating the request after a crash or a broken link finds
//! the process that runs already. What it prints is followed in pages, which viewers see live; the result
//! the model gets is shaped by the workspace agent, which has all of the output.

use std::time::Duration;

use atelier_domain::message::ToolCallPart;
use serde_json::{Value, json};

use super::arguments::Arguments;
use super::run::{
    Call, ToolEnvironment, ToolOutcome, answer_value, connection_error, encoded, interrupted, with_warnings,
};
use crate::tool_error::{ToolError, ToolErrorCode};
use crate::workspace::{ConnectionError, Method};

const MAX_COMMAND_BYTES: usize = 64 * 1024;
const MAX_ENV_NAMES: usize = 64;
const HOUR: Duration = Duration::from_secs(3600);
/// One page of output, and how long the agent holds a request for one.
const PAGE_BYTES: usize = 32 * 1024;
const PAGE_WAIT: Duration = Duration::from_secs(20);
/// How long a stopped command gets to end by itself before it is killed, and how long its output is awaited.
const TERMINATE_GRACE: Duration = Duration::from_secs(5);
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

pub(super) async fn execute(environment: &ToolEnvironment, call: &Call<'_>) -> ToolOutcome {
    let arguments = match ExecuteArguments::read(&call.part.args) {
        Ok(arguments) => arguments,
        Err(error) => return Err(error).into(),
    };
    let started = tokio::select! {
        // nothing was begun, or it was and its token finds it again
        () = call.stop.cancelled() => return Err(interrupted()).into(),
        started = environment.ask_keyed(call, "/v1/processes", &arguments.body) => started,
    };
    let (process, background) = match started {
        Ok((_, answer)) => match answer["process_id"].as_str() {
            // a command that ends in a lone `&` is one for the background too
            Some(id) => (id.to_owned(), arguments.background || answer["background"] == true),
            None => {
                return Err(connection_error(&ConnectionError::Protocol("a process without id".to_owned()))).into();
            }
        },
        Err(error) => return Err(error).into(),
    };
    let follow = Follow { environment, part: call.part, process: &process };
    let wait = if background { Duration::ZERO } else { arguments.timeout };
    let followed = tokio::select! {
        // what was followed is kept by the agent
        () = call.stop.cancelled() => None,
        followed = follow.until_end(wait) => Some(followed),
    };
    match followed {
        None => ToolOutcome::Interrupted(follow.end_it(background).await),
        Some(Err(error)) => Err(error).into(),
        Some(Ok(mut result)) => {
            if !background && result["running"] == true {
                result["timed_out"] = json!(true);
            }
            Ok(with_warnings(result, arguments.warnings)).into()
        }
    }
}

struct ExecuteArguments {
    body: Value,
    timeout: Duration,
    background: bool,
    warnings: Vec<String>,
}

impl ExecuteArguments {
    fn read(args: &Value) -> Result<Self, ToolError> {
        let mut arguments = Arguments::new(args);
        let command = arguments.string("command", 1..=MAX_COMMAND_BYTES);
        if command.contains('\0') {
            arguments.fault("command", "must not contain U+0000");
        }
        let workdir = arguments.optional_string("workdir", 1..=4096);
        let timeout = arguments.optional_duration("timeout", Duration::from_secs(1)..=HOUR);
        let background = arguments.optional_bool("run_in_background").unwrap_or(false);
        let env = arguments.optional_string_map("env", MAX_ENV_NAMES);
        // for people who watch, see the stored arguments
        arguments.optional_string("model_intent", 0..=480);
        let warnings = arguments.finish()?;
        let mut body = json!({ "command": command, "background": background });
        if let Some(workdir) = workdir {
            body["workdir"] = json!(workdir);
        }
        if let Some(env) = env {
            body["env"] = Value::Object(env.into_iter().map(|(name, value)| (name, Value::String(value))).collect());
        }
        Ok(Self { body, timeout: timeout.unwrap_or(Duration::from_secs(60)), background, warnings })
    }
}

/// Following one process.
struct Follow<'a> {
    environment: &'a ToolEnvironment,
    part: &'a ToolCallPart,
    process: &'a str,
}

impl Follow<'_> {
    /// Shows output to viewers until the process has ended or `wait` is over; then the shaped result.
    async fn until_end(&self, wait: Duration) -> Result<Value, ToolError> {
        let clock = &self.environment.clock;
        let deadline = clock.monotonic_now() + wait;
        let mut offset = 0_u64;
        let mut is_shown = true;
        loop {
            let left = deadline.saturating_sub(clock.monotonic_now());
            if left.is_zero() {
                break;
            }
            let wait = left.min(PAGE_WAIT);
            if !is_shown {
                // viewers get no more of it: pages would be thrown away, so only the end is waited for
                let result = self.result(wait).await?;
                if result["running"] == false {
                    return Ok(result);
                }
                continue;
            }
            let wait_ms = wait.as_millis();
            let page = self
                .environment
                .ask(
                    Method::Get,
                    format!("{}?offset={offset}&limit={PAGE_BYTES}&wait_ms={wait_ms}", self.output_path()),
                    None,
                )
                .await
                .map_err(|error| self.with_process(error))?;
            if let Some(text) = page["output"].as_str()
                && !text.is_empty()
            {
                is_shown = self.environment.log.tool_output(&self.part.tool_call_id, &self.part.tool_name, text);
            }
            offset = page["next_offset"].as_u64().unwrap_or(offset).max(offset);
            if page["running"] == false {
                break;
            }
        }
        self.result(Duration::ZERO).await
    }

    /// The result as the agent shapes it, once the process has ended or `wait` is over.
    async fn result(&self, wait: Duration) -> Result<Value, ToolError> {
        self.environment
            .ask(Method::Get, format!("{}?wait_ms={}", self.output_path(), wait.as_millis()), None)
            .await
            .map_err(|error| self.with_process(error))
    }

    /// After a stop: a foreground command is asked to end, then killed; its output so far is kept.
    async fn end_it(&self, background: bool) -> Value {
        let mut error = interrupted();
        if background {
            return error.with("process_id", json!(self.process)).to_result();
        }
        let path = format!("/v1/processes/{}/signal", encoded(self.process));
        let terminate = json!({ "signal": "terminate", "kill_after_ms": TERMINATE_GRACE.as_millis() });
        let ended = async {
            let _ = self.environment.ask(Method::Post, path, Some(terminate)).await;
            self.environment
                .ask(Method::Get, format!("{}?wait_ms={}", self.output_path(), OUTPUT_GRACE.as_millis()), None)
                .await
        };
        let clock = &self.environment.clock;
        let result = tokio::select! {
            // the kill is the agent's by now; only the output is lost
            () = clock.sleep(OUTPUT_GRACE) => None,
            result = ended => result.ok(),
        };
        if let Some(Value::Object(fields)) = result {
            error.details.extend(fields);
        }
        error.to_result()
    }

    fn output_path(&self) -> String {
        format!("/v1/processes/{}/output", encoded(self.process))
    }

    fn with_process(&self, error: ToolError) -> ToolError {
        match error.code {
            _ if error.is_store_away => ToolError::new(
                ToolErrorCode::OutcomeUnknown,
                "The server could not follow the process, which goes on. Look at it with process_output.",
            )
            .with("process_id", json!(self.process)),
            ToolErrorCode::AgentNotConnected => ToolError::new(
                ToolErrorCode::AgentNotConnected,
                "The link to the workspace was lost. The process goes on; follow it with process_output.",
            )
            .with("process_id", json!(self.process)),
            _ => error,
        }
    }
}

pub(super) async fn process_output(environment: &ToolEnvironment, call: &Call<'_>) -> Result<Value, ToolError> {
    let mut arguments = Arguments::new(&call.part.args);
    let process = arguments.string("process_id", 1..=128);
    let wait = arguments.optional_duration("wait_timeout", Duration::ZERO..=HOUR).unwrap_or(Duration::from_secs(10));
    let offset = arguments.optional_integer("offset", i64::MIN..=i64::MAX);
    let limit = arguments.optional_integer("limit", 1..=32 * 1024);
    let warnings = arguments.finish()?;
    let result = if offset.is_some() || limit.is_some() {
        let (offset, limit) = (offset.unwrap_or(0), limit.unwrap_or(32 * 1024));
        let wait_ms = wait.min(Duration::from_secs(60)).as_millis();
        let path =
            format!("/v1/processes/{}/output?offset={offset}&limit={limit}&wait_ms={wait_ms}", encoded(&process));
        tokio::select! {
            // looking has no effect
            () = call.stop.cancelled() => return Err(interrupted()),
            result = environment.ask(Method::Get, path, None) => result?,
        }
    } else {
        let follow = Follow { environment, part: call.part, process: &process };
        tokio::select! {
            // the process goes on, as it would without anybody looking
            () = call.stop.cancelled() => return Err(interrupted()),
            result = follow.until_end(wait) => result?,
        }
    };
    Ok(with_warnings(result, warnings))
}

pub(super) async fn process_list(environment: &ToolEnvironment, call: &Call<'_>) -> Result<Value, ToolError> {
    let warnings = Arguments::new(&call.part.args).finish()?;
    let result = environment.ask(Method::Get, "/v1/processes".to_owned(), None).await?;
    Ok(with_warnings(result, warnings))
}

/// A signal is sent once: where the link breaks, nobody knows whether it arrived.
pub(super) async fn process_signal(environment: &ToolEnvironment, call: &Call<'_>) -> Result<Value, ToolError> {
    let mut arguments = Arguments::new(&call.part.args);
    let process = arguments.string("process_id", 1..=128);
    let signal = arguments.string("signal", 1..=32);
    if !["", "interrupt", "terminate", "kill"].contains(&signal.as_str()) {
        arguments.fault("signal", "must be interrupt, terminate or kill");
    }
    let warnings = arguments.finish()?;
    let connection = environment.connect(super::run::AGENT_WAIT).await?;
    let path = format!("/v1/processes/{}/signal", encoded(&process));
    let body = json!({ "signal": signal });
    match environment.request(connection.as_ref(), Method::Post, &path, Some(&body), None).await {
        // ended already: a plain answer, not an error
        Ok(answer) if answer.status == 409 => {
            let message = format!("Process {process} has ended already.");
            Ok(with_warnings(json!({ "success": false, "message": message }), warnings))
        }
        Ok(answer) => Ok(with_warnings(answer_value(&answer)?, warnings)),
        Err(ConnectionError::Lost) => Err(super::run::outcome_unknown("the link broke while the signal was sent")),
        Err(error) => Err(connection_error(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_execute() {
        let args = json!({"command": "make", "timeout": "5m", "env": {"A": 1}, "workdir": "src"});
        let arguments = ExecuteArguments::read(&args).unwrap();
        assert_eq!(arguments.timeout, Duration::from_secs(300));
        assert_eq!(
            arguments.body,
            json!({"command": "make", "background": false, "workdir": "src", "env": {"A": "1"}})
        );
        assert!(ExecuteArguments::read(&json!({"command": ""})).is_err());
        assert!(ExecuteArguments::read(&json!({"command": "x", "timeout": "2h"})).is_err());
    }
}
