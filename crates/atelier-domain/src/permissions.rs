//! Who may do what: one table of role x action, without wildcards.
//!
//! Roles add up: a subject may do what any of its roles allows. Everyone holds `member`, and everyone in an
//! organization holds its `organization-member`; both are the `member` column. This module owns the table
//! and its reading; loading subjects and objects, and answering 404 or 403, is the caller's.
//!
//! Invariants: each (role, action) has exactly one grant; the print-out of the table equals
//! `permissions/matrix.txt`, so a change of rights is a change that people see.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::id::{OrganizationId, UserId};

named_enum! {
    /// A role in the whole deployment. `Member` is implicit and never stored.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    SiteRole {
        Owner = "owner",
        Auditor = "auditor",
        TemplateAdmin = "template-admin",
        UserAdmin = "user-admin",
        Member = "member",
    }
}

named_enum! {
    /// A role in one organization. `Member` comes with the membership.
    OrganizationRole {
        Admin = "organization-admin",
        Member = "organization-member",
    }
}

named_enum! {
    /// A column of the table.
    Role {
        Owner = "owner",
        Auditor = "auditor",
        TemplateAdmin = "template-admin",
        UserAdmin = "user-admin",
        OrganizationAdmin = "organization-admin",
        Member = "member",
    }
}

named_enum! {
    /// A resource and what is done with it.
    Action {
        UserRead = "user: read",
        UserCreate = "user: create",
        UserSuspend = "user: suspend",
        UserDelete = "user: delete",
        SiteRolesAssign = "site roles: assign",
        OrganizationRead = "organization: read",
        OrganizationCreate = "organization: create",
        OrganizationDelete = "organization: delete",
        OrganizationUpdate = "organization: update",
        MembershipRead = "membership: read",
        MembershipWrite = "membership: write",
        GroupRead = "group: read",
        GroupWrite = "group: write",
        OrganizationRolesAssign = "organization roles: assign",
        TemplateRead = "template: read",
        TemplateUse = "template: use",
        TemplateCreate = "template: create",
        TemplateUpdate = "template: update",
        TemplateDelete = "template: delete",
        WorkspaceRead = "workspace: read",
        WorkspaceCreate = "workspace: create",
        WorkspaceStart = "workspace: start",
        WorkspaceStop = "workspace: stop",
        WorkspaceDelete = "workspace: delete",
        WorkspaceSsh = "workspace: ssh",
        WorkspaceAppConnect = "workspace: app_connect",
        ChatCreate = "chat: create",
        ChatSend = "chat: send",
        ChatEdit = "chat: edit",
        ChatQueue = "chat: queue",
        ChatPromote = "chat: promote",
        ChatLabels = "chat: labels",
        ChatPin = "chat: pin",
        ChatReadMark = "chat: read mark",
        ChatWorkspace = "chat: workspace",
        ChatRead = "chat: read",
        ChatInterrupt = "chat: interrupt",
        ChatArchive = "chat: archive",
        ChatUnarchive = "chat: unarchive",
        ChatRename = "chat: rename",
        DeploymentConfigRead = "deployment_config: read",
        DeploymentConfigUpdate = "deployment_config: update",
        UsageOfOthersRead = "usage of others: read",
        PullRequestInsightsRead = "pull request insights: read",
        AuditRead = "audit: read",
        McpServerRead = "mcp_server: read",
        McpServerWrite = "mcp_server: write",
        ExternalAuthLinkUse = "external auth link: use",
        ExternalAuthLinkDelete = "external auth link: delete",
        UserKeyUse = "user key: use",
        UserKeyDelete = "user key: delete",
        ApiTokenCreate = "api token: create",
        ApiTokenList = "api token: list",
        ApiTokenRevoke = "api token: revoke",
    }
}

/// How far a role's right reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    No,
    Yes,
    /// On what belongs to the subject.
    Own,
    /// On what lies in the organization the role is held in.
    Inside,
    /// On users who are not site owners.
    YesButOwners,
    /// Unless nobody with the role `owner` would be left.
    YesButLastOwner,
    /// Any role but `owner`.
    YesButRoleOwner,
    /// Yes, and an entry in the audit log.
    YesAudited,
    /// What is enabled, without its secrets and settings.
    Redacted,
}

