use std::collections::HashSet;

use serde_json::json;

use super::*;

fn at(day: &str) -> Timestamp {
    format!("{day}T00:00:00Z").parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-12-01")
}

fn found(kind: ProviderKind, model: &str) -> Option<&'static str> {
    Catalogue::shipped().find(kind, model, now()).map(|row| row.model.as_str())
}

fn price(text: &str) -> Option<Price> {
    Some(text.parse().unwrap())
}

#[test]
fn every_shipped_row_has_a_source_a_day_and_exact_prices() {
    let table = Catalogue::shipped();
    assert!(table.rows.len() > 50);
    let mut seen = HashSet::new();
    for row in &table.rows {
        let name = format!("{} {}", row.provider, row.model);
        assert!(VENDORS.iter().any(|vendor| vendor.name == row.provider), "{name}");
        assert!(row.source_url.starts_with("https://"), "{name}");
        assert!(row.read_on <= table.as_of, "{name}");
        assert!((1..=2).contains(&row.grade), "{name}");
        assert!((1..=100_000_000).contains(&row.context_limit), "{name}");
        assert!(!row.display_name.is_empty(), "{name}");
        assert!(row.prices.input.is_some() && row.prices.output.is_some(), "{name}");
        for id in row.ids() {
            assert!(seen.insert((row.provider.clone(), id.to_owned(), row.effective_from)), "{name}: {id} twice");
        }
        if let Some(long) = row.long_context {
            assert!(long.above_prompt_tokens < row.context_limit, "{name}");
            assert!(long.prices.input >= row.prices.input, "{name}");
        }
    }
}

