/** Where a link of an answer may lead. */

const PROTOCOLS = new Set(["http:", "https:", "mailto:"]);
const LOOPBACK = /^(?:localhost|.+\.localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1\])$/;

/** The address of a link that may be followed. Null: it is only text, like `javascript:`, paths of no page, and
 *  `localhost:3000`, which in a browser is the reader's own machine and not the workspace that the answer means. */
export function linkOf(href: string): string | null {
  let url: URL;
  try {
    url = new URL(href);
  } catch {
    return null;
  }
  return PROTOCOLS.has(url.protocol) && !LOOPBACK.test(url.hostname) ? href : null;
}

/** Whether an address means a machine of its own: its text is all that is left of such a link, so it is shown. */
export function isLoopback(href: string): boolean {
  return URL.canParse(href) && LOOPBACK.test(new URL(href).hostname);
}

/** The host of an address that is one. */
export const hostOf = (href: string): string => new URL(href).host;
