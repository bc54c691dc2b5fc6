//! Operations for handlers. Plain arguments and rows; no HTTP, no rights.

use atelier_domain::{AgentId, BuildId, OrganizationId, TemplateId, TemplateVersionId, UserId, WorkspaceId};
use atelier_store::{
    BuildNew, BuildRow, StoreError, TemplateFields, TemplateRow, Transition, WorkspaceError, WorkspaceNew,
};
use serde_json::Value;

use super::WorkspaceService;
use crate::builds::{fresh_token, parameters};
use crate::demo;
use crate::templates::{
    DRIVER_LOCAL, Fault, SpecSource, TEMPLATE_NAME_RULE, TemplateSpec, is_template_name, is_workspace_name,
    resolve_parameters,
};

const TEXT_BYTES: usize = 2048;
const README_BYTES: usize = 256 * 1024;
/// A workspace's own time to live.
const TTL_MS: std::ops::RangeInclusive<i64> = 60_000..=2_592_000_000;

#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error("there is no such thing")]
    NotFound,
    #[error("the request is not valid: {}", crate::builds::words(.0))]
    Invalid(Vec<Fault>),
    #[error("the name is taken")]
    NameTaken,
    #[error("the template has workspaces")]
    InUse,
    #[error("build {0} is under way")]
    BuildInProgress(BuildId),
    /// The text says which quota.
    #[error("{0}")]
    QuotaExceeded(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<WorkspaceError> for OperationError {
    fn from(error: WorkspaceError) -> Self {
        match error {
            WorkspaceError::NotFound => Self::NotFound,
            WorkspaceError::TooMany => Self::QuotaExceeded("there are 20 workspaces already; delete one first"),
            WorkspaceError::TooManyRunning => Self::QuotaExceeded("10 workspaces run already; stop one first"),
            WorkspaceError::BuildInProgress(build) => Self::BuildInProgress(build),
            WorkspaceError::NameTaken => Self::NameTaken,
            WorkspaceError::Store(error) => Self::Store(error),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct TemplateCreate {
    pub name: String,
    pub display_name: String,
    pub description: String,
    pub icon: String,
    pub readme: String,
    pub driver: String,
    pub spec: Value,
    pub spec_format: Option<String>,
    pub require_active_version: bool,
}

#[derive(Clone, Debug, Default)]
pub struct TemplateUpdate {
    pub name: Option<String>,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub icon: Option<String>,
    pub readme: Option<String>,
    /// Fixed: naming another one is a fault.
    pub driver: Option<String>,
    pub spec: Option<Value>,
    pub spec_format: Option<String>,
    pub require_active_version: Option<bool>,
}

/// A workspace that a user asks for.
#[derive(Clone, Debug)]
pub struct WorkspaceCreate {
    pub owner_id: UserId,
    /// Absent: the template's.
    pub organization_id: Option<OrganizationId>,
    pub template_id: TemplateId,
    pub template_version_id: Option<TemplateVersionId>,
    pub name: String,
    pub ttl_ms: Option<i64>,
    pub parameters: Vec<(String, String)>,
}

/// A build that a user asks for.
#[derive(Clone, Debug)]
pub struct BuildCreate {
    pub workspace_id: WorkspaceId,
    pub initiator_id: UserId,
    pub transition: Transition,
    pub template_version_id: Option<TemplateVersionId>,
    pub parameters: Vec<(String, String)>,
}

impl WorkspaceService {
    /// Creates a template after checking it whole.
    ///
    /// # Errors
    /// [`OperationError::Invalid`] with all faults, [`OperationError::NameTaken`].
    pub async fn template_create(
        &self,
        organization: OrganizationId,
        creator: UserId,
        create: TemplateCreate,
    ) -> Result<TemplateRow, OperationError> {
        let mut faults = Vec::new();
        check_texts(
            &mut faults,
            [
                ("display_name", &create.display_name, TEXT_BYTES),
                ("description", &create.description, TEXT_BYTES),
                ("icon", &create.icon, TEXT_BYTES),
                ("readme", &create.readme, README_BYTES),
            ],
        );
        if !is_template_name(&create.name) {
            faults.push(Fault::new("name", TEMPLATE_NAME_RULE));
        }
        let spec = self.check_spec(&create.driver, &create.spec, create.spec_format.as_deref(), &mut faults);
        if !faults.is_empty() {
            return Err(OperationError::Invalid(faults));
        }
        let fields = TemplateFields {
            name: create.name,
            display_name: create.display_name,
            description: create.description,
            icon: create.icon,
            readme: create.readme,
            require_active_version: create.require_active_version,
            spec,
        };
        let now = self.shared.clock.now();
        self.shared
            .store
            .template_create(organization, create.driver, fields, creator, now)
            .await
            .map_err(template_error)
    }

    /// Changes a template. A changed specification becomes a new version.
    ///
    /// # Errors
    /// [`OperationError::NotFound`], [`OperationError::Invalid`], [`OperationError::NameTaken`].
    pub async fn template_update(
        &self,
        id: TemplateId,
        editor: UserId,
        update: TemplateUpdate,
    ) -> Result<TemplateRow, OperationError> {
        let store = &self.shared.store;
        let before = store.template_get_for_system(id).await?.ok_or(OperationError::NotFound)?;
        let mut faults = Vec::new();
        if update.driver.as_ref().is_some_and(|driver| *driver != before.driver) {
            faults.push(Fault::new("driver", "cannot be changed; create another template"));
        }
        let spec = update
            .spec
            .as_ref()
            .and_then(|spec| self.check_spec(&before.driver, spec, update.spec_format.as_deref(), &mut faults));
        let fields = TemplateFields {
            name: update.name.unwrap_or(before.name),
            display_name: update.display_name.unwrap_or(before.display_name),
            description: update.description.unwrap_or(before.description),
            icon: update.icon.unwrap_or(before.icon),
            readme: update.readme.unwrap_or(before.readme),
            require_active_version: update.require_active_version.unwrap_or(before.require_active_version),
            spec,
        };
        check_texts(
            &mut faults,
            [
                ("display_name", &fields.display_name, TEXT_BYTES),
                ("description", &fields.description, TEXT_BYTES),
                ("icon", &fields.icon, TEXT_BYTES),
                ("readme", &fields.readme, README_BYTES),
            ],
        );
        if !is_template_name(&fields.name) {
            faults.push(Fault::new("name", TEMPLATE_NAME_RULE));
        }
        if !faults.is_empty() {
            return Err(OperationError::Invalid(faults));
        }
        store
            .template_update(id, fields, editor, self.shared.clock.now())
            .await
            .map_err(template_error)?
            .ok_or(OperationError::NotFound)
    }

    /// Deletes a template that no workspace was made from.
    ///
    /// # Errors
    /// [`OperationError::NotFound`], [`OperationError::InUse`].
    pub async fn template_delete(&self, id: TemplateId) -> Result<(), OperationError> {
        let store = &self.shared.store;
        if store.template_get_for_system(id).await?.is_none() {
            return Err(OperationError::NotFound);
        }
        if store.template_delete(id, self.shared.clock.now()).await? { Ok(()) } else { Err(OperationError::InUse) }
    }

    /// Creates the demo template in an organization, or brings it up to date.
    ///
    /// # Errors
    /// As [`Self::template_create`]; faults if the demo is not on.
    pub async fn demo_template_ensure(
        &self,
        organization: OrganizationId,
        creator: UserId,
    ) -> Result<TemplateRow, OperationError> {
        let spec = demo::template_spec(self.shared.builds.rules().network_isolation);
        let there = self.shared.store.templates_of_organization(organization).await?;
        match there.into_iter().find(|template| template.name == demo::TEMPLATE_NAME) {
            Some(template) => {
                let update = TemplateUpdate { spec: Some(spec), ..TemplateUpdate::default() };
                self.template_update(template.id, creator, update).await
            }
            None => {
                let create = TemplateCreate {
                    name: demo::TEMPLATE_NAME.into(),
                    display_name: demo::TEMPLATE_DISPLAY_NAME.into(),
                    description: demo::TEMPLATE_DESCRIPTION.into(),
                    driver: DRIVER_LOCAL.into(),
                    spec,
                    ..TemplateCreate::default()
                };
                self.template_create(organization, creator, create).await
            }
        }
    }

    fn check_spec(&self, driver: &str, spec: &Value, format: Option<&str>, faults: &mut Vec<Fault>) -> Option<String> {
        let source = match (format, spec) {
            (None | Some("json"), spec) => SpecSource::Json(spec),
            (Some("toml"), Value::String(text)) => SpecSource::Toml(text),
            (Some("toml"), _) => {
                faults.push(Fault::new("spec", "must be a string when spec_format is toml"));
                return None;
            }
            (Some(_), _) => {
                faults.push(Fault::new("spec_format", "must be json or toml"));
                return None;
            }
        };
        match TemplateSpec::parse(driver, source, self.shared.builds.rules()) {
            Ok((_, spec)) => Some(spec.to_string()),
            Err(found) => {
                faults.extend(found);
                None
            }
        }
    }

    /// Creates a workspace; its first build begins at once.
    ///
    /// # Errors
    /// [`OperationError::Invalid`] (also for an unknown template), [`OperationError::NameTaken`],
    /// [`OperationError::QuotaExceeded`].
    pub async fn workspace_create(&self, create: WorkspaceCreate) -> Result<(WorkspaceId, BuildRow), OperationError> {
        let store = &self.shared.store;
        let mut faults = Vec::new();
        if !is_workspace_name(&create.name) {
            faults.push(Fault::new("name", "must be 1 to 32 of a-z, 0-9 and -, neither starting nor ending with -"));
        }
        if create.ttl_ms.is_some_and(|ttl| ttl != 0 && !TTL_MS.contains(&ttl)) {
            faults.push(Fault::new("ttl_ms", "must be between 60000 and 2592000000"));
        }
        let unknown = |field: &str| OperationError::Invalid(vec![Fault::new(field, "there is no such template")]);
        let template = store
            .templates_of(create.owner_id)
            .await?
            .into_iter()
            .find(|template| template.id == create.template_id)
            .filter(|template| create.organization_id.is_none_or(|wanted| wanted == template.organization_id))
            .ok_or_else(|| unknown("template_id"))?;
        let version = self.version(&template, create.template_version_id, template.active_version_id).await?;
        let mut spec = None;
        match self.prepare_parameters(&version.1, &create.parameters, None) {
            Ok(prepared) => spec = Some(prepared),
            Err(found) => faults.extend(found),
        }
        let Some((spec, values)) = spec.filter(|_| faults.is_empty()) else {
            return Err(OperationError::Invalid(faults));
        };
        let (ttl_ms, ttl_source) = ttl(&spec, create.ttl_ms, "request");
        let id = WorkspaceId::new();
        let sealed = parameters::seal(store, id, &spec.parameters, &values);
        let (_, hash) = fresh_token();
        let new = WorkspaceNew {
            id,
            owner_id: create.owner_id,
            organization_id: template.organization_id,
            template_id: template.id,
            name: create.name,
            parameters: sealed.clone(),
            ttl_ms,
            ttl_source: ttl_source.into(),
            host_id: self.shared.builds.host_id().to_owned(),
            created_by_chat: None,
            created_by_call: None,
            build: BuildNew {
                id: BuildId::new(),
                template_version_id: version.0,
                transition: Transition::Start,
                reason: "initiator".into(),
                initiator_id: create.owner_id,
                parameters: sealed,
                call: None,
                agent: Some((AgentId::new(), hash)),
            },
        };
        let build = store.workspace_create(new, self.shared.clock.now()).await?;
        self.shared.builds.drive(build.id);
        Ok((id, build))
    }

    /// Begins a build of a workspace.
    ///
    /// # Errors
    /// [`OperationError::BuildInProgress`], [`OperationError::QuotaExceeded`], [`OperationError::Invalid`],
    /// [`OperationError::NotFound`].
    pub async fn build_create(&self, create: BuildCreate) -> Result<BuildRow, OperationError> {
        let view = self.workspace_view(create.workspace_id).await?.ok_or(OperationError::NotFound)?;
        let build = self
            .build_new(&view, create.transition, create.template_version_id, &create.parameters, create.initiator_id)
            .await?;
        let build = self.shared.store.build_create(view.workspace.id, build, self.shared.clock.now()).await?;
        self.shared.builds.drive(build.id);
        self.shared.connections.changes().wake(view.workspace.id);
        Ok(build)
    }

    /// The build that would be next, with its version and parameters.
    pub(super) async fn build_new(
        &self,
        view: &super::WorkspaceView,
        transition: Transition,
        wanted: Option<TemplateVersionId>,
        given: &[(String, String)],
        initiator: UserId,
    ) -> Result<BuildNew, OperationError> {
        let store = &self.shared.store;
        let (version_id, parameters) = if transition == Transition::Start {
            let template =
                store.template_get_for_system(view.workspace.template_id).await?.ok_or(OperationError::NotFound)?;
            let keep = if template.require_active_version {
                template.active_version_id
            } else {
                view.build.template_version_id
            };
            let version = self.version(&template, wanted, keep).await?;
            let before = parameters::open(store, view.workspace.id, &view.build.parameters)
                .map_err(|reason| OperationError::Invalid(vec![Fault::new("parameters", reason)]))?;
            let (spec, values) =
                self.prepare_parameters(&version.1, given, Some(&before)).map_err(OperationError::Invalid)?;
            (version.0, parameters::seal(store, view.workspace.id, &spec.parameters, &values))
        } else {
            (view.build.template_version_id, view.build.parameters.clone())
        };
        let agent = (transition == Transition::Start).then(|| (AgentId::new(), fresh_token().1));
        Ok(BuildNew {
            id: BuildId::new(),
            template_version_id: version_id,
            transition,
            reason: "initiator".into(),
            initiator_id: initiator,
            parameters,
            call: None,
            agent,
        })
    }

    async fn version(
        &self,
        template: &TemplateRow,
        wanted: Option<TemplateVersionId>,
        otherwise: TemplateVersionId,
    ) -> Result<(TemplateVersionId, String), OperationError> {
        let id = wanted.unwrap_or(otherwise);
        let version = self.shared.store.template_version_get(id).await?;
        match version.filter(|version| version.template_id == template.id) {
            Some(version) => Ok((version.id, version.spec)),
            None => Err(OperationError::Invalid(vec![Fault::new(
                "template_version_id",
                "the template has no such version",
            )])),
        }
    }

    pub(super) fn prepare_parameters(
        &self,
        spec: &str,
        given: &[(String, String)],
        before: Option<&std::collections::BTreeMap<String, String>>,
    ) -> Result<(TemplateSpec, std::collections::BTreeMap<String, String>), Vec<Fault>> {
        let spec =
            TemplateSpec::stored(spec).ok_or_else(|| vec![Fault::new("template_id", "the template cannot be read")])?;
        // What a former version had and this one has not is dropped.
        let before = before.map(|before| {
            before
                .iter()
                .filter(|(name, _)| spec.parameters.iter().any(|parameter| parameter.name == **name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        });
        let values = resolve_parameters(&spec.parameters, given, before.as_ref())?;
        Ok((spec, values))
    }
}

/// A workspace's time to live and who decided it. None = never stops by itself.
pub(super) fn ttl(spec: &TemplateSpec, asked: Option<i64>, asker: &'static str) -> (Option<i64>, &'static str) {
    let default = spec.autostop.default_ttl_ms;
    match asked.filter(|ttl| *ttl > 0) {
        Some(asked) if spec.autostop.user_autostop_enabled => (Some(asked), asker),
        Some(_) | None => ((default > 0).then_some(default), "template"),
    }
}

fn check_texts<'a>(faults: &mut Vec<Fault>, texts: impl IntoIterator<Item = (&'a str, &'a String, usize)>) {
    for (field, text, limit) in texts {
        if text.len() > limit {
            faults.push(Fault::new(field, format!("must be at most {limit} bytes")));
        }
        if text.contains('\0') {
            faults.push(Fault::new(field, "must not contain U+0000"));
        }
    }
}

fn template_error(error: StoreError) -> OperationError {
    // PostgreSQL names the index, SQLite the columns.
    if error.is_conflict_on("templates_name") || error.is_conflict_on("templates.name") {
        OperationError::NameTaken
    } else {
        OperationError::Store(error)
    }
}
