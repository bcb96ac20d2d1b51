// `npm run datadriven -- PATH`: bundles test/core/datadriven-main.ts in memory and runs it, so that TypeScript needs
// no build step. A path is taken from where npm was called.

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { outputFiles } = await build({
  entryPoints: [join(root, "test", "core", "datadriven-main.ts")],
  bundle: true,
  write: false,
  platform: "node",
  format: "esm",
  target: "node20",
  sourcemap: "inline",
  logLevel: "error",
});
const code = Buffer.from(outputFiles[0].contents).toString("base64");
const { main } = await import(`data:text/javascript;base64,${code}`);
process.exitCode = main(process.argv.slice(2), process.env.INIT_CWD ?? process.cwd(), console.log);