impl Grant {
    const fn as_str(self) -> &'static str {
        match self {
            Self::No => "-",
            Self::Yes => "yes",
            Self::Own => "own",
            Self::Inside => "inside",
            Self::YesButOwners => "yes, not owners",
            Self::YesButLastOwner => "yes, not the last owner's",
            Self::YesButRoleOwner => "yes, except owner",
            Self::YesAudited => "yes, audited",
            Self::Redacted => "enabled, redacted",
        }
    }
}

/// The table: the grant of each role for `action`, in the order of [`Role::ALL`].
const fn grants(action: Action) -> [Grant; 6] {
    use Grant::{Inside, No, Own, Redacted, Yes, YesAudited, YesButLastOwner, YesButOwners, YesButRoleOwner};
    match action {
        Action::UserRead => [Yes, Yes, Own, Yes, Own, Own],
        Action::UserCreate => [Yes, No, No, Yes, No, No],
        Action::UserSuspend | Action::UserDelete => [Yes, No, No, YesButOwners, No, No],
        Action::SiteRolesAssign => [YesButLastOwner, No, No, YesButRoleOwner, No, No],
        Action::OrganizationRead => [Yes, Yes, Yes, Yes, Inside, Inside],
        Action::OrganizationCreate | Action::OrganizationDelete => [Yes, No, No, No, No, No],
        Action::OrganizationUpdate => [Yes, No, No, No, Inside, No],
        Action::MembershipRead | Action::GroupRead => [Yes, Yes, Yes, Yes, Inside, Inside],
        Action::MembershipWrite | Action::GroupWrite => [Yes, No, No, Yes, Inside, No],
        Action::OrganizationRolesAssign => [Yes, No, No, No, Inside, No],
        Action::TemplateRead => [Yes, Yes, Yes, Inside, Inside, Inside],
        Action::TemplateUse => [Yes, Inside, Yes, Inside, Inside, Inside],
        Action::TemplateCreate | Action::TemplateUpdate | Action::TemplateDelete => [Yes, No, Yes, No, Inside, No],
        Action::WorkspaceRead => [Yes, Own, Own, Own, Inside, Own],
        Action::WorkspaceCreate => [Own, Own, Own, Own, Own, Own],
        Action::WorkspaceStart | Action::WorkspaceStop | Action::WorkspaceDelete => [Yes, Own, Own, Own, Inside, Own],
        Action::WorkspaceSsh | Action::WorkspaceAppConnect => [Own, Own, Own, Own, Own, Own],
        Action::ChatCreate
        | Action::ChatSend
        | Action::ChatEdit
        | Action::ChatQueue
        | Action::ChatPromote
        | Action::ChatLabels
        | Action::ChatPin
        | Action::ChatReadMark
        | Action::ChatWorkspace => [Own, Own, Own, Own, Own, Own],
        Action::ChatRead => [YesAudited, Own, Own, Own, Own, Own],
        Action::ChatInterrupt | Action::ChatArchive | Action::ChatUnarchive | Action::ChatRename => {
            [Yes, Own, Own, Own, Own, Own]
        }
        Action::DeploymentConfigRead => [Yes, Yes, No, No, No, No],
        Action::DeploymentConfigUpdate => [Yes, No, No, No, No, No],
        Action::UsageOfOthersRead | Action::PullRequestInsightsRead | Action::AuditRead => [Yes, Yes, No, No, No, No],
        Action::McpServerRead => [Yes, Yes, Redacted, Redacted, Redacted, Redacted],
        Action::McpServerWrite => [Yes, No, No, No, No, No],
        Action::ExternalAuthLinkUse | Action::UserKeyUse => [Own, Own, Own, Own, Own, Own],
        Action::ExternalAuthLinkDelete | Action::UserKeyDelete => [Yes, Own, Own, Own, Own, Own],
        Action::ApiTokenCreate => [Own, Own, Own, Own, Own, Own],
        Action::ApiTokenList | Action::ApiTokenRevoke => [Yes, Own, Own, Yes, Own, Own],
    }
}

