// `npm run simulate`: builds the simulator and runs it.

import { rmSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { bundleSimulator } from "./simulator-bundle.mjs";

const bundle = await bundleSimulator({ entry: "main.ts", outfile: `simulator-${process.pid}.mjs` });
try {
  const { main } = await import(pathToFileURL(bundle).href);
  process.exitCode = await main(process.argv.slice(2));
} finally {
  rmSync(bundle, { force: true });
}
