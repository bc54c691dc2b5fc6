/** A random name for a request or a thing on the page. `crypto.randomUUID` exists on secure origins only, and a server
 *  of a local network is often reached by plain HTTP. */
export function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
