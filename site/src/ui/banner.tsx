import { CircleAlert, Info, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import type { ApiFailure } from "../api/client";

const LOOKS = {
  bad: { look: "bg-bad-soft text-bad", Icon: CircleAlert },
  warn: { look: "bg-warn-soft text-warn", Icon: TriangleAlert },
  info: { look: "bg-accent-soft text-accent-text", Icon: Info },
};

export function Banner({
  tone,
  children,
  action,
}: {
  tone: keyof typeof LOOKS;
  children: ReactNode;
  action?: ReactNode;
}) {
  const { look, Icon } = LOOKS[tone];
  return (
    <div
      role={tone === "bad" ? "alert" : "status"}
      className={`flex items-start gap-2 rounded-control px-3 py-2 text-sm ${look}`}
    >
      <Icon aria-hidden className="mt-0.5 size-4 shrink-0" />
      <div className="min-w-0 grow wrap-anywhere">{children}</div>
      {action !== undefined && <div className="shrink-0 whitespace-nowrap">{action}</div>}
    </div>
  );
}

/** What went wrong, with what support asks for. */
export function FailureBanner(props: {
  failure: Pick<ApiFailure, "message" | "code" | "requestId">;
  action?: ReactNode;
}) {
  const { failure, action } = props;
  return (
    <Banner tone="bad" action={action}>
      <p>{failure.message}</p>
      <p className="text-xs">
        Code {failure.code}
        {failure.requestId !== null && `, request ${failure.requestId}`}
      </p>
    </Banner>
  );
}
