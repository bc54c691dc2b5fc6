/** Pages that stand for another one: there is none, it may not be seen, or it failed. */
import { Link, useRouter } from "@tanstack/react-router";
import { type ReactNode, useContext } from "react";
import { ApiFailure } from "../api/client";
import { RenderFailure } from "../ui/boundary";
import { Button } from "../ui/button";
import { LeadContext } from "../ui/lead";
import { PageState } from "../ui/page-state";
import { paths } from "./paths";

/** A whole page, with the way to the list of chats where that is not shown. */
function WholePage({ children }: { children: ReactNode }) {
  return (
    <div className="flex h-full flex-col">
      <header className="flex min-h-12 items-center px-3">{useContext(LeadContext)}</header>
      <div className="min-h-0 grow overflow-y-auto">{children}</div>
    </div>
  );
}

export function NotFound() {
  return (
    <WholePage>
      <PageState title="Not found" action={<ToChats />}>
        There is no such page or chat, or you may not see it.
      </PageState>
    </WholePage>
  );
}

function ToChats() {
  return (
    <Link className="text-accent-text underline" to={paths.chats}>
      Go to your chats
    </Link>
  );
}

/** Stands for a page that could not be loaded or shown. */
export function PageFailure({ error }: { error: unknown }) {
  const router = useRouter();
  // loads the page again, and forgets the error
  const retry = () => void router.invalidate();
  if (!(error instanceof ApiFailure)) {
    return (
      <WholePage>
        <PageState title="This page is broken" action={<ToChats />}>
          <RenderFailure error={error} what="It" onRetry={retry} />
        </PageState>
      </WholePage>
    );
  }
  if (error.status === 404) return <NotFound />;
  if (error.status === 403) {
    return (
      <WholePage>
        <PageState title="No access" action={<ToChats />}>
          {error.message}
        </PageState>
      </WholePage>
    );
  }
  return (
    <WholePage>
      <PageState title="This page could not be loaded" action={<Button onClick={retry}>Try again</Button>}>
        <p>{error.message}</p>
        <p className="text-sm">
          Code {error.code}
          {error.requestId !== null && `, request ${error.requestId}`}
        </p>
      </PageState>
    </WholePage>
  );
}

/** The same where no page is around it. */
export function SiteNotFound() {
  return (
    <main className="h-full">
      <NotFound />
    </main>
  );
}

export function SiteFailure({ error }: { error: unknown }) {
  return (
    <main className="h-full">
      <PageFailure error={error} />
    </main>
  );
}
