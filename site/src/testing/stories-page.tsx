/** The page that shows stories, one at a time. It is served by `./dev site` only. */
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { lookApply } from "../ui/look";
import "../app/styles.css";
import { MockServer } from "./mock-server";
import { allStories, type Story, StoryPlace } from "./story";

const named: [string, Story][] = Object.values(allStories).flatMap((set) =>
  Object.entries(set.stories).map(([name, story]): [string, Story] => [`${set.title}: ${name}`, story]),
);

/** One server for each story that is looked at. */
function show(name: string): Story | undefined {
  const story = named.find(([each]) => each === name)?.[1];
  if (story !== undefined) {
    const server = new MockServer();
    story.server?.(server);
    server.install();
  }
  return story;
}

function StoriesPage() {
  const [name, setName] = useState(decodeURIComponent(location.hash.slice(1)) || (named[0]?.[0] ?? ""));
  const [story, setStory] = useState(() => show(name));
  const [isDark, setDark] = useState(false);
  const [isNarrow, setNarrow] = useState(false);
  lookApply({ theme: isDark ? "dark" : "light", textSize: 100, motion: "system", sendKey: "enter" });
  return (
    <div className="flex h-full">
      <nav aria-label="Stories" className="w-72 shrink-0 overflow-y-auto border-r border-line p-3 text-sm">
        <label className="block">
          <input type="checkbox" checked={isDark} onChange={() => setDark(!isDark)} /> Dark
        </label>
        <label className="mb-3 block">
          <input type="checkbox" checked={isNarrow} onChange={() => setNarrow(!isNarrow)} /> 360 px
        </label>
        {named.map(([each]) => (
          <button
            key={each}
            type="button"
            aria-current={each === name}
            className="block w-full rounded-control px-2 py-1 text-left hover:bg-hover aria-[current=true]:bg-accent-soft"
            onClick={() => {
              location.hash = encodeURIComponent(each);
              setName(each);
              setStory(show(each));
            }}
          >
            {each}
          </button>
        ))}
      </nav>
      <main className="min-w-0 grow overflow-auto" style={isNarrow ? { maxWidth: 360 } : {}}>
        {story !== undefined && <StoryPlace key={`${name} ${String(isNarrow)}`} story={story} />}
      </main>
    </div>
  );
}

const place = document.getElementById("root");
if (place === null) throw new Error("stories.html has no root");
createRoot(place).render(
  <StrictMode>
    <StoriesPage />
  </StrictMode>,
);
