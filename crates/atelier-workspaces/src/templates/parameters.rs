//! Parameters of a template and the values a workspace gives them.

use std::collections::{BTreeMap, BTreeSet};

use regex::{Regex, RegexBuilder};
use serde_json::{Value, json};

use super::document::{Fault, Node, NodeValue, Section};
use super::nearest::nearest;

const PARAMETERS: usize = 64;
const VALUE_BYTES: usize = 32 * 1024;
/// Compiled size of a validation's regular expression.
const REGEX_BYTES: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterType {
    String,
    Number,
    Bool,
}

impl ParameterType {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Bool => "bool",
        }
    }
}

#[derive(Clone, Debug)]
pub struct ParameterValidation {
    pub regex: Option<Regex>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// Said instead of the rule when a value fails.
    pub error: Option<String>,
}

/// One declared parameter. Values are strings everywhere; the type says which ones are good.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub name: String,
    pub parameter_type: ParameterType,
    /// None = the workspace must give a value.
    pub default: Option<String>,
    /// Whether a later build may change it.
    pub mutable: bool,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub options: Vec<String>,
    pub validation: Option<ParameterValidation>,
    /// Encrypted in the store, masked in logs, never shown again.
    pub sensitive: bool,
}

impl Parameter {
    /// Why `value` is not good for this parameter.
    pub(crate) fn value_fault(&self, value: &str) -> Option<String> {
        if let Some(fault) = type_fault(self.parameter_type, value) {
            return Some(fault);
        }
        let number = value.parse::<f64>().ok().filter(|_| self.parameter_type == ParameterType::Number);
        if !self.options.is_empty() && !self.options.iter().any(|option| option == value) {
            return Some(format!("must be one of {}", self.options.join(", ")));
        }
        let validation = self.validation.as_ref()?;
        let rule = if validation.regex.as_ref().is_some_and(|regex| !regex.is_match(value)) {
            validation.regex.as_ref().map(|regex| format!("must match {}", regex.as_str()))
        } else if let (Some(number), Some(min)) = (number, validation.min)
            && number < min
        {
            Some(format!("must be at least {min}"))
        } else if let (Some(number), Some(max)) = (number, validation.max)
            && number > max
        {
            Some(format!("must be at most {max}"))
        } else {
            None
        }?;
        Some(validation.error.clone().unwrap_or(rule))
    }

    /// As people and the model see it. A sensitive default stays hidden.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = serde_json::Map::new();
        object.insert("name".into(), json!(self.name));
        object.insert("type".into(), json!(self.parameter_type.as_str()));
        object.insert("required".into(), json!(self.default.is_none()));
        if let Some(default) = &self.default
            && !self.sensitive
        {
            object.insert("default".into(), json!(default));
        }
        object.insert("mutable".into(), json!(self.mutable));
        for (name, text) in [("display_name", &self.display_name), ("description", &self.description)] {
            if let Some(text) = text {
                object.insert(name.into(), json!(text));
            }
        }
        object.insert("options".into(), json!(self.options));
        if let Some(validation) = &self.validation {
            let mut rules = serde_json::Map::new();
            if let Some(regex) = &validation.regex {
                rules.insert("regex".into(), json!(regex.as_str()));
            }
            for (name, limit) in [("min", validation.min), ("max", validation.max)] {
                if let Some(limit) = limit {
                    rules.insert(name.into(), json!(limit));
                }
            }
            if let Some(error) = &validation.error {
                rules.insert("error".into(), json!(error));
            }
            object.insert("validation".into(), Value::Object(rules));
        }
        object.insert("sensitive".into(), json!(self.sensitive));
        Value::Object(object)
    }
}

