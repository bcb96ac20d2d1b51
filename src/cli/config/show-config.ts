// The effective configuration, in a form that can be used as a configuration file again.

import { toJsonLine } from "../output.js";
import type { GivenSettings } from "./configuration.js";
import { SETTING_NAMES, SETTINGS } from "./settings.js";

const LARGEST_TOML_INTEGER = 2n ** 63n - 1n;
const DEFAULT_ORIGIN = "default";

/** TOML; behind every value stands where it came from. What has no value is a comment. */
export function configToToml(given: GivenSettings): string[] {
  const lines = SETTING_NAMES.map((name) => {
    const { key, fallback, without = "none" } = SETTINGS[name];
    const found = given.get(key);
    const text = found?.text ?? fallback;
    if (text === undefined) return { line: `# ${key}`, origin: without };
    return { line: `${key} = ${toTomlValue(text)}`, origin: found?.origin ?? DEFAULT_ORIGIN };
  });
  const width = Math.max(...lines.map(({ line }) => line.length));
  return lines.map(({ line, origin }) => `${line.padEnd(width)}  # ${origin}`);
}

export function configToJson(given: GivenSettings): string {
  const settings = SETTING_NAMES.map((name) => {
    const { key, fallback = null } = SETTINGS[name];
    const found = given.get(key);
    return [key, { value: found?.text ?? fallback, origin: found?.origin ?? DEFAULT_ORIGIN }];
  });
  return toJsonLine(Object.fromEntries(settings));
}

function toTomlValue(text: string): string {
  if (text === "true" || text === "false") return text;
  const isNumber = /^(0|[1-9]\d{0,18})$/.test(text) && BigInt(text) <= LARGEST_TOML_INTEGER;
  return isNumber ? text : JSON.stringify(text);
}
