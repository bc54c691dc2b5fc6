/** The pages of the settings by name, for links to them that do not load them. */
export interface SettingsPageName {
  name: string;
  title: string;
  /** Site roles that may open it; absent: everybody, for themselves. */
  roles?: readonly string[];
}

export const SETTINGS_PAGES: readonly SettingsPageName[] = [
  { name: "general", title: "General" },
  { name: "instructions", title: "Instructions" },
  { name: "tokens", title: "Tokens" },
  { name: "accounts", title: "Account" },
  { name: "behavior", title: "Behavior", roles: ["owner"] },
  { name: "providers", title: "Providers", roles: ["owner"] },
  { name: "models", title: "Models", roles: ["owner"] },
  { name: "users", title: "Users", roles: ["owner", "user-admin"] },
];
