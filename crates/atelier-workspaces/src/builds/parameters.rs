//! Parameter values as they lie in the store: a JSON object, sensitive values sealed.

use std::collections::BTreeMap;

use atelier_domain::WorkspaceId;
use atelier_store::Store;
use serde_json::{Map, Value, json};

use crate::templates::Parameter;

const SEALED: &str = "sealed";

/// The JSON text to store.
pub(crate) fn seal(
    store: &Store,
    workspace: WorkspaceId,
    declared: &[Parameter],
    values: &BTreeMap<String, String>,
) -> String {
    let mut object = Map::new();
    for (name, value) in values {
        let sensitive = declared.iter().any(|parameter| parameter.name == *name && parameter.sensitive);
        let stored =
            if sensitive { json!({ SEALED: store.parameter_seal(workspace, name, value) }) } else { json!(value) };
        object.insert(name.clone(), stored);
    }
    Value::Object(object).to_string()
}

/// The sensitive values of a stored text: what no log may show.
pub(crate) fn sensitive(store: &Store, workspace: WorkspaceId, text: &str) -> Vec<String> {
    let object: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let sealed = object.into_iter().filter_map(|(name, value)| Some((name, value.get(SEALED)?.as_str()?.to_owned())));
    sealed
        .filter_map(|(name, sealed)| Some(store.parameter_open(workspace, &name, &sealed).ok()?.expose().to_owned()))
        .collect()
}

/// The values of a stored text.
pub(crate) fn open(store: &Store, workspace: WorkspaceId, text: &str) -> Result<BTreeMap<String, String>, String> {
    let object: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    object
        .into_iter()
        .map(|(name, value)| match &value {
            Value::String(value) => Ok((name, value.clone())),
            other => {
                let sealed = other.get(SEALED).and_then(Value::as_str).unwrap_or_default();
                let value = store.parameter_open(workspace, &name, sealed).map_err(|error| error.to_string())?;
                Ok((name, value.expose().to_owned()))
            }
        })
        .collect()
}
