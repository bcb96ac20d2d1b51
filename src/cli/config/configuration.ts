// Puts a node's settings together: the file, then the environment, then the flags, each overriding those before it.
// Of every value it is known where it came from.

import { readFileSync } from "node:fs";
import { InvalidArgumentError } from "commander";
import { parse, TomlError } from "smol-toml";
import { TOKEN_FILE_VARIABLE, TOKEN_VARIABLE } from "../arguments.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { nearestWord } from "./nearest.js";
import { environmentName, SETTING_NAMES, SETTINGS, type Setting } from "./settings.js";

/** A value as text, and where it was found. */
export interface Given {
  readonly text: string;
  /** As a person would look for it: `--listen`, `PLACEMENT_LISTEN`, `node.toml`. */
  readonly origin: string;
}

/** By key. */
export type GivenSettings = ReadonlyMap<string, Given>;

/** The variable that names the file when `--config` does not. */
export const CONFIG_VARIABLE = "PLACEMENT_CONFIG";
/** What other commands read. */
export const OTHER_VARIABLES: readonly string[] = [
  CONFIG_VARIABLE,
  "PLACEMENT_ENDPOINTS",
  TOKEN_VARIABLE,
  TOKEN_FILE_VARIABLE,
];
/** Kubernetes sets these in every container for every service, whatever that is called. */
const OF_KUBERNETES = /_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$/;
const KEYS: readonly string[] = SETTING_NAMES.map((name) => SETTINGS[name].key);
const MAX_FILE_BYTES = 1024 * 1024;

/**
 * @param flags the settings given as flags: key to text.
 * @throws CommandError for a file that cannot be read, and for what nobody knows, with the nearest that is known
 */
export function gatherSettings(
  file: string | undefined,
  environment: NodeJS.ProcessEnv,
  flags: ReadonlyMap<string, string>,
): GivenSettings {
  const given = new Map<string, Given>();
  const path = file ?? environment[CONFIG_VARIABLE];
  if (path !== undefined) for (const [key, found] of readFile(path)) given.set(key, found);
  for (const [key, found] of readEnvironment(environment)) given.set(key, found);
  for (const [key, text] of flags) given.set(key, { text, origin: `--${key}` });
  return given;
}

/** The value of a setting, or its fallback. @throws CommandError naming where a malformed value came from */
export function settingValue<Value>(given: GivenSettings, setting: Setting<Value>): Value | undefined {
  const found = given.get(setting.key);
  const text = found?.text ?? setting.fallback;
  if (text === undefined) return undefined;
  try {
    return setting.parse(text);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    const { origin = "default" } = found ?? {};
    throw usage(`${origin}: ${setting.key} ${JSON.stringify(text)} is not right. ${error.message}`);
  }
}

/** @throws CommandError that names all three places where the setting could be given */
export function requiredSetting<Value>(given: GivenSettings, setting: Setting<Value>): Value {
  const value = settingValue(given, setting);
  if (value !== undefined) return value;
  const { key, describe } = setting;
  throw usage(
    `${key} is missing (${describe}): give --${key}, or ${environmentName(key)} in the environment, or ${key} in the file of --config`,
  );
}

/** The environment without settings of a node: for processes whose flags say everything. */
export function withoutSettings(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const settings = new Set([CONFIG_VARIABLE, ...KEYS.map(environmentName)]);
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !settings.has(name)));
}

function readFile(path: string): Map<string, Given> {
  const given = new Map<string, Given>();
  for (const [key, value] of Object.entries(parseFile(path))) {
    if (!KEYS.includes(key)) throw unknown(`${path}: unknown key ${JSON.stringify(key)}`, key, KEYS);
    given.set(key, { text: toText(path, key, value), origin: path });
  }
  return given;
}

function parseFile(path: string): object {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw usage(`the configuration file ${path} cannot be read: ${why}`);
  }
  if (text.length > MAX_FILE_BYTES)
    throw usage(`${path} is no configuration file: it has ${text.length} bytes`);
  try {
    return parse(text, { integersAsBigInt: true });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [problem = "it is no TOML"] = error.message.split("\n");
    throw usage(`${path}, line ${error.line}, column ${error.column}: ${problem}`);
  }
}

/** Lists and tables are taken where the flag takes a list: `members = { 1 = "host:port" }`. */
function toText(path: string, key: string, value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "bigint" || typeof value === "boolean" || typeof value === "number")
    return String(value);
  if (key === SETTINGS.members.key && isTable(value)) {
    const members = Object.entries(value);
    if (members.every(([, address]) => typeof address === "string")) {
      return members.map(([id, address]) => `${id}=${String(address)}`).join(",");
    }
  }
  throw usage(`${path}: ${key} must be a text, a number, true or false`);
}

function isTable(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function readEnvironment(environment: NodeJS.ProcessEnv): Map<string, Given> {
  const variables = new Map(KEYS.map((key) => [environmentName(key), key]));
  const given = new Map<string, Given>();
  for (const [variable, text] of Object.entries(environment)) {
    // Set to nothing is how many tools say "not set".
    if (!variable.startsWith("PLACEMENT_") || text === undefined || text === "") continue;
    const key = variables.get(variable);
    if (key !== undefined) given.set(key, { text, origin: variable });
    else if (!OTHER_VARIABLES.includes(variable) && !OF_KUBERNETES.test(variable)) {
      const known = [...variables.keys(), ...OTHER_VARIABLES];
      throw unknown(`unknown variable ${variable} in the environment`, variable, known);
    }
  }
  return given;
}

function unknown(what: string, word: string, known: readonly string[]): CommandError {
  const nearest = nearestWord(word, known);
  const advice = nearest === undefined ? `known are ${known.join(", ")}` : `did you mean ${nearest}?`;
  return usage(`${what}: ${advice}`);
}

function usage(message: string): CommandError {
  return new CommandError(ExitStatus.usage, message);
}