/// What `role` grants for `action`.
#[must_use]
pub const fn grant(role: Role, action: Action) -> Grant {
    let [owner, auditor, template_admin, user_admin, organization_admin, member] = grants(action);
    match role {
        Role::Owner => owner,
        Role::Auditor => auditor,
        Role::TemplateAdmin => template_admin,
        Role::UserAdmin => user_admin,
        Role::OrganizationAdmin => organization_admin,
        Role::Member => member,
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub user_id: UserId,
    pub site_roles: Vec<SiteRole>,
    /// One entry a membership.
    pub organizations: Vec<(OrganizationId, OrganizationRole)>,
}

impl Subject {
    #[must_use]
    pub fn is_site_owner(&self) -> bool {
        self.site_roles.contains(&SiteRole::Owner)
    }

    #[must_use]
    pub fn is_in(&self, organization: OrganizationId) -> bool {
        self.organizations.iter().any(|(id, _)| *id == organization)
    }
}

/// What is acted on, as far as the table asks. Absent fields match no `own` and no `inside`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Object {
    pub owner_id: Option<UserId>,
    pub organization_id: Option<OrganizationId>,
    /// The user acted on is a site owner.
    pub is_site_owner: bool,
    /// The change gives or takes the site role `owner`.
    pub changes_role_owner: bool,
    /// After the change no active user would be a site owner.
    pub removes_last_owner: bool,
}

impl Object {
    #[must_use]
    pub fn owned_by(owner_id: UserId) -> Self {
        Self { owner_id: Some(owner_id), ..Self::default() }
    }

    #[must_use]
    pub fn inside(organization_id: OrganizationId) -> Self {
        Self { organization_id: Some(organization_id), ..Self::default() }
    }
}

/// A right, with what it asks for in return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    Denied,
    /// Only enabled things, without secrets and settings.
    Redacted,
    /// Allowed, and noted in the audit log.
    AllowedAudited,
    Allowed,
}

impl Decision {
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        match self {
            Self::Denied | Self::Redacted => false,
            Self::AllowedAudited | Self::Allowed => true,
        }
    }
}

/// The widest of what the subject's roles allow.
#[must_use]
pub fn decide(subject: &Subject, action: Action, object: &Object) -> Decision {
    let site = subject.site_roles.iter().map(|role| {
        let role = match role {
            SiteRole::Owner => Role::Owner,
            SiteRole::Auditor => Role::Auditor,
            SiteRole::TemplateAdmin => Role::TemplateAdmin,
            SiteRole::UserAdmin => Role::UserAdmin,
            SiteRole::Member => Role::Member,
        };
        // a site role's `inside` is any organization the subject is in
        reach(subject, grant(role, action), object, |organization| subject.is_in(organization))
    });
    let organization = subject.organizations.iter().map(|(id, role)| {
        let role = match role {
            OrganizationRole::Admin => Role::OrganizationAdmin,
            OrganizationRole::Member => Role::Member,
        };
        reach(subject, grant(role, action), object, |organization| organization == *id)
    });
    let everyone = reach(subject, grant(Role::Member, action), object, |organization| subject.is_in(organization));
    site.chain(organization).fold(everyone, Decision::max)
}

/// [`decide`] where only a plain yes counts.
#[must_use]
pub fn allows(subject: &Subject, action: Action, object: &Object) -> bool {
    decide(subject, action, object).is_allowed()
}

fn reach(subject: &Subject, grant: Grant, object: &Object, holds_in: impl Fn(OrganizationId) -> bool) -> Decision {
    let allowed = match grant {
        Grant::No => false,
        Grant::Yes => true,
        Grant::Own => object.owner_id == Some(subject.user_id),
        Grant::Inside => object.organization_id.is_some_and(holds_in),
        Grant::YesButOwners => !object.is_site_owner,
        Grant::YesButLastOwner => !object.removes_last_owner,
        Grant::YesButRoleOwner => !object.changes_role_owner,
        Grant::YesAudited => {
            return if object.owner_id == Some(subject.user_id) { Decision::Allowed } else { Decision::AllowedAudited };
        }
        Grant::Redacted => return Decision::Redacted,
    };
    if allowed { Decision::Allowed } else { Decision::Denied }
}

