//! Secrets at rest (governance.md 8).
//!
//! A sealed value is a version byte, the key's id (8 bytes), a random 96-bit nonce, and the AES-256-GCM
//! ciphertext with its tag. What it belongs to (`table|column|row id`) is bound as associated data, so
//! that a value copied to another place does not open. The first key of the ring seals, all open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use atelier_domain::Timestamp;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::args;

statements! {
    SECRET_KEYS = "SELECT id, canary FROM secret_keys WHERE state = 'active' ORDER BY created_at, id";
    SECRET_KEYS_LOCK = { sqlite: "SELECT 1 AS one", postgres: "SELECT 1 AS one FROM pg_advisory_xact_lock(4711003)" };
    // every column that holds sealed values: the ids of their keys stand behind the version byte
    SEALING_KEYS = {
        sqlite: "SELECT DISTINCT substr(sealed, 1, 1) AS version, substr(sealed, 2, 8) AS key_id FROM (
            SELECT api_key AS sealed FROM providers WHERE api_key IS NOT NULL
            UNION ALL SELECT api_key FROM user_provider_keys) rows",
        postgres: "SELECT DISTINCT substring(sealed FROM 1 FOR 1) AS version, substring(sealed FROM 2 FOR 8) AS key_id FROM (
            SELECT api_key AS sealed FROM providers WHERE api_key IS NOT NULL
            UNION ALL SELECT api_key FROM user_provider_keys) rows"
    };
    SECRET_KEY_INSERT = "INSERT INTO secret_keys (id, state, canary, created_at) VALUES ($1, 'active', $2, $3)
        ON CONFLICT (id) DO NOTHING";
}

const SEALED: u8 = 1;
const PLAIN: u8 = 0;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
const CANARY: &str = "atelier";

/// Where the keys come from.
#[derive(Clone)]
pub enum SecretsConfig {
    /// Comma list, base64 of 32 bytes each.
    Keys(SecretString),
    /// A file with such a list, one key a line; made at the first start, readable for its owner only.
    File(PathBuf),
    /// Not encrypted.
    Plaintext,
}

impl std::fmt::Debug for SecretsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keys(_) => f.write_str("Keys(..)"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Plaintext => f.write_str("Plaintext"),
        }
    }
}

/// A text that hides itself where it might be printed, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretString(String);

impl SecretString {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretString {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretString(..)")
    }
}

impl Drop for SecretString {
    fn drop(&mut self) {
        wipe(&mut std::mem::take(&mut self.0).into_bytes());
    }
}

fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // keeps the writes above from being optimized away
    std::hint::black_box(bytes);
}

/// Why a sealed value does not open.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the value is sealed with key {key_id}, which this server does not have")]
    UnknownKey { key_id: String },
    #[error("the value does not open: it is damaged, or was copied from another place")]
    Refused,
}

impl From<SecretError> for StoreError {
    fn from(error: SecretError) -> Self {
        Self::Setup(error.to_string())
    }
}

/// The ring of keys. Cheap to clone, so that a transaction can seal with it; what it seals and opens is this
/// crate's alone.
#[derive(Clone)]
pub struct Secrets {
    keys: Arc<[Key]>,
}

struct Key {
    id: [u8; KEY_ID_BYTES],
    cipher: Aes256Gcm,
}

impl Key {
    fn new(bytes: &[u8; 32]) -> Self {
        let hash = Sha256::digest(bytes);
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&hash[..KEY_ID_BYTES]);
        Self { id, cipher: Aes256Gcm::new(&(*bytes).into()) }
    }
}

impl Secrets {
    /// A ring without keys: it seals nothing.
    pub(crate) fn none() -> Self {
        Self { keys: Arc::new([]) }
    }

    fn has_key(&self, id: &str) -> bool {
        self.keys.iter().any(|key| hex(&key.id) == id)
    }

