// Runs once before the tests: those that start real processes run dist/, so it must be what src/ says.

import { ensureBuilt } from "../scripts/ensure-built.mjs";

export default async function setup(): Promise<void> {
  const { built, message } = await ensureBuilt({ tolerateTypeErrors: true });
  if (built) console.log(message);
}
