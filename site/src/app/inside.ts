/** What is behind the login, in one piece: its parts share so much that apart they are 5 kB and nine files more. */
export { Conversation } from "./pages/conversation";
export { Shell } from "./shell";
