//! A document as a tree, from JSON or TOML, and reading it with all faults collected.

use serde_json::{Map, Number, Value};

use super::nearest::nearest;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path in the document, for instance `spec.local.extra_paths[0]`.
    pub field: String,
    pub detail: String,
}

impl Fault {
    pub(crate) fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }
}

/// A value and, when it came from text, its line and column (from 1).
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: NodeValue,
    at: Option<(usize, usize)>,
}

#[derive(Clone, Debug)]
pub(crate) enum NodeValue {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    Array(Vec<Node>),
    Table(Vec<(String, Node)>),
}

impl Node {
    pub(crate) fn from_json(value: &Value) -> Self {
        let value = match value {
            Value::Null => NodeValue::Null,
            Value::Bool(value) => NodeValue::Bool(*value),
            Value::Number(number) => number
                .as_i64()
                .map_or_else(|| NodeValue::Float(number.as_f64().unwrap_or(f64::NAN)), NodeValue::Integer),
            Value::String(text) => NodeValue::String(text.clone()),
            Value::Array(items) => NodeValue::Array(items.iter().map(Self::from_json).collect()),
            Value::Object(object) => {
                NodeValue::Table(object.iter().map(|(key, value)| (key.clone(), Self::from_json(value))).collect())
            }
        };
        Self { value, at: None }
    }

