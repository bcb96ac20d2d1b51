// Everything that a value holds, as text that is equal exactly when the values are: fields in order of their names,
// numbers and bytes spelled out, and private `#fields` too, which only the debugger's view of an object shows. A field
// that is added to the core later is in the image without anybody thinking of it.

import { Session } from "node:inspector";
import type { RawNode } from "../../src/core/index.js";

/**
 * What is worked out from the rest when it is needed: whether that has happened yet is no state.
 * `#scratch` means nothing between two calls, `#sortedIds` is filled by the first who asks.
 */
const DERIVED: ReadonlySet<string> = new Set(["#scratch", "#sortedIds"]);

/** A node with all that it knows: role, log, tracker, outbox, what it has handed out, and its storage. */
export function stateImage(node: RawNode): string {
  return imageOf(node);
}

/** One line for each value that is reachable, `path = text`. An object that comes up again is `see path`. */
export function imageOf(value: unknown): string {
  const lines: string[] = [];
  const known = new Map<object, string>();
  const walk = (path: string, inside: unknown): void => {
    if (!isObject(inside)) {
      lines.push(`${path} = ${primitive(inside)}`);
      return;
    }
    if (inside instanceof Uint8Array) {
      lines.push(`${path} = <${[...inside].join(" ")}>`);
      return;
    }
    const before = known.get(inside);
    if (before !== undefined) {
      lines.push(`${path} = see ${before}`);
      return;
    }
    known.set(inside, path);
    const fields = fieldsOf(inside);
    lines.push(`${path} = ${inside.constructor.name} of ${fields.length}`);
    for (const [name, field] of fields) walk(`${path}.${name}`, field);
  };
  walk("", value);
  return lines.join("\n");
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function primitive(value: unknown): string {
  switch (typeof value) {
    case "bigint":
      return `${value}n`;
    case "string":
      return JSON.stringify(value);
    case "function":
      return "function";
    default:
      return String(value);
  }
}

type Field = readonly [name: string, value: unknown];

function fieldsOf(holder: object): Field[] {
  if (Array.isArray(holder)) return holder.map((element, position) => [String(position), element]);
  if (holder instanceof Map) {
    return [...holder].map(([key, element]) => [`[${primitive(key)}]`, element]);
  }
  if (holder instanceof Set) return [...holder].map((element, position) => [`{${position}}`, element]);
  const open: Field[] = Object.entries(holder);
  const isPlain = Object.getPrototypeOf(holder) === Object.prototype;
  const hidden = isPlain ? [] : privateFields(holder).filter(([name]) => !DERIVED.has(name));
  return [...open, ...hidden].sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
}

/** Where the debugger and this file hand each other values. */
const exchange: { holder: object | undefined; taken: unknown } = { holder: undefined, taken: undefined };
const EXCHANGE = "stateImageExchange";
Object.defineProperty(globalThis, EXCHANGE, { value: exchange, configurable: true });

const session = new Session();
session.connect();

function privateFields(holder: object): Field[] {
  exchange.holder = holder;
  const { result } = ask("Runtime.evaluate", {
    expression: `${EXCHANGE}.holder`,
    objectGroup: EXCHANGE,
  });
  const { privateProperties } = ask("Runtime.getProperties", {
    objectId: idOf(result),
    ownProperties: true,
  });
  const fields = listOf(privateProperties).map((property): Field => {
    const { name, value } = recordOf(property);
    // A private method or accessor is code.
    return [String(name), value === undefined ? "code" : plainValue(recordOf(value))];
  });
  ask("Runtime.releaseObjectGroup", { objectGroup: EXCHANGE });
  return fields;
}

function plainValue(remote: Record<string, unknown>): unknown {
  if (remote["objectId"] === undefined) {
    return remote["type"] === "bigint"
      ? BigInt(String(remote["unserializableValue"]).slice(0, -1))
      : (remote["value"] ?? remote["unserializableValue"] ?? remote["subtype"]);
  }
  ask("Runtime.callFunctionOn", {
    objectId: remote["objectId"],
    functionDeclaration: `function () { ${EXCHANGE}.taken = this; }`,
  });
  return exchange.taken;
}

/** A session on its own thread answers before `post` returns. */
function ask(method: string, parameters: object): Record<string, unknown> {
  let answer: unknown;
  session.post(method, parameters, (error, result?: object) => {
    if (error !== null) throw error;
    answer = result;
  });
  return recordOf(answer);
}

function idOf(remote: unknown): unknown {
  return recordOf(remote)["objectId"];
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function recordOf(value: unknown): Record<string, unknown> {
  if (!isObject(value)) throw new Error(`the debugger answered ${String(value)}`);
  return Object.fromEntries(Object.entries(value));
}
