import { createContext, type ReactNode } from "react";

/** What pages show in front of their title: the button for the list, where it is a drawer. */
export const LeadContext = createContext<ReactNode>(null);
