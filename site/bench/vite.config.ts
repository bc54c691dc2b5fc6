/** The site with a React that tells how long each commit took. */
import { mergeConfig } from "vite";
import site from "../vite.config.ts";

export default mergeConfig(site, { resolve: { alias: { "react-dom/client": "react-dom/profiling" } } });
