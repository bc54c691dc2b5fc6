//! The OpenAPI document. It is made of the routes as they are served, so that none is left out.
//!
//! Its examples are bodies that were sent and received: a test calls every operation and compares.

use std::any::type_name_of_val;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use atelier_api as api;
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// `request` and `response` by the name of the operation. `./dev generate` writes them.
static EXAMPLES: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("openapi/examples.json")).expect("the committed examples are JSON")
});

/// What the document says of a route beside its path.
pub(crate) struct Doc {
    summary: &'static str,
    takes: Option<Body>,
    status: u16,
    gives: Option<Body>,
    query: &'static [&'static str],
    refuses: &'static [&'static str],
}

/// Codes of refusals with their status (`api.md` 1.3), as far as routes that exist have them.
const CODES: &[(&str, u16)] = &[
    ("validation_failed", 400),
    ("invalid_json", 400),
    ("invalid_id", 400),
    ("invalid_cursor", 400),
    ("invalid_content", 400),
    ("workspace_unavailable", 400),
    ("model_unavailable", 400),
    ("no_default_model", 400),
    ("unknown_mcp_servers", 400),
    ("already_archived", 400),
    ("not_archived", 400),
    ("parent_archived", 400),
    ("not_a_user_message", 400),
    ("in_use", 400),
    ("last_owner", 400),
    ("unsupported_file_type", 400),
    ("api_key_required", 400),
    ("egress_denied", 400),
    ("unauthenticated", 401),
    ("invalid_credentials", 401),
    ("account_suspended", 401),
    ("forbidden", 403),
    ("origin_mismatch", 403),
    ("setup_code_required", 403),
    ("not_chat_owner", 403),
    ("not_found", 404),
    ("already_exists", 409),
    ("first_user_exists", 409),
    ("chat_archived", 409),
    ("nothing_to_retry", 409),
    ("usage_limit_reached", 409),
    ("build_in_progress", 409),
    ("quota_exceeded", 409),
    ("idempotency_in_progress", 409),
    ("body_too_large", 413),
    ("file_too_large", 413),
    ("idempotency_key_reused", 422),
    ("upgrade_required", 426),
    ("queue_full", 429),
    ("rate_limited", 429),
    ("internal", 500),
    ("unavailable", 503),
];

/// A wire type by its name, and how its schemas are found.
struct Type {
    name: String,
    collect: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Type {
    fn of<T: ToSchema + PartialSchema>() -> Self {
        Self {
            name: T::name().into_owned(),
            collect: |found| {
                found.push((T::name().into_owned(), T::schema()));
                T::schemas(found);
            },
        }
    }

    fn reference(&self) -> Value {
        json!({ "$ref": format!("#/components/schemas/{}", self.name) })
    }
}

/// What a request or an answer holds.
enum Body {
    Json(Type),
    JsonList(Type),
    /// Bytes of these media types.
    Bytes(&'static [&'static str]),
}

impl Body {
    const fn json(&self) -> Option<&Type> {
        match self {
            Self::Json(of_type) | Self::JsonList(of_type) => Some(of_type),
            Self::Bytes(_) => None,
        }
    }

    /// The content by its media types; `example` is that of a JSON body.
    fn content(&self, example: &Value) -> Value {
        let schema = match self {
            Self::Bytes(media_types) => {
                return media_types.iter().map(|kind| ((*kind).to_owned(), json!({}))).collect();
            }
            Self::Json(of_type) => of_type.reference(),
            Self::JsonList(of_type) => json!({"type": "array", "items": of_type.reference()}),
        };
        let mut media = json!({"schema": schema});
        if !example.is_null() {
            media["example"] = example.clone();
        }
        json!({"application/json": media})
    }
}

/// A route that answers 200 with some text, until more is said.
pub(crate) const fn does(summary: &'static str) -> Doc {
    Doc { summary, takes: None, status: 200, gives: None, query: &[], refuses: &[] }
}

impl Doc {
    pub(crate) fn takes<T: ToSchema + PartialSchema>(self) -> Self {
        Self { takes: Some(Body::Json(Type::of::<T>())), ..self }
    }

    /// A body that is a file of one of these media types.
    pub(crate) fn takes_bytes(self, media_types: &'static [&'static str]) -> Self {
        Self { takes: Some(Body::Bytes(media_types)), ..self }
    }

    pub(crate) fn gives_bytes(self, media_types: &'static [&'static str]) -> Self {
        Self { gives: Some(Body::Bytes(media_types)), ..self }
    }

    pub(crate) fn gives<T: ToSchema + PartialSchema>(self) -> Self {
        Self { gives: Some(Body::Json(Type::of::<T>())), ..self }
    }

    pub(crate) fn lists<T: ToSchema + PartialSchema>(self) -> Self {
        Self { gives: Some(Body::JsonList(Type::of::<T>())), ..self }
    }

    /// Answers 201 with the new thing.
    pub(crate) fn makes<T: ToSchema + PartialSchema>(self) -> Self {
        Self { status: 201, ..self.gives::<T>() }
    }

    /// A WebSocket (or Server-Sent Events) of these.
    pub(crate) fn streams<T: ToSchema + PartialSchema>(self) -> Self {
        Self { status: 101, ..self.gives::<T>() }
    }

    /// Answers 204.
    pub(crate) const fn empty(mut self) -> Self {
        self.status = 204;
        self
    }

    /// Codes of refusals beside those that every route of its kind has.
    pub(crate) const fn refuses(mut self, codes: &'static [&'static str]) -> Self {
        self.refuses = codes;
        self
    }

    pub(crate) const fn query(mut self, query: &'static [&'static str]) -> Self {
        self.query = query;
        self
    }
}

