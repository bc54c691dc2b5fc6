//! The types of providers, in their fixed order (governance.md 1).

use std::fmt;

/// A provider's type: which wire it speaks and how it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProviderKind {
    Anthropic,
    Azure,
    Bedrock,
    Google,
    OpenAi,
    OpenAiCompat,
    OpenRouter,
    Vercel,
    Scripted,
}

impl ProviderKind {
    /// In the order of every list.
    pub const ALL: [Self; 9] = [
        Self::Anthropic,
        Self::Azure,
        Self::Bedrock,
        Self::Google,
        Self::OpenAi,
        Self::OpenAiCompat,
        Self::OpenRouter,
        Self::Vercel,
        Self::Scripted,
    ];

    /// The type of that name, trimmed, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim();
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(name))
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Azure => "azure",
            Self::Bedrock => "bedrock",
            Self::Google => "google",
            Self::OpenAi => "openai",
            Self::OpenAiCompat => "openai-compat",
            Self::OpenRouter => "openrouter",
            Self::Vercel => "vercel",
            Self::Scripted => "scripted",
        }
    }

    #[must_use]
    pub const fn display_name(self) -> &'static str {
        match self {
            Self::Anthropic => "Anthropic",
            Self::Azure => "Azure OpenAI",
            Self::Bedrock => "Amazon Bedrock",
            Self::Google => "Google Gemini",
            Self::OpenAi => "OpenAI",
            Self::OpenAiCompat => "OpenAI-compatible",
            Self::OpenRouter => "OpenRouter",
            Self::Vercel => "Vercel AI Gateway",
            Self::Scripted => "Scripted",
        }
    }

    /// Whether this version can talk to it. Types without an adapter are neither listed nor accepted.
    #[must_use]
    pub const fn has_adapter(self) -> bool {
        match self {
            Self::Anthropic | Self::OpenAi | Self::OpenAiCompat | Self::OpenRouter | Self::Vercel | Self::Scripted => {
                true
            }
            Self::Azure | Self::Bedrock | Self::Google => false,
        }
    }

    /// Where calls go when the base URL is blank. `None`: a base URL is required, or there is none.
    #[must_use]
    pub const fn default_base_url(self) -> Option<&'static str> {
        match self {
            Self::Anthropic => Some("https://api.anthropic.com"),
            Self::Google => Some("https://generativelanguage.googleapis.com"),
            Self::OpenAi => Some("https://api.openai.com/v1"),
            Self::OpenRouter => Some("https://openrouter.ai/api/v1"),
            Self::Vercel => Some("https://ai-gateway.vercel.sh/v1"),
            Self::Azure | Self::Bedrock | Self::OpenAiCompat | Self::Scripted => None,
        }
    }

    #[must_use]
    pub const fn requires_base_url(self) -> bool {
        matches!(self, Self::Azure | Self::OpenAiCompat)
    }

    #[must_use]
    pub const fn requires_key(self) -> bool {
        match self {
            Self::Anthropic | Self::Azure | Self::Google | Self::OpenAi | Self::OpenRouter | Self::Vercel => true,
            // Bedrock may use the cloud credentials of the server
            Self::Bedrock | Self::OpenAiCompat | Self::Scripted => false,
        }
    }

    /// The block of `provider_options` that belongs to this type.
    #[must_use]
    pub const fn options_block(self) -> Option<&'static str> {
        match self {
            Self::Anthropic | Self::Bedrock => Some("anthropic"),
            Self::OpenAi | Self::Azure => Some("openai"),
            Self::Google => Some("google"),
            Self::OpenAiCompat => Some("openaicompat"),
            Self::OpenRouter => Some("openrouter"),
            Self::Vercel => Some("vercel"),
            Self::Scripted => None,
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What people see of a configured provider: the display name it was given; that of its type if it is named by
/// its type; else its name. Two that are shown by their names are never the same.
#[must_use]
pub fn shown_name(provider_type: &str, name: &str, display_name: &str) -> String {
    if !display_name.is_empty() {
        return display_name.to_owned();
    }
    match ProviderKind::from_name(provider_type) {
        Some(kind) if name == provider_type => kind.display_name().to_owned(),
        Some(_) | None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_unique_and_in_order() {
        assert_eq!(ProviderKind::from_name("  OpenAI-Compat "), Some(ProviderKind::OpenAiCompat));
        assert_eq!(ProviderKind::from_name("gopher"), None);
        let mut names: Vec<_> = ProviderKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.pop(), Some("scripted"));
        assert!(names.is_sorted());
    }
}