/// The environment variable a script reads a parameter from.
#[must_use]
pub fn parameter_variable(name: &str) -> String {
    format!("ATELIER_PARAM_{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// Reads `parameters` of a specification.
pub(crate) fn read(spec: &mut Section<'_>, faults: &mut Vec<Fault>) -> Vec<Parameter> {
    let path = spec.path("parameters");
    let nodes = spec.list("parameters", faults);
    if nodes.len() > PARAMETERS {
        faults.push(Fault::new(&path, format!("at most {PARAMETERS} parameters")));
    }
    let mut variables = BTreeSet::new();
    nodes
        .into_iter()
        .take(PARAMETERS)
        .enumerate()
        .filter_map(|(index, node)| {
            let path = format!("{path}[{index}]");
            let parameter = read_one(&path, node, faults)?;
            if !variables.insert(parameter_variable(&parameter.name)) {
                faults.push(node.fault(format!("{path}.name"), format!("{} is there twice", parameter.name)));
            }
            Some(parameter)
        })
        .collect()
}

fn read_one(path: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Parameter> {
    let before = faults.len();
    let mut section = Section::of(path, node, faults);
    if faults.len() > before {
        return None;
    }
    let name = section.string("name", faults);
    match &name {
        Some(name) if is_parameter_name(name) => {}
        Some(_) => faults
            .push(node.fault(section.path("name"), "must be 1 to 64 letters, digits, _ and -, starting with a letter")),
        None if section.entries().any(|(key, _)| key == "name") => {}
        None => faults.push(node.fault(section.path("name"), "is missing")),
    }
    let parameter_type = match section.string("type", faults).as_deref() {
        None | Some("string") => ParameterType::String,
        Some("number") => ParameterType::Number,
        Some("bool") => ParameterType::Bool,
        Some(_) => {
            faults.push(node.fault(section.path("type"), "must be string, number or bool"));
            ParameterType::String
        }
    };
    let default = section.take("default");
    let options = section.list("options", faults);
    let mut parameter = Parameter {
        name: name.unwrap_or_default(),
        parameter_type,
        default: None,
        mutable: section.boolean("mutable", false, faults),
        display_name: section.string("display_name", faults),
        description: section.string("description", faults),
        options: Vec::new(),
        validation: None,
        sensitive: section.boolean("sensitive", false, faults),
    };
    for (index, option) in options.into_iter().take(256).enumerate() {
        let path = format!("{path}.options[{index}]");
        match scalar(option).map(|text| (type_fault(parameter_type, &text), text)) {
            Some((None, text)) => parameter.options.push(text),
            Some((Some(fault), _)) => faults.push(option.fault(path, fault)),
            None => faults.push(option.wrong_type(&path, "a string, number or boolean")),
        }
    }
    let validation_path = section.path("validation");
    if let Some(validation) = section.section("validation", faults) {
        parameter.validation = Some(read_validation(&validation_path, validation, parameter_type, node, faults));
    }
    if let Some(default) = default {
        let path = format!("{path}.default");
        match scalar(default) {
            Some(text) => {
                if let Some(fault) = parameter.value_fault(&text) {
                    faults.push(default.fault(path, fault));
                }
                parameter.default = Some(text);
            }
            None => faults.push(default.wrong_type(&path, parameter_type.as_str())),
        }
    }
    section.finish(faults);
    Some(parameter)
}

fn read_validation(
    path: &str,
    mut section: Section<'_>,
    parameter_type: ParameterType,
    node: &Node,
    faults: &mut Vec<Fault>,
) -> ParameterValidation {
    let regex = section.string("regex", faults).and_then(|text| {
        if parameter_type != ParameterType::String {
            faults.push(node.fault(format!("{path}.regex"), "is for strings only"));
        }
        match RegexBuilder::new(&text).size_limit(REGEX_BYTES).build() {
            Ok(regex) => Some(regex),
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default();
                faults.push(node.fault(format!("{path}.regex"), format!("does not compile: {reason}")));
                None
            }
        }
    });
    let min = section.number("min", faults);
    let max = section.number("max", faults);
    if parameter_type != ParameterType::Number && (min.is_some() || max.is_some()) {
        faults.push(node.fault(path, "min and max are for numbers only"));
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        faults.push(node.fault(format!("{path}.min"), "is greater than max"));
    }
    let error = section.string("error", faults);
    section.finish(faults);
    ParameterValidation { regex, min, max, error }
}

fn type_fault(parameter_type: ParameterType, value: &str) -> Option<String> {
    if value.len() > VALUE_BYTES {
        return Some(format!("must be at most {VALUE_BYTES} bytes"));
    }
    if value.contains('\0') {
        return Some("must not contain U+0000".into());
    }
    match parameter_type {
        ParameterType::String => None,
        ParameterType::Bool => (!matches!(value, "true" | "false")).then(|| "must be true or false".into()),
        ParameterType::Number => (!value.parse::<f64>().is_ok_and(f64::is_finite)).then(|| "must be a number".into()),
    }
}

/// A string, number or boolean as the text it stands for.
fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        NodeValue::String(text) => Some(text.clone()),
        NodeValue::Integer(number) => Some(number.to_string()),
        NodeValue::Float(number) => Some(number.to_string()),
        NodeValue::Bool(value) => Some(value.to_string()),
        NodeValue::Null | NodeValue::Array(_) | NodeValue::Table(_) => None,
    }
}

fn is_parameter_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// The values of a workspace: what is given now, else what the build before had, else the default.
///
/// # Errors
/// Every unknown, missing or failing parameter and every changed immutable one, as `parameters.NAME`.
pub fn resolve_parameters(
    declared: &[Parameter],
    given: &[(String, String)],
    previous: Option<&BTreeMap<String, String>>,
) -> Result<BTreeMap<String, String>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
    let names: Vec<&str> = declared.iter().map(|parameter| parameter.name.as_str()).collect();
    for (name, value) in given {
        if !names.contains(&name.as_str()) {
            let hint = nearest(name, &names).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            faults.push(Fault::new(format!("parameters.{name}"), format!("the template has no such parameter{hint}")));
        }
        if wanted.insert(name, value).is_some() {
            faults.push(Fault::new(format!("parameters.{name}"), "is there twice"));
        }
    }
    let mut values = BTreeMap::new();
    for parameter in declared {
        let path = format!("parameters.{}", parameter.name);
        let before = previous.and_then(|previous| previous.get(&parameter.name));
        let value = match (wanted.get(parameter.name.as_str()), before) {
            (Some(value), Some(before)) if !parameter.mutable && value != before => {
                faults.push(Fault::new(path, "is fixed when the workspace is created"));
                continue;
            }
            (Some(value), _) => (*value).to_owned(),
            (None, Some(before)) => before.clone(),
            (None, None) => match &parameter.default {
                Some(default) => default.clone(),
                None => {
                    faults.push(Fault::new(path, "is required"));
                    continue;
                }
            },
        };
        match parameter.value_fault(&value) {
            Some(fault) => faults.push(Fault::new(path, fault)),
            None => {
                values.insert(parameter.name.clone(), value);
            }
        }
    }
    if faults.is_empty() { Ok(values) } else { Err(faults) }
}
