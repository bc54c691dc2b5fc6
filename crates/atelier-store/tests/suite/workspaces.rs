//! Templates, workspaces, builds, agents and their logs.

use atelier_domain::{AgentId, BuildId, CallToken, TemplateId, Timestamp, UserId, WorkspaceId};
use atelier_store::{
    AgentConnected, AgentLifecycle, AgentStatus, BuildEnd, BuildNew, BuildRow, BuildState, LogNew, StoreError,
    TemplateFields, TemplateRow, Transition, WorkspaceError, WorkspaceNew, workspace_create_in_tx,
};

use crate::fixture::{Fixture, at, on_both_engines, user};

fn fields(name: &str, spec: Option<&str>) -> TemplateFields {
    TemplateFields {
        name: name.to_owned(),
        display_name: String::new(),
        description: String::new(),
        icon: String::new(),
        readme: String::new(),
        require_active_version: false,
        spec: spec.map(str::to_owned),
    }
}

fn end(state: BuildState) -> BuildEnd {
    BuildEnd { state, error: None, error_code: None, deadline: None }
}

fn hash(of: AgentId) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(of.uuid().as_bytes());
    hash
}

fn line(output: &str) -> LogNew {
    LogNew {
        log_source: "server".to_owned(),
        log_level: "info".to_owned(),
        stage: "create".to_owned(),
        output: output.to_owned(),
    }
}

impl Fixture {
    async fn template(&self) -> TemplateRow {
        if let Some(row) = self.store.templates_of(self.owner).await.unwrap().into_iter().next() {
            return row;
        }
        self.store
            .template_create(self.organization, "local".to_owned(), fields("demo", Some("{}")), self.owner, at(1))
            .await
            .unwrap()
    }

    fn build_new(&self, template: &TemplateRow, transition: Transition, owner: UserId) -> BuildNew {
        let agent = AgentId::new();
        BuildNew {
            id: BuildId::new(),
            template_version_id: template.active_version_id,
            transition,
            reason: "initiator".to_owned(),
            initiator_id: owner,
            parameters: "{}".to_owned(),
            call: None,
            agent: (transition == Transition::Start).then(|| (agent, hash(agent))),
        }
    }

    async fn workspace_new(&self, owner: UserId, name: &str) -> WorkspaceNew {
        let template = self.template().await;
        WorkspaceNew {
            id: WorkspaceId::new(),
            owner_id: owner,
            organization_id: self.organization,
            template_id: template.id,
            name: name.to_owned(),
            parameters: "{}".to_owned(),
            ttl_ms: Some(60_000),
            ttl_source: "template".to_owned(),
            host_id: "here".to_owned(),
            created_by_chat: None,
            created_by_call: None,
            build: self.build_new(&template, Transition::Start, owner),
        }
    }

    async fn workspace(&self, name: &str) -> BuildRow {
        let new = self.workspace_new(self.owner, name).await;
        self.store.workspace_create(new, at(2)).await.unwrap()
    }

    async fn advance(&self, build: BuildId, state: BuildState) -> bool {
        self.store.build_advance(build, end(state), at(3)).await.unwrap()
    }

    async fn build(&self, workspace: WorkspaceId, transition: Transition) -> Result<BuildRow, WorkspaceError> {
        let build = self.build_new(&self.template().await, transition, self.owner);
        self.store.build_create(workspace, build, at(4)).await
    }

    async fn outputs(&self, build: BuildId, agent: Option<AgentId>) -> Vec<String> {
        let rows = match agent {
            None => self.store.logs_of_build(build, 0, 100_000).await.unwrap(),
            Some(agent) => self.store.logs_of_agent(agent, 0, 100_000).await.unwrap(),
        };
        assert!(rows.is_sorted_by_key(|row| row.id));
        rows.into_iter().map(|row| row.output).collect()
    }
}

