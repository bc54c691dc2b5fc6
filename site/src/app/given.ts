import { useLocation, useNavigate } from "@tanstack/react-router";
import { useEffect, useState } from "react";

/**
 * What a link that the server prints carries behind `#`, where no server and no log sees it. It is a secret, so it
 * leaves the address and the history at once.
 */
export function useGiven(): Record<string, string> {
  const hash = useLocation({ select: (location) => location.hash });
  const navigate = useNavigate();
  const [given, setGiven] = useState(hash);
  if (hash !== "" && hash !== given) setGiven(hash);
  useEffect(() => {
    if (hash !== "") void navigate({ to: ".", search: true, hash: "", replace: true });
  }, [hash, navigate]);
  return Object.fromEntries(new URLSearchParams(given));
}
