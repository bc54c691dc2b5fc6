//! Templates: the recipe a workspace is made from (`workspaces.md` 5.1 and 5.2).
//!
//! Everything here is pure. A document becomes a [`TemplateSpec`] or the list of all its faults at once,
//! each with its path in the document; given values become checked parameters; and a specification with
//! its parameters becomes a [`ResolvedSpec`], where no `${...}` is left. Substitution happens in values
//! that are already parsed, so what a parameter holds can never change the document's structure, and
//! scripts are never substituted at all: they read `ATELIER_PARAM_<NAME>`.

mod check;
mod document;
mod hosts;
mod interpolation;
mod nearest;
mod parameters;
mod spec;

pub use document::Fault;
pub use interpolation::Facts;
pub use parameters::{Parameter, ParameterType, ParameterValidation, parameter_variable, resolve_parameters};
pub use spec::{
    Autostop, BUILTIN_DEMO, Desktop, HostNetwork, LocalSection, NetworkPolicy, Repository, ResolvedSpec, Resources,
    SpecRules, SpecSource, TemplateSpec, redact_spec,
};

pub(crate) use check::{TEMPLATE_NAME_RULE, is_template_name, is_workspace_name};
pub(crate) use hosts::lists_host;

/// The driver this server has.
pub const DRIVER_LOCAL: &str = "local";