    /// Reads the keys. `may_make`: the database knows no key yet, so an absent file is made.
    fn new(config: &SecretsConfig, may_make: bool) -> Result<Self, StoreError> {
        let list = match config {
            SecretsConfig::Plaintext => {
                tracing::warn!("secrets are stored without encryption (ATELIER_SECRETS=plaintext)");
                return Ok(Self::none());
            }
            SecretsConfig::Keys(keys) => keys.clone(),
            SecretsConfig::File(path) => key_file(path, may_make)?,
        };
        let keys = list
            .expose()
            .split([',', '\n'])
            .map(str::trim)
            .filter(|key| !key.is_empty())
            .map(|key| {
                let mut bytes = BASE64_STANDARD.decode(key).unwrap_or_default();
                let made = <&[u8; 32]>::try_from(bytes.as_slice()).map(Key::new);
                wipe(&mut bytes);
                made.map_err(|_| {
                    StoreError::Setup("a secret key is not the base64 of 32 bytes (ATELIER_SECRET_KEYS)".to_owned())
                })
            })
            .collect::<Result<Arc<[_]>, _>>()?;
        if keys.is_empty() {
            return Err(StoreError::Setup("there is no secret key in ATELIER_SECRET_KEYS or its file".to_owned()));
        }
        Ok(Self { keys })
    }

    /// Seals `text` for one place, `table|column|row id`.
    pub fn seal(&self, place: &str, text: &str) -> Vec<u8> {
        let Some(key) = self.keys.first() else {
            return [&[PLAIN], text.as_bytes()].concat();
        };
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: text.as_bytes(), aad: place.as_bytes() };
        let sealed = key.cipher.encrypt(&nonce.into(), payload).expect("AES-GCM seals any text of less than 64 GiB");
        [&[SEALED][..], &key.id, &nonce, &sealed].concat()
    }

    /// Opens a value that was sealed for this place.
    pub fn open(&self, place: &str, value: &[u8]) -> Result<SecretString, SecretError> {
        let opened = match value.split_first() {
            Some((&PLAIN, text)) => text.to_vec(),
            Some((&SEALED, rest)) if rest.len() > KEY_ID_BYTES + NONCE_BYTES => {
                let (id, rest) = rest.split_at(KEY_ID_BYTES);
                let (nonce, sealed) = rest.split_at(NONCE_BYTES);
                let key = self
                    .keys
                    .iter()
                    .find(|key| key.id == id)
                    .ok_or_else(|| SecretError::UnknownKey { key_id: hex(id) })?;
                let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| SecretError::Refused)?;
                let payload = Payload { msg: sealed, aad: place.as_bytes() };
                key.cipher.decrypt(&nonce.into(), payload).map_err(|_| SecretError::Refused)?
            }
            _ => return Err(SecretError::Refused),
        };
        String::from_utf8(opened).map(SecretString).map_err(|_| SecretError::Refused)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads the key file. An absent one is made if `may_make`, otherwise secrets would be lost behind a new key.
