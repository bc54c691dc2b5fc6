/** Texts that more than one place shows. Sentence case, no exclamation marks; an error says what to do. */
export const text = {
  product: "Atelier",
  newChat: "New chat",
  tryAgain: "Try again",
  loading: "Loading",
  offline: "You are offline. What you type is kept.",
  ask: "What should we work on?",
} as const;
