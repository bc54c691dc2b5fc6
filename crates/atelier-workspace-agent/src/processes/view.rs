//! What is told about a command: its output as a result of `execute`, and its line in the list.

use std::io;

use atelier_workspace_protocol::{
    AgentLimits, Gap, LeftRunning, ProcessOutput, ProcessState, ProcessSummary, Truncated,
};

use super::entry::{Entry, Status};
use super::output::Output;
use super::render::{self, Bounds};
use crate::storage;

/// Bytes of a command in the list.
pub(super) const LISTED_COMMAND_BYTES: usize = 200;
/// The longest marker between head and tail.
const MARKER_BYTES: usize = 160;

/// Which part of the output is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    HeadAndTail,
    /// Negative offsets count from the end.
    Page {
        offset: i64,
        limit: usize,
    },
}

/// The answer, and whether it has output past where a page began.
pub(super) fn output(entry: &Entry, part: Part, limits: &AgentLimits) -> io::Result<ProcessOutput> {
    // Read before the bytes: if it says "ended", the bytes are all there are.
    let status = entry.status();
    let output = Output::open(&entry.folder)?;
    let mut answer = facts(entry, &status, &output);
    match part {
        Part::HeadAndTail => head_and_tail(&mut answer, &output, !status.is_running(), limits)?,
        Part::Page { offset, limit } => page(&mut answer, &output, !status.is_running(), offset, limit, limits)?,
    }
    Ok(answer)
}

fn facts(entry: &Entry, status: &Status, output: &Output) -> ProcessOutput {
    let running = status.is_running();
    let exit = status.exit.as_ref();
    let mut notes = entry.meta.notes.clone();
    if status.state == ProcessState::Lost {
        notes.push(
            "The process ended with the workspace, its keeper was killed, or the agent's folder was removed. Nobody \
             knows its exit code."
                .into(),
        );
    }
    if exit.is_some_and(|exit| exit.lost_bytes > 0) {
        notes.push(format!(
            "The last {} bytes of output were lost: they could not be written, the disk may be full.",
            exit.map_or(0, |exit| exit.lost_bytes)
        ));
    }
    let wall = exit.map_or_else(
        || {
            if running { u64::try_from(storage::now_ms() - entry.meta.created_at_ms).unwrap_or(0) } else { 0 }
        },
        |exit| exit.duration_ms,
    );
    ProcessOutput {
        success: (!running).then(|| exit.is_some_and(|exit| exit.exit_code == Some(0))),
        running,
        process_id: entry.meta.process_id.clone(),
        exit_code: exit.and_then(|exit| exit.exit_code),
        signal: exit.and_then(|exit| exit.signal.clone()),
        state: match status.state {
            ProcessState::Running | ProcessState::Exited => None,
            state @ (ProcessState::Starting | ProcessState::Lost) => Some(state),
        },
        output: String::new(),
        output_bytes: output.total(),
        truncated: None,
        offset: None,
        next_offset: 0,
        eof: None,
        gap: None,
        timed_out: false,
        wall_duration_ms: wall,
        sandbox: None,
        notes,
        left_running: entry.left_running(),
    }
}

fn page(
    answer: &mut ProcessOutput,
    output: &Output,
    ended: bool,
    offset: i64,
    limit: usize,
    limits: &AgentLimits,
) -> io::Result<()> {
    let total = output.total();
    let (wanted, from_end) = match u64::try_from(offset) {
        Ok(offset) => (offset.min(total), false),
        Err(_) => (total.saturating_sub(offset.unsigned_abs()), true),
    };
    let mut start = output.start(wanted);
    let mut raw = output.read(start, limit)?;
    if start > wanted {
        answer.gap = Some(Gap { from: wanted, to: start });
    }
    if from_end || start > wanted {
        let skipped = render::first_character(&raw, 0);
        raw.drain(..skipped);
        start += skipped as u64;
    }
    let is_end = ended && start + raw.len() as u64 >= total;
    let bounds = Bounds { text_bytes: limits.output_bytes, json_bytes: limits.output_json_bytes };
    let (text, taken) = render::page(&raw, is_end, bounds);
    answer.output = text;
    answer.offset = Some(start);
    answer.next_offset = start + taken as u64;
    answer.eof = Some(ended && answer.next_offset >= total);
    Ok(())
}

fn head_and_tail(answer: &mut ProcessOutput, output: &Output, ended: bool, limits: &AgentLimits) -> io::Result<()> {
    let total = output.total();
    let whole = Bounds { text_bytes: limits.output_bytes, json_bytes: limits.output_json_bytes };
    if total <= limits.output_bytes as u64 {
        let raw = output.read(0, limits.output_bytes)?;
        let (text, taken) = render::page(&raw, ended, whole);
        // Running, the last character may not be whole yet; that is no truncation.
        if taken == raw.len() || (!ended && taken == render::whole_len(&raw)) {
            answer.output = text;
            answer.next_offset = taken as u64;
            return Ok(());
        }
    }
    let room = limits.output_bytes.saturating_sub(MARKER_BYTES);
    let head_bounds =
        Bounds { text_bytes: limits.output_head_bytes.min(room), json_bytes: limits.output_json_bytes / 2 };
    let raw_head = output.read(0, head_bounds.text_bytes)?;
    let (head, head_len) = render::head(&raw_head, head_bounds);

    let tail_bounds = Bounds {
        text_bytes: room.saturating_sub(head.len()),
        json_bytes: limits.output_json_bytes.saturating_sub(render::json_len(&head) + MARKER_BYTES),
    };
    let from = total.saturating_sub(tail_bounds.text_bytes as u64).max(head_len as u64);
    let raw_tail = output.read(output.start(from), tail_bounds.text_bytes)?;
    let (tail, tail_len) = render::tail(&raw_tail, ended, tail_bounds);

    let retained = (head_len + tail_len) as u64;
    let omitted = total.saturating_sub(retained);
    let line = if head.is_empty() || head.ends_with('\n') { "" } else { "\n" };
    answer.output = format!(
        "{head}{line}[... {omitted} bytes left out, process_output with offset {head_len} shows them ...]\n{tail}"
    );
    answer.truncated = Some(Truncated {
        original_bytes: total,
        retained_bytes: retained,
        omitted_bytes: omitted,
        strategy: "head_tail".into(),
    });
    answer.next_offset = head_len as u64;
    Ok(())
}

pub(super) fn summary(entry: &Entry, left_running: Vec<LeftRunning>) -> io::Result<ProcessSummary> {
    let status = entry.status();
    let exit = status.exit.as_ref();
    Ok(ProcessSummary {
        process_id: entry.meta.process_id.clone(),
        command: atelier_domain::text::head(&entry.meta.command, LISTED_COMMAND_BYTES).to_owned(),
        workdir: entry.meta.workdir.clone(),
        background: entry.meta.background,
        running: status.is_running(),
        exit_code: exit.and_then(|exit| exit.exit_code),
        signal: exit.and_then(|exit| exit.signal.clone()),
        state: status.state,
        output_bytes: Output::open(&entry.folder)?.total(),
        started_at: storage::timestamp_text(entry.meta.created_at_ms),
        ended_at: exit.map(|exit| storage::timestamp_text(exit.ended_at_ms)),
        chat_id: entry.meta.chat_id.clone(),
        left_running,
    })
}
