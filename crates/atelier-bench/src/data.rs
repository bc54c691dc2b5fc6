//! Large data sets at the store: 10,000 chats, one of them with 100,000 messages, a million messages in all.
//!
//! They are made once and kept: the next run finds them and measures at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use atelier_domain::chat::ChatStatus;
use atelier_domain::message::{MessagePart, Role};
use atelier_domain::search::Phrase;
use atelier_domain::{ChatId, MessageId, ModelConfigId, OrganizationId, Timestamp, UserId};
use atelier_store::{
    ApiKeyChange, BlobPlace, BlobsConfig, ChatFilter, ChatNew, ChatPage, Database, MessageNew, MessageRange,
    ModelConfigFields, ProviderFields, SecretsConfig, Store, StoreConfig, StoreError, TitleSource, UserNew,
};

use crate::server::Setup;
use crate::stats::{Row, Target};

const CHATS: usize = 10_000;
const MESSAGES: usize = 1_000_000;
const LONG: usize = 100_000;
/// Messages of a statement.
const BATCH: usize = 100;
/// Chats of a transaction while the data is made.
const CHATS_AT_ONCE: usize = 50;
/// One message in so many holds the word.
const COMMON: usize = 100;
const RARE: usize = 50_000;

/// What of the setup the data needs.
#[derive(Clone)]
pub(crate) struct Plan {
    postgres: Option<String>,
    folder: PathBuf,
    quick: bool,
}

impl Plan {
    pub(crate) fn of(setup: &Setup) -> Self {
        Self { postgres: setup.postgres.clone(), folder: setup.data.clone(), quick: setup.quick }
    }

    const fn times(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(5) } else { full }
    }
}

struct Owner {
    user: UserId,
    organization: OrganizationId,
    model: ModelConfigId,
}

/// Measures on a thread of its own, beside the fake model.
pub(crate) async fn data(plan: Plan) -> anyhow::Result<Vec<Row>> {
    tokio::task::spawn_blocking(move || tokio::runtime::Runtime::new()?.block_on(measured(&plan))).await?
}

async fn measured(setup: &Plan) -> anyhow::Result<Vec<Row>> {
    std::fs::create_dir_all(&setup.folder)?;
    let store = open(setup).await?;
    let owner = match store.user_by_username("bench").await? {
        Some(user) => {
            let user = user.id;
            let organization = store.organizations_of(user).await?.first().map(|row| row.id);
            let model = store.model_default().await?.map(|row| row.id);
            let (Some(organization), Some(model)) = (organization, model) else {
                anyhow::bail!("the data in {} is not whole: remove the folder", setup.folder.display())
            };
            Owner { user, organization, model }
        }
        None => owner(&store).await?,
    };
    let plain = ChatFilter::default();
    let page = ChatPage { after: None, limit: 200, offset: 0 };
    if store
        .chat_list(owner.user, &ChatFilter { title: Some("the data is whole".to_owned()), ..plain.clone() }, page)
        .await?
        .is_empty()
    {
        eprintln!("making the data set, once ({MESSAGES} messages)");
        make(&store, &owner).await?;
    }
    let rows = measure(setup, &store, &owner).await;
    store.close().await;
    rows
}

async fn open(setup: &Plan) -> Result<Store, StoreError> {
    let folder = &setup.folder;
    let database = match &setup.postgres {
        Some(url) => Database::Postgres { url: url.clone() },
        None => Database::Sqlite { file: folder.join("data.db") },
    };
    let blobs = BlobsConfig { place: BlobPlace::Database, folder: folder.join("files"), bucket: None };
    Store::open(StoreConfig { database, secrets: SecretsConfig::Plaintext, blobs }).await
}

async fn owner(store: &Store) -> anyhow::Result<Owner> {
    let now = Timestamp::now();
    let user = UserNew {
        id: UserId::new(),
        roles: Vec::new(),
        organization_ids: Vec::new(),
        email: "bench@example.com".to_owned(),
        username: "bench".to_owned(),
        name: "Bench".to_owned(),
        password_hash: "none".to_owned(),
    };
    let (user, organization) = store.user_create_first(user, now).await?;
    let provider = ProviderFields {
        provider: "scripted".to_owned(),
        name: "scripted".to_owned(),
        display_name: String::new(),
        enabled: true,
        api_key: ApiKeyChange::Clear,
        base_url: None,
        central_api_key_enabled: true,
        allow_user_api_key: false,
        allow_central_api_key_fallback: false,
    };
    let provider = store.provider_create(provider, now).await?;
    let model = ModelConfigFields {
        model: "demo".to_owned(),
        display_name: String::new(),
        enabled: true,
        is_default: Some(true),
        context_limit: 100_000,
        compression_threshold: 70,
        model_config: None,
    };
    let of = (Some(provider.id), provider.provider.clone(), provider.name.clone());
    let model = store.model_create(of, model, now).await?;
    Ok(Owner { user: user.id, organization, model: model.id })
}