    /// Parses TOML text. The fault names line and column.
    pub(crate) fn from_toml(text: &str) -> Result<Self, Fault> {
        match toml::de::DeTable::parse(text) {
            Ok(table) => Ok(Self { value: from_toml_table(text, table.get_ref()), at: Some((1, 1)) }),
            Err(error) => {
                let at = error.span().map(|span| position(text, span.start));
                Err(Fault::new("spec", with_position(format!("not valid TOML: {}", error.message()), at)))
            }
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        match &self.value {
            NodeValue::Null => Value::Null,
            NodeValue::Bool(value) => Value::Bool(*value),
            NodeValue::Integer(value) => Value::Number((*value).into()),
            NodeValue::Float(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
            NodeValue::String(text) => Value::String(text.clone()),
            NodeValue::Array(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            NodeValue::Table(entries) => {
                Value::Object(entries.iter().map(|(key, node)| (key.clone(), node.to_json())).collect::<Map<_, _>>())
            }
        }
    }

    fn kind(&self) -> &'static str {
        match &self.value {
            NodeValue::Null => "null",
            NodeValue::Bool(_) => "a boolean",
            NodeValue::Integer(_) => "a whole number",
            NodeValue::Float(_) => "a number",
            NodeValue::String(_) => "a string",
            NodeValue::Array(_) => "a list",
            NodeValue::Table(_) => "an object",
        }
    }

    /// A fault at this node.
    pub(crate) fn fault(&self, field: impl Into<String>, detail: impl Into<String>) -> Fault {
        Fault::new(field, with_position(detail.into(), self.at))
    }

    pub(crate) fn wrong_type(&self, field: &str, wanted: &str) -> Fault {
        self.fault(field, format!("must be {wanted}, is {}", self.kind()))
    }
}

fn from_toml_table(text: &str, table: &toml::de::DeTable<'_>) -> NodeValue {
    let mut entries: Vec<(usize, String, Node)> = table
        .iter()
        .map(|(key, value)| {
            let node =
                Node { value: from_toml_value(text, value.get_ref()), at: Some(position(text, key.span().start)) };
            (key.span().start, key.get_ref().to_string(), node)
        })
        .collect();
    entries.sort_by_key(|(start, ..)| *start);
    NodeValue::Table(entries.into_iter().map(|(_, key, node)| (key, node)).collect())
}

fn from_toml_value(text: &str, value: &toml::de::DeValue<'_>) -> NodeValue {
    use toml::de::DeValue;
    match value {
        DeValue::String(text) => NodeValue::String(text.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(NodeValue::Float(f64::NAN), NodeValue::Integer),
        DeValue::Float(float) => NodeValue::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => NodeValue::Bool(*value),
        DeValue::Datetime(datetime) => NodeValue::String(datetime.to_string()),
        DeValue::Array(items) => NodeValue::Array(
            items
                .iter()
                .map(|item| Node {
                    value: from_toml_value(text, item.get_ref()),
                    at: Some(position(text, item.span().start)),
                })
                .collect(),
        ),
        DeValue::Table(table) => from_toml_table(text, table),
    }
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + String::from_utf8_lossy(&before[line_start..]).chars().count();
    (line, column)
}

fn with_position(detail: String, at: Option<(usize, usize)>) -> String {
    match at {
        Some((line, column)) => format!("{detail} (line {line}, column {column})"),
        None => detail,
    }
}

/// Reads the entries of one object; what nobody asked for is a fault in the end.
pub(crate) struct Section<'a> {
    path: String,
    entries: &'a [(String, Node)],
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The object at `node`; a fault and an empty section if it is none.
    pub(crate) fn of(path: impl Into<String>, node: &'a Node, faults: &mut Vec<Fault>) -> Self {
        let path = path.into();
        let entries = match &node.value {
            NodeValue::Table(entries) => entries.as_slice(),
            _ => {
                faults.push(node.wrong_type(&path, "an object"));
                &[]
            }
        };
        Self { path, entries, known: Vec::new() }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// The value called `name`; null counts as absent.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<&'a Node> {
        self.known.push(name);
        self.entries
            .iter()
            .find(|(key, node)| key == name && !matches!(node.value, NodeValue::Null))
            .map(|(_, node)| node)
    }

    pub(crate) fn section(&mut self, name: &'static str, faults: &mut Vec<Fault>) -> Option<Section<'a>> {
        let node = self.take(name)?;
        Some(Section::of(self.path(name), node, faults))
    }

    pub(crate) fn string(&mut self, name: &'static str, faults: &mut Vec<Fault>) -> Option<String> {
        let node = self.take(name)?;
        match &node.value {
            NodeValue::String(text) if text.contains('\0') => {
                faults.push(node.fault(self.path(name), "must not contain U+0000"));
                None
            }
            NodeValue::String(text) => Some(text.clone()),
            _ => {
                faults.push(node.wrong_type(&self.path(name), "a string"));
                None
            }
        }
    }

    pub(crate) fn boolean(&mut self, name: &'static str, default: bool, faults: &mut Vec<Fault>) -> bool {
        let Some(node) = self.take(name) else { return default };
        if let NodeValue::Bool(value) = node.value {
            return value;
        }
        faults.push(node.wrong_type(&self.path(name), "true or false"));
        default
    }

    pub(crate) fn integer(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<i64>,
        faults: &mut Vec<Fault>,
    ) -> Option<i64> {
        let node = self.take(name)?;
        match node.value {
            NodeValue::Integer(value) if range.contains(&value) => Some(value),
            NodeValue::Integer(_) => {
                faults.push(
                    node.fault(self.path(name), format!("must be between {} and {}", range.start(), range.end())),
                );
                None
            }
            _ => {
                faults.push(node.wrong_type(&self.path(name), "a whole number"));
                None
            }
        }
    }

    pub(crate) fn number(&mut self, name: &'static str, faults: &mut Vec<Fault>) -> Option<f64> {
        let node = self.take(name)?;
        match node.value {
            #[expect(clippy::cast_precision_loss, reason = "limits of people, far below 2^53")]
            NodeValue::Integer(value) => Some(value as f64),
            NodeValue::Float(value) if value.is_finite() => Some(value),
            _ => {
                faults.push(node.wrong_type(&self.path(name), "a number"));
                None
            }
        }
    }

    /// The strings of a list, each with its path.
    pub(crate) fn strings(&mut self, name: &'static str, faults: &mut Vec<Fault>) -> Vec<(String, &'a Node, String)> {
        let path = self.path(name);
        self.list(name, faults)
            .into_iter()
            .enumerate()
            .filter_map(|(index, node)| {
                let path = format!("{path}[{index}]");
                match &node.value {
                    NodeValue::String(text) if !text.contains('\0') => Some((path, node, text.clone())),
                    NodeValue::String(_) => {
                        faults.push(node.fault(path, "must not contain U+0000"));
                        None
                    }
                    _ => {
                        faults.push(node.wrong_type(&path, "a string"));
                        None
                    }
                }
            })
            .collect()
    }

    pub(crate) fn list(&mut self, name: &'static str, faults: &mut Vec<Fault>) -> Vec<&'a Node> {
        let Some(node) = self.take(name) else { return Vec::new() };
        match &node.value {
            NodeValue::Array(items) => items.iter().collect(),
            _ => {
                faults.push(node.wrong_type(&self.path(name), "a list"));
                Vec::new()
            }
        }
    }

    /// Every entry, for objects whose keys are free.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Node)> {
        self.entries.iter().map(|(key, node)| (key.as_str(), node))
    }

    /// Names what was not asked for.
    pub(crate) fn finish(self, faults: &mut Vec<Fault>) {
        for (key, node) in self.entries {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let hint = nearest(key, &self.known).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            faults.push(node.fault(self.path(key), format!("unknown key{hint}")));
        }
    }
}
