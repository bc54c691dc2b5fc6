import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { Suspense, useContext } from "react";
import { meQuery } from "../../api/queries";
import { paths } from "../../app/paths";
import { LeaveGuard } from "../../ui/form/leave-guard";
import { LeadContext } from "../../ui/lead";
import { PageState } from "../../ui/page-state";
import { Skeleton } from "../../ui/skeleton";
import { mayOpen, type Section, SECTIONS } from "./sections";

/** The list of sections, and the open one. */
export function SettingsPage() {
  const { section: name } = useParams({ strict: false });
  const me = useQuery(meQuery);
  const lead = useContext(LeadContext);
  if (me.data === undefined) return <Skeleton />;
  const roles = me.data.roles.map((role) => role.name);
  const section = SECTIONS.find((each) => each.name === name);
  const groups = [
    { label: "Yours", sections: SECTIONS.filter((each) => each.roles === undefined) },
    { label: "Deployment", sections: SECTIONS.filter((each) => each.roles !== undefined && mayOpen(each, roles)) },
  ];
  return (
    <div className="h-full overflow-y-auto">
      <header className="flex min-h-12 items-center gap-2 px-3">
        {lead}
        <h1 className="text-lg font-semibold">Settings</h1>
      </header>
      <div className="mx-auto flex max-w-5xl gap-6 p-4 max-md:flex-col">
        <nav aria-label="Settings" className="flex shrink-0 flex-col gap-1 md:w-44">
          {groups.map((group) =>
            group.sections.length === 0 ? null : (
              <div key={group.label} className="mb-2">
                <h2 className="px-2 pb-1 text-xs text-faint">{group.label}</h2>
                <ul className="max-md:flex max-md:flex-wrap">
                  {group.sections.map((each) => (
                    <li key={each.name}>
                      <Link
                        to={paths.settings(each.name)}
                        aria-current={each.name === name ? "page" : undefined}
                        className="flex min-h-8 items-center rounded-control px-2 text-sm hover:bg-hover aria-[current=page]:bg-accent-soft pointer-coarse:min-h-11"
                      >
                        {each.title}
                      </Link>
                    </li>
                  ))}
                </ul>
              </div>
            ),
          )}
        </nav>
        <div className="flex min-w-0 grow flex-col gap-4">
          {section === undefined ? (
            <PageState title="Not found">There is no such page of settings.</PageState>
          ) : mayOpen(section, roles) ? (
            <OpenSection key={section.name} section={section} />
          ) : (
            <PageState title="No access">You need the {section.roles?.[0]} role for this page.</PageState>
          )}
        </div>
      </div>
    </div>
  );
}

function OpenSection({ section }: { section: Section }) {
  const { Page, title } = section;
  return (
    <>
      <h2 className="text-lg font-semibold">{title}</h2>
      <LeaveGuard>
        <Suspense fallback={<Skeleton />}>
          <Page />
        </Suspense>
      </LeaveGuard>
    </>
  );
}