fn key_file(path: &Path, may_make: bool) -> Result<SecretString, StoreError> {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    let setup = |what: &str, error: std::io::Error| StoreError::Setup(format!("{what} {}: {error}", path.display()));
    match std::fs::File::open(path) {
        Ok(mut file) => {
            let metadata = file.metadata().map_err(|error| setup("cannot read", error))?;
            if metadata.permissions().mode() & 0o077 != 0 {
                return Err(StoreError::Setup(format!(
                    "others may read the secret keys in {0}; run: chmod 600 {0}",
                    path.display()
                )));
            }
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(|error| setup("cannot read", error))?;
            Ok(SecretString(text))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_make => {
            let mut bytes = rand::random::<[u8; 32]>();
            let key = SecretString(BASE64_STANDARD.encode(bytes));
            wipe(&mut bytes);
            make_key_file(path, &key).map_err(|error| setup("cannot make", error))?;
            Ok(key)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(StoreError::Setup(format!(
            "this database holds sealed secrets and their keys are not in {}; restore that file or set \
                 ATELIER_SECRET_KEYS",
            path.display()
        ))),
        Err(error) => Err(setup("cannot read", error)),
    }
}

/// Makes the file whole or not at all: half a key would keep the server from starting ever after.
fn make_key_file(path: &Path, key: &SecretString) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let fresh = path.with_extension(format!("new.{}", std::process::id()));
    let _ = std::fs::remove_file(&fresh);
    let mut file = std::fs::File::options().create_new(true).write(true).mode(0o600).open(&fresh)?;
    let written = file
        .write_all(key.expose().as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        // unlike a rename it never takes the place of a file that another process has just made
        .and_then(|()| std::fs::hard_link(&fresh, path));
    let removed = std::fs::remove_file(&fresh);
    written.and(removed)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// What a database says of the keys its secrets are sealed with.
struct KnownKeys {
    /// Id (hex) and sealed canary of each key in use.
    active: Vec<(String, Vec<u8>)>,
    /// Ids of the keys that sealed values name.
    sealing: Vec<String>,
}

async fn known_keys_in_tx(tx: &mut Tx<'_>) -> Result<KnownKeys, StoreError> {
    let mut active = Vec::new();
    for row in tx.all(SECRET_KEYS, Vec::new()).await? {
        active.push((row.text("id")?, row.bytes("canary")?));
    }
    let mut sealing = Vec::new();
    for row in tx.all(SEALING_KEYS, Vec::new()).await? {
        if row.bytes("version")? == [SEALED] {
            sealing.push(hex(&row.bytes("key_id")?));
        }
    }
    Ok(KnownKeys { active, sealing })
}

impl KnownKeys {
    fn is_empty(&self) -> bool {
        self.active.is_empty() && self.sealing.is_empty()
    }

    fn is_active(&self, key: &str) -> bool {
        self.active.iter().any(|(id, _)| id == key)
    }

    /// Whether the ring opens all that the database holds.
    fn prove(&self, secrets: &Secrets) -> Result<(), StoreError> {
        let opens = |(id, canary): &(String, Vec<u8>)| {
            secrets.open(&canary_place(id), canary).is_ok_and(|canary| canary.expose() == CANARY)
        };
        let closed = self.active.iter().find(|key| !opens(key)).map(|(id, _)| id);
        match closed.or_else(|| self.sealing.iter().find(|id| !secrets.has_key(id))) {
            None => Ok(()),
            Some(id) => Err(StoreError::Setup(format!(
                "this database holds secrets sealed with key {id}, which this server does not have; \
                 set ATELIER_SECRET_KEYS or restore the key file"
            ))),
        }
    }
}

impl Store {
    /// Reads the ring of keys and proves that it is the one of this database: a server with other keys
    /// must not start, and must not make new ones.
    pub(crate) async fn secrets_open(&self, config: &SecretsConfig) -> Result<Secrets, StoreError> {
        let known = self.read("secret_keys", |tx| Box::pin(known_keys_in_tx(tx))).await?;
        let secrets = Secrets::new(config, known.is_empty())?;
        known.prove(&secrets)?;
        let first = secrets.keys.first().map(|key| hex(&key.id));
        if let Some(first) = first.filter(|first| !known.is_active(first)) {
            let ring = secrets.clone();
            self.write("secret_key_insert", move |tx: &mut Tx<'_>| {
                Box::pin(async move {
                    // another replica may have begun with other keys just now
                    tx.one(SECRET_KEYS_LOCK, Vec::new()).await?;
                    known_keys_in_tx(tx).await?.prove(&ring)?;
                    let canary = ring.seal(&canary_place(&first), CANARY);
                    let now = atelier_domain::clock::to_micros(Timestamp::now());
                    tx.run(SECRET_KEY_INSERT, args![first, canary, now]).await.map(|_| ())
                })
            })
            .await?;
        }
        Ok(secrets)
    }
}

fn canary_place(id: &str) -> String {
    format!("secret_keys|canary|{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(count: u8) -> Secrets {
        Secrets { keys: (1..=count).map(|at| Key::new(&[at; 32])).collect::<Arc<[_]>>() }
    }

    #[test]
    fn a_value_opens_at_its_place_only() {
        let ring = ring(1);
        let sealed = ring.seal("providers|api_key|1", "sk-secret");
        assert_eq!(ring.open("providers|api_key|1", &sealed).unwrap().expose(), "sk-secret");
        assert!(ring.open("providers|api_key|2", &sealed).is_err());
        assert!(!sealed.windows(3).any(|window| window == b"sk-"));
        let mut damaged = sealed;
        *damaged.last_mut().unwrap() ^= 1;
        assert!(ring.open("providers|api_key|1", &damaged).is_err());
    }

    #[test]
    fn an_unknown_key_is_named_and_an_old_one_still_opens() {
        let old = Secrets { keys: Arc::new([Key::new(&[2; 32])]) };
        let sealed = old.seal("t|c|1", "x");
        assert_eq!(ring(2).open("t|c|1", &sealed).unwrap().expose(), "x");
        let error = ring(1).open("t|c|1", &sealed).unwrap_err();
        assert!(matches!(error, SecretError::UnknownKey { .. }));
    }

    #[test]
    fn a_key_file_is_made_private_and_a_readable_one_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.keys");
        assert!(key_file(&path, false).unwrap_err().to_string().contains("restore that file"));
        assert!(!path.exists());
        let made = key_file(&path, true).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(key_file(&path, true).unwrap().expose().trim(), made.expose());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(key_file(&path, true).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", SecretString::new("sk-secret")), "SecretString(..)");
    }
}
