//! The shipped table of list prices, as clients see it.

use atelier_api as api;
use atelier_domain::Timestamp;
use atelier_domain::money::{ClassPrices, LongContext, Price, PriceSheet};
use atelier_domain::permissions::Action;
use atelier_llm::{Catalogue, ListPrice, ProviderKind};
use axum::Json;
use axum::extract::{Query as RawQuery, State};

use crate::auth::LoggedIn;
use crate::error::ApiResult;
use crate::extract::Query;
use crate::state::{App, Shared};

pub(crate) async fn model_price_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    RawQuery(query): RawQuery<Vec<(String, String)>>,
) -> ApiResult<Json<api::ModelPrices>> {
    caller.must_anywhere(Action::DeploymentConfigRead)?;
    // a blank value asks for nothing
    let mut query = Query::new(query.into_iter().filter(|(_, value)| !value.trim().is_empty()));
    let kind = match query.text("provider").map(str::to_owned) {
        None => None,
        Some(name) => {
            let kind = kind_of(&app, &name).await?;
            if kind.is_none() {
                query.fault("provider", "is neither the name of a provider nor a type");
            }
            kind
        }
    };
    let model = query.text("model").map(str::to_owned);
    query.finish()?;
    Ok(Json(api::ModelPrices { as_of: Catalogue::shipped().as_of(), prices: rows(kind, model.as_deref(), app.now()) }))
}

/// The type that a name means: of a saved provider, or the type itself.
async fn kind_of(app: &App, name: &str) -> ApiResult<Option<ProviderKind>> {
    if let Some(kind) = ProviderKind::from_name(name) {
        return Ok(Some(kind));
    }
    let rows = app.store.provider_list().await?;
    let row = rows.iter().find(|row| row.name == name.trim());
    Ok(row.and_then(|row| ProviderKind::from_name(&row.provider)))
}

fn rows(kind: Option<ProviderKind>, model: Option<&str>, now: Timestamp) -> Vec<api::ModelPrice> {
    let table = Catalogue::shipped();
    match (kind, model) {
        (None, None) => table.rows(now).map(|row| view(row, &row.provider, row.model.clone())).collect(),
        (Some(kind), None) => {
            let of_kind = table.rows(now).filter_map(|row| Some(view(row, kind.as_str(), row.id_at(kind)?)));
            of_kind.collect()
        }
        (Some(kind), Some(model)) => {
            let found = table.find(kind, model, now);
            found.map(|row| view(row, kind.as_str(), model.to_owned())).into_iter().collect()
        }
        (None, Some(model)) => {
            let found = ProviderKind::ALL.into_iter().filter_map(|kind| Some((kind, table.find(kind, model, now)?)));
            found.map(|(kind, row)| view(row, kind.as_str(), model.to_owned())).collect()
        }
    }
}

/// The rows of the table that a provider of `kind` has, in the table's order, each under the plainest of the listed
/// ids that mean it: without a date, or else with the latest.
pub(crate) fn known_models(kind: ProviderKind, listed: &[String], now: Timestamp) -> Vec<api::ModelPrice> {
    let table = Catalogue::shipped();
    let found: Vec<(&ListPrice, &str)> =
        listed.iter().filter_map(|id| Some((table.find(kind, id, now)?, id.as_str()))).collect();
    let known = table.rows(now).filter_map(|row| {
        let ids = found.iter().filter(|(of, _)| std::ptr::eq(*of, row)).map(|(_, id)| *id);
        let id = ids.min_by_key(|id| (id.len(), std::cmp::Reverse(*id)))?;
        Some(view(row, kind.as_str(), id.to_owned()))
    });
    known.collect()
}

fn view(row: &ListPrice, provider: &str, model: String) -> api::ModelPrice {
    let sheet = row.sheet();
    api::ModelPrice {
        provider: provider.to_owned(),
        model,
        display_name: row.display_name.clone(),
        context_limit: Some(row.context_limit),
        prices: prices_view(&sheet.base),
        long_context: sheet.long_context.as_ref().map(long_context_view),
        source_url: row.source_url.clone(),
    }
}

/// `from_table`: some of the prices are.
pub(crate) fn cost_view(sheet: &PriceSheet, from_table: bool) -> api::ModelCost {
    api::ModelCost {
        prices: prices_view(&sheet.base),
        long_context: sheet.long_context.as_ref().map(long_context_view),
        price_version: from_table.then(|| Catalogue::shipped().as_of()),
    }
}

fn long_context_view(long: &LongContext) -> api::LongContextPrices {
    api::LongContextPrices { above_prompt_tokens: long.above_prompt_tokens, prices: prices_view(&long.prices) }
}

fn prices_view(prices: &ClassPrices) -> api::Prices {
    let text = |price: Option<Price>| price.map(|price| price.to_string());
    api::Prices {
        input_price_per_million_tokens: text(prices.input),
        output_price_per_million_tokens: text(prices.output),
        cache_read_price_per_million_tokens: text(prices.cache_read),
        cache_write_price_per_million_tokens: text(prices.cache_write),
    }
}