on_both_engines! {
    async fn a_changed_spec_makes_a_version(fixture: &Fixture) {
        let store = &fixture.store;
        let made = fixture.template().await;
        assert_eq!((made.spec.as_str(), made.organization_name.as_str(), made.created_by_name.as_str()), ("{}", "default", "ada"));
        let same = store.template_update(made.id, fields("demo", Some("{}")), fixture.owner, at(2)).await.unwrap().unwrap();
        assert_eq!(same.active_version_id, made.active_version_id);
        let kept = store.template_update(made.id, fields("demo", None), fixture.owner, at(2)).await.unwrap().unwrap();
        assert_eq!(kept.active_version_id, made.active_version_id);
        // at once: each gets a number of its own
        let (left, right) = tokio::join!(
            store.template_update(made.id, fields("demo", Some("{\"a\":1}")), fixture.owner, at(3)),
            store.template_update(made.id, fields("demo", Some("{\"a\":2}")), fixture.owner, at(3))
        );
        let (left, right) = (left.unwrap().unwrap(), right.unwrap().unwrap());
        assert_ne!(left.active_version_id, right.active_version_id);
        let versions = store.template_versions(made.id).await.unwrap();
        assert_eq!(versions.iter().map(|version| version.number).collect::<Vec<_>>(), [3, 2, 1]);
        let active = store.template_get_for_system(made.id).await.unwrap().unwrap();
        assert_eq!(active.active_version_id, versions[0].id);
        assert_eq!(store.template_version_get(versions[2].id).await.unwrap().unwrap().spec, "{}");
        let twice = store
            .template_create(fixture.organization, "local".to_owned(), fields("demo", None), fixture.owner, at(4))
            .await;
        assert!(matches!(twice, Err(StoreError::Conflict { .. })));
        let none = store.template_update(TemplateId::new(), fields("x", None), fixture.owner, at(4)).await.unwrap();
        assert!(none.is_none());
        let stranger = store.user_create(user("bob"), at(5)).await.unwrap().id;
        store.member_remove(fixture.organization, stranger).await.unwrap();
        assert!(store.templates_of(stranger).await.unwrap().is_empty());
        assert_eq!(store.templates_of_organization(fixture.organization).await.unwrap().len(), 1);
    }

    async fn a_template_with_workspaces_stays(fixture: &Fixture) {
        let store = &fixture.store;
        let template = fixture.template().await;
        // a workspace that is made while the template is deleted: one of the two is refused
        let new = fixture.workspace_new(fixture.owner, "racer").await;
        let (made, deleted) = tokio::join!(store.workspace_create(new.clone(), at(2)), store.template_delete(template.id, at(2)));
        assert_ne!(made.is_ok(), deleted.unwrap(), "{made:?}");
        match made {
            Ok(build) => {
                assert!(!store.template_delete(template.id, at(3)).await.unwrap());
                fixture.advance(build.id, BuildState::Failed).await;
                let gone = fixture.build(build.workspace_id, Transition::Delete).await.unwrap();
                fixture.advance(gone.id, BuildState::Succeeded).await;
                assert!(store.template_delete(template.id, at(4)).await.unwrap());
            }
            Err(error) => assert!(matches!(error, WorkspaceError::Store(StoreError::Reference { .. })), "{error:?}"),
        }
        assert!(store.template_get_for_system(template.id).await.unwrap().is_none());
        assert!(!store.template_delete(template.id, at(5)).await.unwrap());
        let refused = store.workspace_create(new, at(5)).await;
        assert!(matches!(refused, Err(WorkspaceError::Store(StoreError::Reference { .. }))), "{refused:?}");
    }

    async fn a_workspace_comes_with_its_build_and_agent(fixture: &Fixture) {
        let store = &fixture.store;
        let build = fixture.workspace("first").await;
        assert_eq!((build.build_number, build.state, build.transition), (1, BuildState::Pending, Transition::Start));
        let row = store.workspace_by_name(fixture.owner, "first").await.unwrap().unwrap();
        assert_eq!((row.id, row.ttl_ms, row.owner_name.as_str()), (build.workspace_id, Some(60_000), "ada"));
        let agent = store.agent_of_build(build.id).await.unwrap().unwrap();
        assert_eq!((agent.status, agent.lifecycle), (AgentStatus::Connecting, AgentLifecycle::Created));
        let again = store.workspace_create(fixture.workspace_new(fixture.owner, "first").await, at(3)).await;
        assert!(matches!(again, Err(WorkspaceError::NameTaken)), "{again:?}");
        let bob = store.user_create(user("bob"), at(3)).await.unwrap().id;
        store.workspace_create(fixture.workspace_new(bob, "first").await, at(3)).await.unwrap();
        assert_eq!(store.workspaces_of(fixture.owner).await.unwrap().len(), 1);
        assert_eq!(store.workspaces_for_system().await.unwrap().len(), 2);
        assert_eq!(store.builds_unfinished_of_host_for_system("here").await.unwrap().len(), 2);
        assert!(store.workspaces_of_host_for_system("there").await.unwrap().is_empty());
        store.workspace_ttl_set(row.id, None, at(4)).await.unwrap();
        assert_eq!(store.workspace_get_for_system(row.id).await.unwrap().unwrap().ttl_ms, None);
        // a deleted one frees its name
        fixture.advance(build.id, BuildState::Succeeded).await;
        let gone = fixture.build(row.id, Transition::Delete).await.unwrap();
        assert!(fixture.advance(gone.id, BuildState::Succeeded).await);
        assert!(store.workspace_get_for_system(row.id).await.unwrap().unwrap().deleted);
        assert!(store.workspace_by_name(fixture.owner, "first").await.unwrap().is_none());
        assert!(matches!(fixture.build(row.id, Transition::Start).await, Err(WorkspaceError::NotFound)));
        fixture.workspace("first").await;
    }

    async fn a_build_moves_forward_only(fixture: &Fixture) {
        use BuildState::{Canceled, Canceling, Failed, Pending, Running, Succeeded};
        let all = [Pending, Running, Canceling, Succeeded, Failed, Canceled];
        let allowed = |from: BuildState, to: BuildState| match from {
            Pending => to != Pending,
            Running => !matches!(to, Pending | Running),
            Canceling => to.is_finished(),
            Succeeded | Failed | Canceled => false,
        };
        let workspace = fixture.workspace("one").await;
        for from in all {
            for to in all {
                fixture
                    .execute(&format!("UPDATE workspace_builds SET state = '{}' WHERE id = '{}'", from.as_str(), workspace.id))
                    .await;
                assert_eq!(fixture.advance(workspace.id, to).await, allowed(from, to), "{from:?} to {to:?}");
                let now = fixture.store.build_get(workspace.id).await.unwrap().unwrap().state;
                assert_eq!(now, if allowed(from, to) { to } else { from });
            }
        }
    }

    async fn one_build_is_under_way(fixture: &Fixture) {
        let first = fixture.workspace("one").await;
        let workspace = first.workspace_id;
        let refused = fixture.build(workspace, Transition::Stop).await;
        assert!(matches!(refused, Err(WorkspaceError::BuildInProgress(id)) if id == first.id), "{refused:?}");
        fixture.advance(first.id, BuildState::Running).await;
        fixture.advance(first.id, BuildState::Canceling).await;
        assert!(matches!(fixture.build(workspace, Transition::Stop).await, Err(WorkspaceError::BuildInProgress(_))));
        fixture.advance(first.id, BuildState::Canceled).await;
        let template = fixture.template().await;
        let racers = (0..8).map(|number| {
            let transition = if number % 2 == 0 { Transition::Start } else { Transition::Stop };
            let (store, build) = (fixture.store.clone(), fixture.build_new(&template, transition, fixture.owner));
            tokio::spawn(async move { store.build_create(workspace, build, at(5)).await })
        });
        let ended: Vec<_> = futures::future::join_all(racers).await.into_iter().map(|racer| racer.unwrap()).collect();
        let won = ended.iter().filter_map(|result| result.as_ref().ok()).collect::<Vec<_>>();
        assert_eq!(won.len(), 1, "{ended:?}");
        for lost in ended.iter().filter_map(|result| result.as_ref().err()) {
            assert!(matches!(lost, WorkspaceError::BuildInProgress(id) if *id == won[0].id), "{lost:?}");
        }
        assert_eq!(fixture.store.builds(workspace).await.unwrap().len(), 2);
        assert_eq!(fixture.store.build_latest(workspace).await.unwrap().unwrap().build_number, 2);
    }

    async fn a_call_makes_one_workspace_and_one_build(fixture: &Fixture) {
        let store = &fixture.store;
        let call = CallToken::new();
        let mut new = fixture.workspace_new(fixture.owner, "one").await;
        new.created_by_call = Some(call);
        new.build.call = Some(call);
        let made = store.workspace_create(new.clone(), at(2)).await.unwrap();
        let mut again = fixture.workspace_new(fixture.owner, "two").await;
        again.created_by_call = Some(call);
        again.build.call = Some(call);
        let found = store.workspace_create(again, at(3)).await.unwrap();
        assert_eq!((found.id, found.workspace_id), (made.id, made.workspace_id));
        assert_eq!(store.workspaces_of(fixture.owner).await.unwrap().len(), 1);
        fixture.advance(made.id, BuildState::Failed).await;
        let template = fixture.template().await;
        let start = |call| BuildNew { call: Some(call), ..fixture.build_new(&template, Transition::Start, fixture.owner) };
        let call = CallToken::new();
        let first = store.build_create(made.workspace_id, start(call), at(4)).await.unwrap();
        let repeated = store.build_create(made.workspace_id, start(call), at(5)).await.unwrap();
        assert_eq!(first.id, repeated.id);
    }

    async fn quotas_hold_for_those_who_are_in_a_hurry(fixture: &Fixture) {
        let store = &fixture.store;
        let mut news = Vec::new();
        for number in 0..14 {
            news.push(fixture.workspace_new(fixture.owner, &format!("w{number}")).await);
        }
        let racers = news.into_iter().map(|new| {
            let store = store.clone();
            tokio::spawn(async move { store.workspace_create(new, at(2)).await })
        });
        let ended: Vec<_> = futures::future::join_all(racers).await.into_iter().map(|racer| racer.unwrap()).collect();
        let made: Vec<_> = ended.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(made.len(), 10, "{ended:?}");
        assert!(ended.iter().all(|result| matches!(result, Ok(_) | Err(WorkspaceError::TooManyRunning))), "{ended:?}");
        // stopped ones do not count as running, and all count as workspaces
        for build in &made {
            fixture.advance(build.id, BuildState::Succeeded).await;
            let stop = fixture.build(build.workspace_id, Transition::Stop).await.unwrap();
            fixture.advance(stop.id, BuildState::Succeeded).await;
        }
        for number in 0..10 {
            fixture.workspace(&format!("more{number}")).await;
        }
        let over = store.workspace_create(fixture.workspace_new(fixture.owner, "over").await, at(3)).await;
        assert!(matches!(over, Err(WorkspaceError::TooMany)), "{over:?}");
        let refused = fixture.build(made[0].workspace_id, Transition::Start).await;
        assert!(matches!(refused, Err(WorkspaceError::TooManyRunning)), "{refused:?}");
        // a restart of one that runs needs no second place
        let latest = store.workspace_by_name(fixture.owner, "more0").await.unwrap().unwrap();
        let running = store.build_latest(latest.id).await.unwrap().unwrap();
        fixture.advance(running.id, BuildState::Succeeded).await;
        fixture.build(latest.id, Transition::Start).await.unwrap();
    }

    async fn a_refused_binding_leaves_no_workspace(fixture: &Fixture) {
        let new = fixture.workspace_new(fixture.owner, "one").await;
        let refused = fixture
            .store
            .write("test", move |tx| {
                Box::pin(async move {
                    workspace_create_in_tx(tx, &new, at(2)).await?;
                    Err::<(), _>(WorkspaceError::NotFound)
                })
            })
            .await;
        assert!(matches!(refused, Err(WorkspaceError::NotFound)));
        assert!(fixture.store.workspaces_of(fixture.owner).await.unwrap().is_empty());
    }

    async fn use_moves_the_deadline_of_what_runs(fixture: &Fixture) {
        let store = &fixture.store;
        let build = fixture.workspace("one").await;
        let deadline = async || store.build_get(build.id).await.unwrap().unwrap().deadline;
        let used = async |to: Timestamp| store.workspace_used(build.workspace_id, Some((build.id, to)), at(9)).await.unwrap();
        used(at(50)).await;
        assert_eq!(deadline().await, None, "it does not run yet");
        let ended = BuildEnd { deadline: Some(at(60)), ..end(BuildState::Succeeded) };
        assert!(store.build_advance(build.id, ended, at(3)).await.unwrap());
        assert_eq!(deadline().await, Some(at(60)));
        used(at(70)).await;
        assert_eq!(deadline().await, Some(at(70)));
        assert_eq!(store.workspace_get_for_system(build.workspace_id).await.unwrap().unwrap().last_used_at, at(9));
    }

    async fn a_token_is_good_for_the_newest_start(fixture: &Fixture) {
        let store = &fixture.store;
        let build = fixture.workspace("one").await;
        let agent = store.agent_of_build(build.id).await.unwrap().unwrap().id;
        assert!(store.agent_by_token_for_system([9; 32]).await.unwrap().is_none());
        let found = store.agent_by_token_for_system(hash(agent)).await.unwrap().unwrap();
        assert!(found.current && found.agent_id == agent && found.workspace_id == build.workspace_id);
        fixture.advance(build.id, BuildState::Succeeded).await;
        fixture.build(build.workspace_id, Transition::Stop).await.unwrap();
        assert!(!store.agent_by_token_for_system(hash(agent)).await.unwrap().unwrap().current);
    }

    async fn an_older_link_writes_nothing(fixture: &Fixture) {
        let store = &fixture.store;
        let build = fixture.workspace("one").await;
        let agent = store.agent_of_build(build.id).await.unwrap().unwrap().id;
        let connect = async |ledger: &str| {
            let connected = AgentConnected {
                version: "0.1.0".to_owned(),
                boot_id: "boot".to_owned(),
                ledger_id: ledger.to_owned(),
            };
            store.agent_connected(agent, connected).await
        };
        let first = connect("a").await.unwrap();
        let second = connect("b").await.unwrap();
        assert_eq!((first, second), (1, 2));
        store.agent_disconnected(agent, first).await.unwrap();
        let row = store.agent_get(agent).await.unwrap().unwrap();
        assert_eq!((row.status, row.ledger_id.as_str()), (AgentStatus::Connected, "b"));
        assert!(row.first_connected_at.is_some() && row.disconnected_at.is_none());
        store.agent_disconnected(agent, second).await.unwrap();
        let row = store.agent_get(agent).await.unwrap().unwrap();
        assert_eq!(row.status, AgentStatus::Disconnected);
        assert!(row.disconnected_at.is_some());
        store.agent_timeout(agent).await.unwrap();
        assert_eq!(store.agent_get(agent).await.unwrap().unwrap().status, AgentStatus::Disconnected, "it did come once");
        store.agent_broken_set(agent, Some("no folder".into())).await.unwrap();
        assert_eq!(store.agent_get(agent).await.unwrap().unwrap().broken.as_deref(), Some("no folder"));
        assert_eq!(connect("b").await.unwrap(), 3);
        assert_eq!(store.agent_get(agent).await.unwrap().unwrap().broken, None, "a new link begins well");
        // an agent that is off stays so
        store.agent_lifecycle_set(agent, AgentLifecycle::Ready).await.unwrap();
        store.agents_off(build.workspace_id).await.unwrap();
        store.agent_lifecycle_set(agent, AgentLifecycle::Ready).await.unwrap();
        assert_eq!(store.agent_get(agent).await.unwrap().unwrap().lifecycle, AgentLifecycle::Off);
        assert!(connect("c").await.is_err());
    }

    async fn logs_have_an_end(fixture: &Fixture) {
        let store = &fixture.store;
        let build = fixture.workspace("one").await;
        let agent = store.agent_of_build(build.id).await.unwrap().unwrap().id;
        store.log_append(build.id, None, vec![line("one"), line("two")], at(3)).await.unwrap();
        let long = "ä".repeat(4000);
        for _ in 0..40 {
            store.log_append(build.id, Some(agent), (0..8).map(|_| line(&long)).collect(), at(4)).await.unwrap();
        }
        assert_eq!(fixture.outputs(build.id, None).await, ["one", "two"], "each has a log of its own");
        let lines = fixture.outputs(build.id, Some(agent)).await;
        let bytes: usize = lines.iter().map(String::len).sum();
        assert!((900_000..=1_048_576).contains(&bytes), "{bytes}");
        assert!(lines.last().unwrap().contains("longer than 1 MiB"));
        assert_eq!(lines.iter().filter(|line| line.contains("longer than")).count(), 1, "it is said once");
        // many empty lines are something too
        for _ in 0..4 {
            store.log_append(build.id, None, (0..10_000).map(|_| line("")).collect(), at(5)).await.unwrap();
        }
        assert!(fixture.outputs(build.id, None).await.len() < 33_000);
        let rows = store.logs_of_build(build.id, 0, 1).await.unwrap();
        let next = store.logs_of_build(build.id, rows[0].id, 1).await.unwrap();
        assert_eq!(next[0].output, "two");
    }
}