/// A route as it is documented.
pub(crate) struct Documented {
    pub(crate) path: String,
    pub(crate) method: &'static str,
    pub(crate) operation: String,
    pub(crate) is_anonymous: bool,
    pub(crate) doc: Doc,
}

/// The name of a handler is the operation's on every floor.
pub(crate) fn operation_of<H>(handler: &H) -> &'static str {
    let path = type_name_of_val(handler);
    path.rsplit("::").next().unwrap_or(path)
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let routes = crate::router::documented();
    let mut paths: Map<String, Value> = Map::new();
    let mut found: Vec<(String, RefOr<Schema>)> = Vec::new();
    (Type::of::<api::Error>().collect)(&mut found);
    for route in &routes {
        let entry = paths.entry(route.path.clone()).or_insert_with(|| json!({}));
        entry[route.method] = operation(route);
        for of_type in [&route.doc.takes, &route.doc.gives].into_iter().flatten().filter_map(Body::json) {
            (of_type.collect)(&mut found);
        }
    }
    let schemas: BTreeMap<String, Value> = found
        .into_iter()
        .map(|(name, schema)| (name, serde_json::to_value(schema).expect("a schema always serializes")))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Atelier", "version": env!("CARGO_PKG_VERSION"), "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "Coder-Session-Token"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "coder_session_token"},
            },
        },
    })
}

fn operation(route: &Documented) -> Value {
    let doc = &route.doc;
    let text = json!({"type": "string"});
    let in_path = route.path.split('/').filter_map(|piece| piece.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": text}))
        .chain(doc.query.iter().map(|name| json!({"name": name, "in": "query", "schema": text})))
        .collect();
    let example = &EXAMPLES[&route.operation];
    let mut good = json!({"description": if doc.status == 101 { "The stream begins" } else { "Done" }});
    if let Some(gives) = &doc.gives {
        good["content"] = gives.content(&example["response"]);
    }
    let mut operation = json!({
        "operationId": route.operation,
        "summary": doc.summary,
        "parameters": parameters,
        "responses": {
            doc.status.to_string(): good,
            "default": {"description": "Refused", "content": Body::Json(Type::of::<api::Error>()).content(&Value::Null)},
        },
    });
    for (status, codes) in refusals(route) {
        let example = json!({"message": "What is wrong, and what to do.", "code": codes[0]});
        operation["responses"][status.to_string()] = json!({
            "description": format!("`code` is one of {}", codes.join(", ")),
            "content": Body::Json(Type::of::<api::Error>()).content(&example),
        });
    }
    if let Some(takes) = &doc.takes {
        operation["requestBody"] = json!({"required": true, "content": takes.content(&example["request"])});
    }
    if !route.is_anonymous {
        operation["security"] = json!([{"token": []}, {"bearer": []}, {"cookie": []}]);
    }
    operation
}

/// What a route may answer when it refuses: its own codes, and those that follow from its form.
fn refusals(route: &Documented) -> BTreeMap<u16, Vec<&'static str>> {
    let doc = &route.doc;
    let changes = route.method != "get";
    let cases: [(bool, &[&'static str]); 9] = [
        (true, &["internal", "unavailable"]),
        (route.path.starts_with("/api/v2") || route.path.starts_with("/api/experimental"), &["rate_limited"]),
        (!route.is_anonymous, &["unauthenticated"]),
        (changes && !route.is_anonymous, &["forbidden"]),
        (changes, &["origin_mismatch"]),
        (route.path.contains('{'), &["invalid_id", "not_found"]),
        (!doc.query.is_empty(), &["validation_failed"]),
        (
            doc.takes.as_ref().is_some_and(|takes| takes.json().is_some()),
            &["invalid_json", "validation_failed", "body_too_large"],
        ),
        (route.method == "post" && !route.is_anonymous, &["idempotency_in_progress", "idempotency_key_reused"]),
    ];
    let codes = cases.iter().filter(|(holds, _)| *holds).flat_map(|(_, codes)| *codes).chain(doc.refuses);
    let mut by_status: BTreeMap<u16, Vec<&'static str>> = BTreeMap::new();
    for code in codes {
        let (_, status) = CODES.iter().find(|(known, _)| known == code).expect("codes of routes are in the list");
        let listed = by_status.entry(*status).or_default();
        if !listed.contains(code) {
            listed.push(code);
        }
    }
    by_status
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.push(reference.clone());
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_operations_are_unique() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{reference} leads nowhere");
        }
        let routes = crate::router::documented();
        let operations: HashSet<&str> = routes.iter().map(|route| route.operation.as_str()).collect();
        assert_eq!(operations.len(), routes.len());
    }

    #[test]
    fn the_committed_document_is_fresh() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi/atelier.json");
        let committed: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(committed == document(), "openapi/atelier.json is stale: run ./dev generate");
    }
}