#[test]
fn prices_are_written_as_canonical_decimal_texts() {
    let file: Value = serde_json::from_str(include_str!("prices.json")).unwrap();
    let mut looked_at = 0;
    for row in file["rows"].as_array().unwrap() {
        for prices in [row.get("prices"), row.pointer("/long_context/prices")].into_iter().flatten() {
            for (class, written) in prices.as_object().unwrap() {
                // a number would go through a float on its way
                let written = written.as_str().unwrap_or_else(|| panic!("{class} of {row}"));
                assert_eq!(written.parse::<Price>().unwrap().to_string(), written, "{row}");
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 150);
}

#[test]
fn a_row_that_is_no_price_is_refused() {
    let table =
        |row: &str| serde_json::from_str::<Catalogue>(&format!(r#"{{"as_of": "2026-12-01", "rows": [{row}]}}"#));
    let row = |prices: &str| {
        format!(
            r#"{{"provider": "openai", "model": "m", "aliases": [], "display_name": "M", "context_limit": 1,
                "prices": {prices}, "source_url": "https://x", "read_on": "2026-12-01", "grade": 1}}"#
        )
    };
    table(&row(r#"{"input": "1.5"}"#)).unwrap();
    for bad in [r#"{"input": 1.5}"#, r#"{"input": "1e3"}"#, r#"{"input": "-1"}"#, r#"{"entry": "1"}"#] {
        table(&row(bad)).unwrap_err();
    }
}

#[test]
fn a_model_is_found_by_its_exact_id_or_with_a_date_behind_it() {
    let anthropic = |model| found(ProviderKind::Anthropic, model);
    assert_eq!(anthropic("claude-sonnet-4-5"), Some("claude-sonnet-4-5"));
    assert_eq!(anthropic("claude-sonnet-4-5-20250929"), Some("claude-sonnet-4-5"));
    assert_eq!(anthropic("claude-sonnet-4-5-2025-09-29"), Some("claude-sonnet-4-5"));
    assert_eq!(anthropic("claude-sonnet-4-5@20250929"), Some("claude-sonnet-4-5"));
    assert_eq!(anthropic("claude-sonnet-4-5-latest"), Some("claude-sonnet-4-5"));
    // one model's id begins with that of another
    assert_eq!(anthropic("claude-sonnet-5-5"), Some("claude-sonnet-5-5"));
    assert_eq!(anthropic("claude-sonnet-5-5-20261001"), Some("claude-sonnet-5-5"));
    for unknown in [
        "claude-sonnet-5-6",
        "claude-sonnet-4-5-fast",
        "claude-sonnet-4-5-",
        "claude-sonnet-4-5é",
        "claude-sonnet",
        "gpt-4o",
        "",
    ] {
        assert_eq!(anthropic(unknown), None, "{unknown}");
    }
    let openai = |model| found(ProviderKind::OpenAi, model);
    assert_eq!(openai("gpt-4o-2024-08-06"), Some("gpt-4o"));
    assert_eq!(openai("gpt-4o-2024-05-13"), Some("gpt-4o-2024-05-13"), "has prices of its own");
    assert_eq!(found(ProviderKind::Azure, "gpt-4o"), Some("gpt-4o"));
    assert_eq!(found(ProviderKind::OpenAiCompat, "gpt-4o"), None, "a server of one's own has prices of its own");
}

#[test]
fn gateways_name_the_vendor_first() {
    let (router, vercel, bedrock) = (ProviderKind::OpenRouter, ProviderKind::Vercel, ProviderKind::Bedrock);
    assert_eq!(found(router, "anthropic/claude-sonnet-4.5"), Some("claude-sonnet-4-5"));
    assert_eq!(found(router, "openai/gpt-5.1"), Some("gpt-5.1"));
    assert_eq!(found(router, "x-ai/grok-4.7"), Some("grok-4.7"));
    assert_eq!(found(vercel, "xai/grok-4.7"), Some("grok-4.7"));
    assert_eq!(found(router, "mistralai/mistral-large-4-0"), Some("mistral-large-4"));
    for unknown in ["gpt-5.1", "openai/gpt-5.1:batch", "xai/grok-4.7", "somebody/gpt-5.1"] {
        assert_eq!(found(router, unknown), None, "{unknown}");
    }
    for id in [
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "anthropic.claude-sonnet-4-5",
    ] {
        assert_eq!(found(bedrock, id), Some("claude-sonnet-4-5"), "{id}");
    }
    assert_eq!(found(bedrock, "us.anthropic.claude-sonnet-4-5-v1:0"), None, "regions have prices of their own");
    // what is offered under a name is found by it
    for kind in [ProviderKind::Anthropic, ProviderKind::OpenAi, router, vercel] {
        for row in Catalogue::shipped().rows(now()) {
            if let Some(id) = row.id_at(kind) {
                assert_eq!(found(kind, &id), Some(row.model.as_str()), "{kind} {id}");
            }
        }
    }
}

#[test]
fn a_dated_row_applies_from_midnight_utc_on() {
    let input = |now: Timestamp| {
        let row = Catalogue::shipped().find(ProviderKind::Google, "gemini-3.8-flash", now).unwrap();
        row.sheet().base.input
    };
    assert_eq!(input("2026-12-31T23:59:59.999Z".parse().unwrap()), price("0.75"));
    assert_eq!(input(at("2027-01-01")), price("1.5"));
    let listed = |day| Catalogue::shipped().rows(at(day)).filter(|row| row.model == "gemini-3.8-flash").count();
    assert_eq!((listed("2026-12-31"), listed("2027-01-01")), (1, 1));
}

#[test]
fn blank_prices_take_the_default() {
    let of = |kind, model, config| ModelPrices::of(kind, model, &config, now());
    let known = of(ProviderKind::OpenAi, "gpt-5.5", json!({}));
    assert_eq!((known.effective.base.input, known.source), (price("5"), PriceSource::Default));
    assert_eq!(known.effective.long_context.unwrap().above_prompt_tokens, 272_000);
    let mixed = of(ProviderKind::OpenAi, "gpt-5.5", json!({"cost": {"input_price_per_million_tokens": "1"}}));
    assert_eq!((mixed.effective.base.input, mixed.effective.base.output), (price("1"), price("30")));
    assert_eq!((mixed.source, mixed.effective.long_context), (PriceSource::Mixed, None));
    assert_eq!(mixed.default, known.default);
    for own in [
        json!({"cost": {"use_defaults": false}}),
        json!({"provider_options": {"openai": {"service_tier": "priority"}}}),
    ] {
        let own = of(ProviderKind::OpenAi, "gpt-5.5", own);
        assert_eq!(
            (own.effective, own.source, own.default),
            (PriceSheet::default(), PriceSource::Config, known.default)
        );
    }
    let unknown = of(ProviderKind::OpenAi, "gpt-0", json!(null));
    assert_eq!(
        (unknown.effective, unknown.source, unknown.default),
        (PriceSheet::default(), PriceSource::Config, None)
    );
    let scripted = of(ProviderKind::Scripted, "gpt-5.5", json!(null));
    assert_eq!((scripted.effective, scripted.source), (PriceSheet::FREE, PriceSource::Scripted));
}
