import { useLocation } from "@tanstack/react-router";
import { useState } from "react";

/** Names the present visit of a page: another one at each navigation, except where only the work panel changed. */
export function useVisit(): string {
  const key = useLocation({ select: (location) => location.state.__TSR_key ?? "" });
  const place = useLocation({ select: ({ pathname, search }) => JSON.stringify([pathname, search.msg ?? null]) });
  const panel = useLocation({ select: ({ search }) => search.panel ?? null });
  const [last, setLast] = useState({ key, place, panel, visit: key });
  if (last.key === key && last.panel === panel) return last.visit;
  const visit = last.place === place && last.panel !== panel ? last.visit : key;
  setLast({ key, place, panel, visit });
  return visit;
}
