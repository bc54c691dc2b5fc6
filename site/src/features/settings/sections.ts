import { type ComponentType, lazy, type LazyExoticComponent } from "react";

export interface Section {
  /** In the path. */
  name: string;
  title: string;
  /** Loaded when it is opened. */
  Page: LazyExoticComponent<ComponentType>;
  /** Site roles that may open it; absent: everybody, for themselves. */
  roles?: readonly string[];
}

/** Every page of settings, in its order. */
export const SECTIONS: readonly Section[] = [
  {
    name: "general",
    title: "General",
    Page: lazy(async () => ({ default: (await import("./general-page")).GeneralPage })),
  },
  {
    name: "instructions",
    title: "Instructions",
    Page: lazy(async () => ({ default: (await import("./instructions-page")).InstructionsPage })),
  },
  {
    name: "tokens",
    title: "Tokens",
    Page: lazy(async () => ({ default: (await import("./tokens-page")).TokensPage })),
  },
  {
    name: "accounts",
    title: "Account",
    Page: lazy(async () => ({ default: (await import("./account-page")).AccountPage })),
  },
  {
    name: "behavior",
    title: "Behavior",
    Page: lazy(async () => ({ default: (await import("./behavior-page")).BehaviorPage })),
    roles: ["owner"],
  },
  {
    name: "providers",
    title: "Providers",
    Page: lazy(async () => ({ default: (await import("./providers-page")).ProvidersPage })),
    roles: ["owner"],
  },
  {
    name: "models",
    title: "Models",
    Page: lazy(async () => ({ default: (await import("./models-page")).ModelsPage })),
    roles: ["owner"],
  },
  {
    name: "users",
    title: "Users",
    Page: lazy(async () => ({ default: (await import("./users-page")).UsersPage })),
    roles: ["owner", "user-admin"],
  },
];

/** Whether somebody with these site roles may open the page. */
export function mayOpen(section: Section, roles: readonly string[]): boolean {
  return section.roles === undefined || section.roles.some((role) => roles.includes(role));
}
