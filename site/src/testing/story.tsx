/** Stories: components in the states that are hard to reach, for looking at (`/stories.html` of `./dev site`) and
 *  for the tests of `stories.browser.test.tsx`. */
import { QueryClient } from "@tanstack/react-query";
import { createMemoryHistory, createRootRoute, createRouter, RouterProvider } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { ExpectStatic } from "vitest";
import type { BrowserPage, UserEvent } from "vitest/browser";
import { Surroundings } from "../app/surroundings";
import { ChatStoresProvider } from "../features/chat/chat-stores-provider";
import type { MockServer } from "./mock-server";

export interface Story {
  render: () => ReactNode;
  /** What the server answers. */
  server?: (server: MockServer) => void;
  /** Uses the component and looks at what comes of it. What a test has at hand is handed in, so that stories can
   *  also be looked at without one. */
  play?: (story: Played) => Promise<unknown>;
  /** CSS for the place it stands in; a component that fills its parent needs a height. */
  height?: number;
}

export interface Played {
  expect: ExpectStatic;
  page: BrowserPage;
  userEvent: UserEvent;
  element: HTMLElement;
  server: MockServer;
}

export interface StorySet {
  title: string;
  stories: Record<string, Story>;
}

/** A story as the site would show it. */
export function StoryPlace({ story }: { story: Story }) {
  const queries = new QueryClient({ defaultOptions: { queries: { retry: false }, mutations: { retry: false } } });
  const place = (
    <div className="bg-surface text-text p-4" style={story.height === undefined ? {} : { height: story.height }}>
      {story.render()}
    </div>
  );
  const route = createRootRoute({ component: () => place, notFoundComponent: () => place });
  const router = createRouter({ routeTree: route, history: createMemoryHistory({ initialEntries: ["/"] }) });
  return (
    <Surroundings queries={queries}>
      <ChatStoresProvider>
        <RouterProvider router={router} />
      </ChatStoresProvider>
    </Surroundings>
  );
}

/** All stories, by the path of their file. */
export const allStories: Record<string, StorySet> = import.meta.glob<StorySet>("../**/*.stories.tsx", {
  eager: true,
  import: "default",
});
