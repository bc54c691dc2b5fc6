//! The scripted model: answers from YAML files, chosen by simple matching.
//!
//! It needs no network and no key. It serves the demo, tests and benchmarks, and polices the protocol:
//! a request in which a result does not follow its call is refused with the reason.

mod protocol;
mod run;
mod script;
mod store;

use std::sync::Arc;

use atelier_domain::SharedClock;
use atelier_domain::error::ErrorKind;
use atelier_domain::message::Origin;
use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;

use crate::error::ProviderError;
use crate::event::ModelStream;
use crate::kind::ProviderKind;
use crate::provider::{Provider, ProviderCheck};
use crate::request::ModelRequest;

pub use script::{Script, ScriptError};
pub use store::Scripts;

pub(crate) struct Scripted {
    scripts: Scripts,
    clock: SharedClock,
    name: Arc<str>,
}

impl Scripted {
    pub(crate) fn new(scripts: Scripts, clock: SharedClock, display_name: String) -> Self {
        Self { scripts, clock, name: display_name.into() }
    }
}

impl Provider for Scripted {
    fn stream(&self, request: ModelRequest) -> BoxFuture<'static, Result<ModelStream, ProviderError>> {
        let (scripts, clock, name) = (self.scripts.clone(), self.clock.clone(), Arc::clone(&self.name));
        async move {
            let script = scripts.find(&request.model).await.map_err(|error| {
                let mut config = ProviderError::new(ErrorKind::Config, &name).with_code("script");
                config.message = error.to_string();
                config
            })?;
            if let Err(violation) = protocol::check(&request.messages, script.pauses()) {
                let mut refused = ProviderError::new(ErrorKind::BadReplay, &name).with_code("protocol_violation");
                refused.message = format!("The request breaks the protocol: {violation}.");
                return Err(refused);
            }
            Ok(run::play(&script, &request, clock, name).boxed())
        }
        .boxed()
    }

    fn origin(&self, model: &str) -> Origin {
        Origin { provider: ProviderKind::Scripted.as_str().to_owned(), host: String::new(), model: model.to_owned() }
    }

    fn check(&self) -> BoxFuture<'static, ProviderCheck> {
        let scripts = self.scripts.clone();
        async move { ProviderCheck { reachable: true, key_accepted: None, models: scripts.names().await, error: None } }
            .boxed()
    }
}
