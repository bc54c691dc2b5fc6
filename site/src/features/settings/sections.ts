import { lazyRouteComponent } from "@tanstack/react-router";

export interface Section {
  /** In the path. */
  name: string;
  title: string;
  /** Loaded when it is opened. */
  Page: ReturnType<typeof lazyRouteComponent>;
  /** Site roles that may open it; absent: everybody, for themselves. */
  roles?: readonly string[];
}

/** Every page of settings, in its order. */
export const SECTIONS: readonly Section[] = [
  {
    name: "general",
    title: "General",
    Page: lazyRouteComponent(() => import("./general-page"), "GeneralPage"),
  },
  {
    name: "instructions",
    title: "Instructions",
    Page: lazyRouteComponent(() => import("./instructions-page"), "InstructionsPage"),
  },
  {
    name: "tokens",
    title: "Tokens",
    Page: lazyRouteComponent(() => import("./tokens-page"), "TokensPage"),
  },
  {
    name: "accounts",
    title: "Account",
    Page: lazyRouteComponent(() => import("./account-page"), "AccountPage"),
  },
  {
    name: "behavior",
    title: "Behavior",
    Page: lazyRouteComponent(() => import("./behavior-page"), "BehaviorPage"),
    roles: ["owner"],
  },
  {
    name: "providers",
    title: "Providers",
    Page: lazyRouteComponent(() => import("./providers-page"), "ProvidersPage"),
    roles: ["owner"],
  },
  {
    name: "models",
    title: "Models",
    Page: lazyRouteComponent(() => import("./models-page"), "ModelsPage"),
    roles: ["owner"],
  },
  {
    name: "users",
    title: "Users",
    Page: lazyRouteComponent(() => import("./users-page"), "UsersPage"),
    roles: ["owner", "user-admin"],
  },
];

/** Whether somebody with these site roles may open the page. */
export function mayOpen(section: Section, roles: readonly string[]): boolean {
  return section.roles === undefined || section.roles.some((role) => roles.includes(role));
}
