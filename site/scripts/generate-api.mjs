// Writes src/api/schema.ts from openapi/atelier.json; with --check it only says whether it is fresh.
import { readFile, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";

const source = new URL("../../openapi/atelier.json", import.meta.url);
const target = new URL("../src/api/schema.ts", import.meta.url);

// examples are for people who read the document, and would be long comments here
const document = JSON.parse(await readFile(source, "utf8"), (key, value) => (key === "example" ? undefined : value));
const fresh = `// Generated from openapi/atelier.json by \`npm run generate\`.\n\n${astToString(await openapiTS(document, { defaultNonNullable: false }))}`;
if (process.argv.includes("--check")) {
  const present = await readFile(target, "utf8").catch(() => "");
  if (present !== fresh) {
    console.error("src/api/schema.ts is not what openapi/atelier.json says: run ./dev generate");
    process.exit(1);
  }
} else {
  await writeFile(target, fresh);
}
