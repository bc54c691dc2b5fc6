//! Which key a provider is called with, and so who pays (governance.md 1).
//!
//! Owns the decision only: which keys exist is told by the caller, and no key is ever seen here.

/// The three key flags of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPolicy {
    pub central_enabled: bool,
    pub user_allowed: bool,
    /// The central key serves users that have none of their own.
    pub central_fallback: bool,
}

impl Default for KeyPolicy {
    fn default() -> Self {
        Self { central_enabled: true, user_allowed: false, central_fallback: false }
    }
}

impl KeyPolicy {
    /// At least one of the first two, fallback only with both.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        (self.central_enabled || self.user_allowed)
            && (!self.central_fallback || (self.central_enabled && self.user_allowed))
    }
}

/// What a provider has of its own and of the server's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CentralKeys {
    /// Absent: the provider exists by its preset only.
    pub row: Option<ProviderKeyRow>,
    /// The settings hold a key for the provider's name.
    pub has_preset: bool,
}

/// What the row of a provider says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderKeyRow {
    pub enabled: bool,
    pub has_key: bool,
}

/// Where the central key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CentralKey {
    Row,
    Preset,
    Absent,
}

/// The central key of a provider.
#[must_use]
pub const fn central_key(keys: CentralKeys) -> CentralKey {
    match keys.row {
        Some(ProviderKeyRow { enabled: false, .. }) => CentralKey::Absent,
        Some(ProviderKeyRow { has_key: true, .. }) => CentralKey::Row,
        Some(_) | None if keys.has_preset => CentralKey::Preset,
        Some(_) | None => CentralKey::Absent,
    }
}

/// Whose key a call uses. A central one may be no key at all, for types that need none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChoice {
    Central,
    User,
}

/// Why a provider cannot be called for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyMissing {
    #[error("the provider has no API key")]
    Central,
    #[error("the provider needs an API key of your own")]
    User,
}

impl KeyMissing {
    /// The stable word of `unavailable_reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Central => "missing_api_key",
            Self::User => "user_api_key_required",
        }
    }
}

/// Chooses between the two keys. `has_central` is true as well for types that need no key.
///
/// # Errors
/// The key that is missing.
pub const fn key_choose(policy: KeyPolicy, has_central: bool, has_user: bool) -> Result<KeyChoice, KeyMissing> {
    match (policy.user_allowed, policy.central_enabled) {
        (false, _) => {
            if has_central && policy.central_enabled {
                Ok(KeyChoice::Central)
            } else {
                Err(KeyMissing::Central)
            }
        }
        (true, central_enabled) => {
            if has_user {
                Ok(KeyChoice::User)
            } else if central_enabled && policy.central_fallback && has_central {
                Ok(KeyChoice::Central)
            } else {
                Err(KeyMissing::User)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn policy(central_enabled: bool, user_allowed: bool, central_fallback: bool) -> KeyPolicy {
        KeyPolicy { central_enabled, user_allowed, central_fallback }
    }

    #[test]
    fn bad_combinations_of_flags_are_told() {
        assert!(KeyPolicy::default().is_valid());
        for (central, user, fallback, valid) in [
            (false, false, false, false),
            (false, false, true, false),
            (false, true, false, true),
            (false, true, true, false),
            (true, false, false, true),
            (true, false, true, false),
            (true, true, false, true),
            (true, true, true, true),
        ] {
            assert_eq!(policy(central, user, fallback).is_valid(), valid);
        }
    }

    #[test]
    fn the_central_key_is_the_rows_then_the_presets_and_none_of_a_disabled_row() {
        let row = |enabled, has_key| Some(ProviderKeyRow { enabled, has_key });
        for (row, has_preset, key) in [
            (row(true, true), true, CentralKey::Row),
            (row(true, true), false, CentralKey::Row),
            (row(true, false), true, CentralKey::Preset),
            (row(true, false), false, CentralKey::Absent),
            (row(false, true), true, CentralKey::Absent),
            (row(false, false), true, CentralKey::Absent),
            (None, true, CentralKey::Preset),
            (None, false, CentralKey::Absent),
        ] {
            assert_eq!(central_key(CentralKeys { row, has_preset }), key);
        }
    }

    #[test]
    fn every_branch_of_the_choice() {
        use KeyChoice::{Central, User};
        let central_only = policy(true, false, false);
        let user_only = policy(false, true, false);
        let both = policy(true, true, false);
        let fallback = policy(true, true, true);
        for (policy, has_central, has_user, choice) in [
            (central_only, true, true, Ok(Central)),
            (central_only, true, false, Ok(Central)),
            (central_only, false, true, Err(KeyMissing::Central)),
            (user_only, true, true, Ok(User)),
            (user_only, true, false, Err(KeyMissing::User)),
            (both, true, true, Ok(User)),
            (both, true, false, Err(KeyMissing::User)),
            (fallback, true, true, Ok(User)),
            (fallback, false, true, Ok(User)),
            (fallback, true, false, Ok(Central)),
            (fallback, false, false, Err(KeyMissing::User)),
        ] {
            assert_eq!(key_choose(policy, has_central, has_user), choice, "{policy:?} {has_central} {has_user}");
        }
    }
}
