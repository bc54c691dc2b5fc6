import { QueryClient } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { createRoot } from "react-dom/client";
import { ApiFailure } from "../api/client";
import { lookApply, lookFollowSystem, lookRead } from "../ui/look";
import { makeRouter } from "./router";
import { Surroundings } from "./surroundings";
import "./styles.css";

/** What a repeat cannot change is not asked again. */
function isWorthARepeat(failures: number, error: Error): boolean {
  const isFinal = error instanceof ApiFailure && error.status !== null && error.status < 500;
  return !isFinal && failures < 2;
}

const queries = new QueryClient({ defaultOptions: { queries: { retry: isWorthARepeat } } });
const router = makeRouter(queries);

lookApply(lookRead());
lookFollowSystem();

const place = document.getElementById("root");
if (place === null) throw new Error("index.html has no root");
createRoot(place).render(
  <Surroundings queries={queries}>
    <RouterProvider router={router} />
  </Surroundings>,
);