/// Text of about 40 words from a vocabulary of 20,000, in which few words are frequent.
fn text(at: usize) -> String {
    let mut seed = at as u64 ^ 0x9E37_79B9_7F4A_7C15;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut text = String::new();
    for _ in 0..40 {
        // the product of two numbers is small more often than large
        let word = (next() % 142) * (next() % 142);
        text.push_str(&format!("w{word} "));
    }
    if at.is_multiple_of(COMMON) {
        text.push_str("common ");
    }
    if at.is_multiple_of(RARE) {
        text.push_str("unicorn ");
    }
    text
}

fn chat_new(owner: &Owner, title: &str) -> ChatNew {
    let id = ChatId::new();
    ChatNew {
        id,
        owner_id: owner.user,
        organization_id: owner.organization,
        workspace_id: None,
        parent_chat_id: None,
        root_chat_id: id,
        spawn_key: None,
        title: title.to_owned(),
        title_source: TitleSource::Given,
        labels: BTreeMap::new(),
        model_config_id: owner.model,
        mcp_server_ids: Vec::new(),
        created_at: Timestamp::now(),
    }
}

fn messages(from: usize, count: usize) -> Vec<MessageNew> {
    (from..from + count)
        .map(|at| {
            let role = if at.is_multiple_of(2) { Role::User } else { Role::Assistant };
            MessageNew {
                step_no: (!at.is_multiple_of(2)).then_some(at as i64),
                ..MessageNew::new(role, vec![MessagePart::text(text(at))])
            }
        })
        .collect()
}

async fn make(store: &Store, owner: &Owner) -> anyhow::Result<()> {
    let each = (MESSAGES - LONG) / (CHATS - 1);
    let mut made = 0;
    for begin in (0..CHATS - 1).step_by(CHATS_AT_ONCE) {
        let titles = (begin..CHATS - 1).take(CHATS_AT_ONCE);
        let chats: Vec<ChatNew> = titles.map(|n| chat_new(owner, &format!("Chat {n}"))).collect();
        made = insert(store, chats, made, each).await?;
    }
    let long = chat_new(owner, "The long one");
    let id = long.id;
    made = insert(store, vec![long], made, 0).await?;
    for _ in (0..LONG).step_by(CHATS_AT_ONCE * BATCH) {
        made = store
            .write("bench_data", move |tx| {
                Box::pin(async move { more(tx, id, made, CHATS_AT_ONCE * BATCH, Timestamp::now()).await })
            })
            .await?;
    }
    let whole = chat_new(owner, "the data is whole");
    store
        .write("bench_data", move |tx| Box::pin(async move { atelier_store::chat_insert_in_tx(tx, &whole).await }))
        .await?;
    Ok(())
}

/// Chats with so many messages each; gives the number of messages made so far.
async fn insert(store: &Store, chats: Vec<ChatNew>, made: usize, each: usize) -> Result<usize, StoreError> {
    store
        .write("bench_data", move |tx| {
            Box::pin(async move {
                let mut made = made;
                for chat in chats {
                    let (id, now) = (chat.id, chat.created_at);
                    atelier_store::chat_insert_in_tx(tx, &chat).await?;
                    made = more(tx, id, made, each, now).await?;
                    rest(tx, id, now).await?;
                }
                Ok::<_, StoreError>(made)
            })
        })
        .await
}

/// Messages for a chat, a batch a statement.
async fn more(
    tx: &mut atelier_store::Tx<'_>,
    chat: ChatId,
    made: usize,
    count: usize,
    now: Timestamp,
) -> Result<usize, StoreError> {
    for at in (made..made + count).step_by(BATCH) {
        let batch = messages(at, BATCH.min(made + count - at));
        atelier_store::messages_insert_in_tx(tx, chat, 1, batch, now).await?;
    }
    Ok(made + count)
}

