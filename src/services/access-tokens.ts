// The tokens that a node knows: who has which, and what it opens. The file holds hashes only, so whoever reads it
// can let nobody in. A token is 32 random bytes: it cannot be guessed, hence one round of SHA-256 protects it as well as
// a slow hash would, at a price that can be paid for every call.

import { hash, randomBytes, timingSafeEqual } from "node:crypto";
import { parse, TomlError } from "smol-toml";
import { ACCESS_ROLES, type AccessRole } from "./access-policy.js";

/** A file of tokens, or a token, that is of no use; the message is a sentence for operators. */
export class AccessConfigInvalid extends Error {
  override readonly name = "AccessConfigInvalid";
}

export interface TokenEntry {
  /** For logs: who has the token. Unique in the file. */
  readonly name: string;
  readonly roles: readonly AccessRole[];
  /** SHA-256 of the token, 64 hexadecimal digits. */
  readonly sha256: string;
}

export interface NewToken extends TokenEntry {
  /** Shown once, and kept by nobody but whom it is for. */
  readonly token: string;
}

/** Every call is compared with all of them. */
const MAX_TOKENS = 256;
const MAX_FILE_CHARACTERS = 256 * 1024;
const NAME = /^[A-Za-z0-9._@-]{1,64}$/;
const SHA256 = /^[0-9a-f]{64}$/;
const TOKEN = /^[A-Za-z0-9._~+/=-]{16,512}$/;
const RANDOM_BYTES = 32;
/** Lets scanners for secrets, and people, see what it is. */
const PREFIX = "pct_";

/** What a node compares tokens with. */
export class TokenTable {
  readonly #entries: readonly { readonly entry: TokenEntry; readonly digest: Buffer }[];

  constructor(readonly entries: readonly TokenEntry[]) {
    this.#entries = entries.map((entry) => ({ entry, digest: Buffer.from(entry.sha256, "hex") }));
  }

  /** Takes as long for any token, known or not. */
  find(token: string): TokenEntry | undefined {
    const presented = hash("sha256", token, "buffer");
    let found: TokenEntry | undefined;
    for (const { entry, digest } of this.#entries) if (timingSafeEqual(digest, presented)) found = entry;
    return found;
  }
}

/**
 * The text of a file: `[[token]]` tables with `name`, `roles` and `sha256`.
 * @throws AccessConfigInvalid saying where and what is wrong
 */
export function parseTokens(text: string, file: string): TokenTable {
  const wrong = (what: string) => new AccessConfigInvalid(`${file}: ${what}`);
  if (text.length > MAX_FILE_CHARACTERS) throw wrong(`${text.length} characters are too many for tokens`);
  const { token: tables, ...others } = parseToml(text, file);
  const [unknown] = Object.keys(others);
  if (unknown !== undefined)
    throw wrong(`unknown key ${JSON.stringify(unknown)}: only [[token]] stands here`);
  // Also what a file looks like for a moment while it is written anew.
  if (!Array.isArray(tables) || tables.length === 0) {
    throw wrong("no [[token]] in it: nobody could come in (`placement-center token new` makes one)");
  }
  if (tables.length > MAX_TOKENS) throw wrong(`${tables.length} tokens, at most ${MAX_TOKENS} are allowed`);
  const entries = tables.map((table: unknown, at) => readEntry(table, at + 1, wrong));
  for (const key of ["name", "sha256"] as const) {
    const seen = new Set<string>();
    for (const entry of entries) {
      if (seen.has(entry[key])) throw wrong(`two tokens have the ${key} ${JSON.stringify(entry[key])}`);
      seen.add(entry[key]);
    }
  }
  return new TokenTable(entries);
}

function parseToml(text: string, file: string): Readonly<Record<string, unknown>> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [problem = "it is no TOML"] = error.message.split("\n");
    throw new AccessConfigInvalid(`${file}, line ${error.line}, column ${error.column}: ${problem}`);
  }
}

function readEntry(table: unknown, number: number, wrong: (what: string) => Error): TokenEntry {
  if (typeof table !== "object" || table === null)
    throw wrong(`token ${number} is no table: write [[token]]`);
  const { name, roles, sha256, ...others } = table as Readonly<Record<string, unknown>>;
  const [unknown] = Object.keys(others);
  const which = typeof name === "string" ? JSON.stringify(name) : String(number);
  if (unknown !== undefined) {
    throw wrong(`token ${which}: unknown key ${JSON.stringify(unknown)}; known are name, roles, sha256`);
  }
  if (typeof name !== "string" || !isTokenName(name)) {
    throw wrong(`token ${which}: name must be 1 to 64 letters, digits, ".", "_", "-" or "@"`);
  }
  if (!Array.isArray(roles) || roles.length === 0 || !roles.every(isRole)) {
    throw wrong(`token ${which}: roles must be a list of ${ACCESS_ROLES.join(", ")}`);
  }
  if (typeof sha256 !== "string" || !SHA256.test(sha256)) {
    throw wrong(`token ${which}: sha256 must be the 64 hexadecimal digits that \`token new\` prints`);
  }
  return { name, roles, sha256 };
}

function isRole(value: unknown): value is AccessRole {
  return ACCESS_ROLES.some((role) => role === value);
}

export function isTokenName(text: string): boolean {
  return NAME.test(text);
}

/** @param name see `isTokenName`. */
export function createToken(name: string, roles: readonly AccessRole[]): NewToken {
  const token = `${PREFIX}${randomBytes(RANDOM_BYTES).toString("base64url")}`;
  return { name, roles, token, sha256: hash("sha256", token) };
}

/** As it stands in the file. */
export function tokenLines({ name, roles, sha256 }: TokenEntry): string[] {
  const list = roles.map((role) => JSON.stringify(role)).join(", ");
  return ["[[token]]", `name = ${JSON.stringify(name)}`, `roles = [${list}]`, `sha256 = "${sha256}"`];
}

/** What a file with one token in it holds. @throws AccessConfigInvalid */
export function parseTokenFile(text: string, file: string): string {
  const token = text.trim();
  if (TOKEN.test(token)) return token;
  throw new AccessConfigInvalid(
    `${file}: no token in it: one line, as \`placement-center token new\` prints it`,
  );
}

/** As calls carry it in the header `authorization`. */
export function bearer(token: string): string {
  return `Bearer ${token}`;
}