/// The whole table as text, one line an action.
#[must_use]
pub fn matrix() -> String {
    let mut text = String::new();
    let mut line = |cells: Vec<&str>| {
        let (first, rest) = cells.split_first().expect("a line has a first cell");
        let rest: Vec<String> = rest.iter().map(|cell| format!("{cell:<26}")).collect();
        writeln!(text, "{}", format!("{first:<30}{}", rest.concat()).trim_end()).expect("a string takes any text");
    };
    line(std::iter::once("action").chain(Role::ALL.iter().map(|role| role.as_str())).collect());
    for action in Action::ALL {
        let cells = Role::ALL.iter().map(|role| grant(*role, *action).as_str());
        line(std::iter::once(action.as_str()).chain(cells).collect());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a change: review the difference, then copy the printed table into the file.
    #[test]
    fn the_printed_matrix_equals_the_committed_one() {
        let committed = include_str!("permissions/matrix.txt");
        let printed = matrix();
        assert!(printed == committed, "the table changed; it is now\n{printed}");
    }

    fn subject(site_roles: &[SiteRole], organizations: &[(OrganizationId, OrganizationRole)]) -> Subject {
        Subject { user_id: UserId::new(), site_roles: site_roles.to_vec(), organizations: organizations.to_vec() }
    }

    #[test]
    fn owners_of_chats_act_on_them_and_site_owners_only_read_and_stop() {
        let ada = subject(&[], &[]);
        let root = subject(&[SiteRole::Owner], &[]);
        let chat = Object::owned_by(ada.user_id);
        assert_eq!(decide(&ada, Action::ChatSend, &chat), Decision::Allowed);
        assert_eq!(decide(&root, Action::ChatSend, &chat), Decision::Denied);
        assert_eq!(decide(&root, Action::ChatRead, &chat), Decision::AllowedAudited);
        assert_eq!(decide(&root, Action::ChatRead, &Object::owned_by(root.user_id)), Decision::Allowed);
        assert!(allows(&root, Action::ChatInterrupt, &chat));
        assert!(!allows(&subject(&[SiteRole::Auditor], &[]), Action::ChatRead, &chat));
    }

    #[test]
    fn an_organization_role_counts_in_its_organization_only() {
        let (here, there) = (OrganizationId::new(), OrganizationId::new());
        let admin = subject(&[], &[(here, OrganizationRole::Admin), (there, OrganizationRole::Member)]);
        assert!(allows(&admin, Action::TemplateUpdate, &Object::inside(here)));
        assert!(!allows(&admin, Action::TemplateUpdate, &Object::inside(there)));
        assert!(allows(&admin, Action::TemplateRead, &Object::inside(there)));
        assert!(!allows(&admin, Action::TemplateRead, &Object::inside(OrganizationId::new())));
        let workspace = Object { organization_id: Some(here), ..Object::owned_by(UserId::new()) };
        assert!(allows(&admin, Action::WorkspaceRead, &workspace));
        assert!(!allows(&admin, Action::WorkspaceSsh, &workspace));
    }

    #[test]
    fn the_owner_role_is_protected() {
        let root = subject(&[SiteRole::Owner], &[]);
        let user_admin = subject(&[SiteRole::UserAdmin], &[]);
        let last = Object { changes_role_owner: true, removes_last_owner: true, ..Object::default() };
        assert!(!allows(&root, Action::SiteRolesAssign, &last));
        assert!(!allows(&user_admin, Action::SiteRolesAssign, &last));
        assert!(allows(&user_admin, Action::SiteRolesAssign, &Object::default()));
        let owner = Object { is_site_owner: true, ..Object::default() };
        assert!(!allows(&user_admin, Action::UserSuspend, &owner));
        assert!(allows(&user_admin, Action::UserCreate, &Object::default()));
    }

    #[test]
    fn roles_add_up() {
        let both = subject(&[SiteRole::Auditor, SiteRole::TemplateAdmin], &[]);
        assert!(allows(&both, Action::AuditRead, &Object::default()));
        assert!(allows(&both, Action::TemplateUpdate, &Object::inside(OrganizationId::new())));
        assert_eq!(decide(&both, Action::McpServerRead, &Object::default()), Decision::Allowed);
        assert_eq!(decide(&subject(&[], &[]), Action::McpServerRead, &Object::default()), Decision::Redacted);
    }

    #[test]
    fn names_read_back() {
        for role in SiteRole::ALL {
            assert_eq!(SiteRole::from_name(role.as_str()), Some(*role));
        }
        for role in OrganizationRole::ALL {
            assert_eq!(OrganizationRole::from_name(role.as_str()), Some(*role));
        }
        assert_eq!(SiteRole::from_name("Owner"), None);
    }
}