/// A new chat is pending; here nobody runs it.
async fn rest(tx: &mut atelier_store::Tx<'_>, chat: ChatId, now: Timestamp) -> Result<(), StoreError> {
    if let Some(row) = atelier_store::chat_lock_in_tx(tx, chat).await? {
        let mut state = row.state;
        state.activity = atelier_domain::chat::Activity::Waiting;
        debug_assert_eq!(state.activity.status(), ChatStatus::Waiting);
        atelier_store::chat_state_save_in_tx(tx, chat, &state, now).await?;
    }
    Ok(())
}

async fn measure(setup: &Plan, store: &Store, owner: &Owner) -> anyhow::Result<Vec<Row>> {
    let page = ChatPage { after: None, limit: 50, offset: 0 };
    let plain = ChatFilter::default();
    let long = ChatFilter { title: Some("the long one".to_owned()), ..plain.clone() };
    let Some(long) = store.chat_list(owner.user, &long, page).await?.first().map(|row| row.id) else {
        anyhow::bail!("the long chat is missing: remove {}", setup.folder.display())
    };
    let mut rows = Vec::new();

    let mut times = Vec::new();
    let mut after = None;
    for _ in 0..setup.times(500) {
        let begun = Instant::now();
        let list = store.chat_list(owner.user, &plain, ChatPage { after, ..page }).await?;
        times.push(begun.elapsed());
        after = list.last().map(|row| row.id);
    }
    rows.push(row("50 of 10,000 chats, page after page", times, Target::P99(5.0)));

    let newest = store.messages_newest(long, MessageId(i64::MAX), 1).await?[0].id.get();
    let mut times = Vec::new();
    for n in 0..setup.times(500) {
        let before = MessageId(newest + 1 - (n as i64 * 7919) % (LONG as i64));
        let range = MessageRange { after: MessageId(0), before, limit: 50, max_bytes: 16 * 1024 * 1024 };
        let begun = Instant::now();
        store.messages_page_newest(long, range).await?;
        times.push(begun.elapsed());
    }
    rows.push(row("50 of a chat of 100,000 messages, anywhere", times, Target::P99(5.0)));

    for (what, words) in
        [("a rare word", "unicorn"), ("a word in 1 % of them", "common"), ("two words", "common w2023")]
    {
        let phrases: Vec<Phrase> = words.split(' ').filter_map(Phrase::new).collect();
        let filter = ChatFilter { phrases: phrases.clone(), ..ChatFilter::default() };
        let mut times = Vec::new();
        for _ in 0..setup.times(50) {
            let begun = Instant::now();
            let found = store.chat_list(owner.user, &filter, page).await?;
            let ids: Vec<ChatId> = found.iter().map(|row| row.id).collect();
            let hits = store.search_hits_for_system(&ids, &phrases).await?;
            times.push(begun.elapsed());
            anyhow::ensure!(!hits.is_empty(), "{words} was not found");
        }
        rows.push(row(
            &format!("search of 1,000,000 messages for {what}, first 50 chats with their hits"),
            times,
            Target::P99(300.0),
        ));
    }

    // into a chat of its own, so that the data stays what it is
    let mut rates = Vec::new();
    let chat = chat_new(owner, "inserts");
    let (id, now) = (chat.id, chat.created_at);
    store
        .write("bench_chat", move |tx| Box::pin(async move { atelier_store::chat_insert_in_tx(tx, &chat).await }))
        .await?;
    for n in 0..setup.times(100) {
        let batch = messages(n * BATCH, BATCH);
        let begun = Instant::now();
        store
            .write("bench_insert", move |tx| {
                Box::pin(async move { atelier_store::messages_insert_in_tx(tx, id, 1, batch, now).await.map(|_| ()) })
            })
            .await?;
        #[allow(clippy::cast_precision_loss)]
        rates.push(BATCH as f64 / begun.elapsed().as_secs_f64());
    }
    store
        .write("bench_end", move |tx| {
            Box::pin(async move {
                atelier_store::messages_delete_from_in_tx(tx, id, MessageId(0), 1).await?;
                rest(tx, id, now).await
            })
        })
        .await?;
    rows.push(Row::new("100 messages in one transaction, indexed", rates, "rows/s", Target::None));
    Ok(rows)
}

fn row(what: &str, times: Vec<Duration>, target: Target) -> Row {
    Row::new(what, times.into_iter().map(|time| time.as_secs_f64() * 1000.0).collect(), "ms", target)
}
